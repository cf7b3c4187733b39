//! Which `.proto` items an option is meant for: prost's rule for paths.
//!
//! A path that starts with a dot is a fully qualified prefix (`.hello` is all of package `hello`, `.` is everything); any
//! other is a suffix (`Greeter` is each service of that name). Both match whole segments only.

/// Whether `pattern` covers `item`, a fully qualified name with its leading dot.
pub(crate) fn covers(pattern: &str, item: &str) -> bool {
    if pattern == "." {
        return true;
    }
    if pattern.starts_with('.') {
        return item.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    }
    item.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'))
}

/// Options of one kind with the paths they are for, in the order they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByPath(Vec<(String, String)>);

impl ByPath {
    /// Adds `value` for what `pattern` covers.
    pub(crate) fn add(&mut self, pattern: &str, value: &str) {
        self.0.push((pattern.to_owned(), value.to_owned()));
    }

    /// Every value meant for `item`.
    pub(crate) fn all<'a>(&'a self, item: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(pattern, _)| covers(pattern, item)).map(|(_, value)| value.as_str())
    }

    /// Whether anything is meant for `item`.
    pub(crate) fn any(&self, item: &str) -> bool {
        self.all(item).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_dot_makes_a_prefix_and_anything_else_is_a_suffix() {
        assert!(covers(".", ".hello.Greeter"));
        assert!(covers(".hello", ".hello.Greeter"));
        assert!(covers(".hello.Greeter", ".hello.Greeter"));
        assert!(covers("Greeter", ".hello.Greeter"));
        assert!(covers("hello.Greeter", ".hello.Greeter"));
        assert!(covers("Greeter", ".Greeter"), "no package");
        assert!(!covers(".hell", ".hello.Greeter"), "half a segment at the end");
        assert!(!covers("eeter", ".hello.Greeter"), "half a segment at the start");
        assert!(!covers(".Greeter", ".hello.Greeter"));
        assert!(!covers("", ".hello.Greeter"));
    }
}
