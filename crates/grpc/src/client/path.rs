//! [`MethodPath`]: which method a call is for.

use core::fmt;
use std::sync::Arc;

/// The path of a method: `/package.Service/Method`, case-sensitive, sent as it is (gRPC over HTTP/2, "Path").
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MethodPath(Text);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

/// Text that is no method path: it must be `/`, a service, `/` and a method, in visible ASCII.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidPath(String);

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad method path {:?}: want /package.Service/Method", self.0)
    }
}

impl std::error::Error for InvalidPath {}

/// True for `/`, one or more characters, `/`, one or more characters, all of them visible ASCII.
const fn is_path(path: &str) -> bool {
    let [b'/', rest @ ..] = path.as_bytes() else { return false };
    let mut left = rest;
    let mut last_slash = None;
    let mut at = 0usize;
    while let [octet, tail @ ..] = left {
        if !matches!(octet, 0x21..=0x7e) {
            return false;
        }
        if *octet == b'/' {
            last_slash = Some(at);
        }
        at += 1;
        left = tail;
    }
    match last_slash {
        Some(slash) => slash > 0 && slash + 1 < at,
        None => false,
    }
}

impl MethodPath {
    /// A path known when the program is compiled.
    ///
    /// # Panics
    /// If it is no path; in a `const` that is a compile error.
    #[must_use]
    pub const fn from_static(path: &'static str) -> Self {
        assert!(is_path(path), "want /package.Service/Method");
        Self(Text::Static(path))
    }

    /// A path made at run time.
    ///
    /// # Errors
    /// [`InvalidPath`].
    pub fn new(path: &str) -> Result<Self, InvalidPath> {
        if is_path(path) { Ok(Self(Text::Shared(path.into()))) } else { Err(InvalidPath(path.to_owned())) }
    }

    /// Of a method that was registered under this path, whatever it is.
    pub(crate) fn registered(path: &str) -> Self {
        Self(Text::Shared(path.into()))
    }

    /// The service and the method.
    pub(crate) fn split(&self) -> (&str, &str) {
        let path = self.as_str();
        path.strip_prefix('/').unwrap_or(path).rsplit_once('/').unwrap_or_default()
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(path) => path,
            Text::Shared(path) => path,
        }
    }
}

impl fmt::Display for MethodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MethodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl TryFrom<&str> for MethodPath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<Self, InvalidPath> {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_service_and_a_method() {
        const GOOD: MethodPath = MethodPath::from_static("/hello.Greeter/SayHello");
        assert_eq!(GOOD.as_str(), "/hello.Greeter/SayHello");
        assert_eq!(GOOD.split(), ("hello.Greeter", "SayHello"));
        assert_eq!(MethodPath::new("/a/b/c").unwrap().to_string(), "/a/b/c");
        for bad in ["", "/", "//", "a/b", "/a", "/a/", "//b", "/a b/c", "/a/\u{e9}", "/a/b\n"] {
            assert_eq!(MethodPath::new(bad), Err(InvalidPath(bad.to_owned())), "{bad:?}");
        }
    }
}
