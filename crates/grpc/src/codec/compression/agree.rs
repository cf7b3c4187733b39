//! Which algorithms a call uses: what each side is willing to read and to write, and what a header section says of it.
//!
//! A client says in `grpc-encoding` how it compresses and in `grpc-accept-encoding` what it can read; a server picks for its
//! answer from the latter, in its own order of preference. Names in lists that nobody knows are skipped; a list may come in several
//! fields (RFC 9110 §5.3).

use super::{CompressionEncoding, IDENTITY};

/// What one side is willing to use, the best first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encodings {
    accept: Vec<CompressionEncoding>,
    send: Vec<CompressionEncoding>,
}

/// What a call uses, each way: numbers of a server's [`Encodings`], from 1; zero is none. A call has it in two octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Agreed {
    request: u8,
    response: u8,
}

/// The request is compressed by something that the method does not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unknown;

impl Encodings {
    pub(crate) fn accept(&mut self, encoding: CompressionEncoding) {
        add(&mut self.accept, encoding);
    }

    /// One that is there already is replaced where it stands: its level and threshold are those named last.
    pub(crate) fn send(&mut self, encoding: CompressionEncoding) {
        match self.send.iter_mut().find(|known| **known == encoding) {
            Some(known) => *known = encoding,
            None => add(&mut self.send, encoding),
        }
    }

    /// What is read, as `grpc-accept-encoding` has it.
    pub(crate) fn accept_text(&self) -> String {
        accept_text(&self.accept)
    }

    /// Server: what a call uses, by its request's `grpc-encoding` and its fields of `grpc-accept-encoding`, if any came.
    pub(crate) fn agree<'a>(
        &self,
        encoding: Option<&[u8]>,
        accepted: Option<impl Iterator<Item = &'a [u8]> + Clone>,
    ) -> Result<Agreed, Unknown> {
        let encoding = encoding.filter(|name| *name != IDENTITY.as_bytes());
        let request = match encoding {
            Some(name) => numbered(&self.accept, |known| known.name().as_bytes() == name).ok_or(Unknown)?,
            None => 0,
        };
        // Whoever says nothing can at least read what it writes.
        let readable = |known: &CompressionEncoding| match &accepted {
            Some(lists) => {
                let mut names = lists.clone().flat_map(|list| list.split(|octet| *octet == b','));
                names.any(|name| name.trim_ascii() == known.name().as_bytes())
            }
            None => encoding == Some(known.name().as_bytes()),
        };
        Ok(Agreed { request, response: numbered(&self.send, readable).unwrap_or(0) })
    }

    pub(crate) fn of_request(&self, agreed: Agreed) -> Option<CompressionEncoding> {
        get(&self.accept, agreed.request)
    }

    pub(crate) fn of_response(&self, agreed: Agreed) -> Option<CompressionEncoding> {
        get(&self.send, agreed.response)
    }
}

impl Agreed {
    /// True if either way is compressed.
    pub(crate) fn is_any(self) -> bool {
        self != Self::default()
    }

    /// True if messages of the request may be.
    pub(crate) const fn is_request(self) -> bool {
        self.request != 0
    }
}

fn add(list: &mut Vec<CompressionEncoding>, encoding: CompressionEncoding) {
    // A number is an octet; nobody has so many.
    if !list.contains(&encoding) && list.len() < usize::from(u8::MAX) {
        list.push(encoding);
    }
}

fn numbered(list: &[CompressionEncoding], wanted: impl FnMut(&CompressionEncoding) -> bool) -> Option<u8> {
    u8::try_from(list.iter().position(wanted)?.saturating_add(1)).ok()
}

fn get(list: &[CompressionEncoding], number: u8) -> Option<CompressionEncoding> {
    list.get(usize::from(number.checked_sub(1)?)).copied()
}

fn accept_text(list: &[CompressionEncoding]) -> String {
    let names: Vec<&str> = list.iter().map(|encoding| encoding.name()).chain([IDENTITY]).collect();
    names.join(",")
}

/// What a client can read, and how it says so. Made once and shared by its calls.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    encodings: Vec<CompressionEncoding>,
    text: String,
}

impl Accepted {
    /// The same and one more.
    pub(crate) fn and(this: Option<&Self>, encoding: CompressionEncoding) -> Self {
        let mut encodings = this.map_or_else(Vec::new, |this| this.encodings.clone());
        add(&mut encodings, encoding);
        Self { text: accept_text(&encodings), encodings }
    }

    /// The value of `grpc-accept-encoding`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<CompressionEncoding> {
        self.encodings.iter().find(|known| known.name().as_bytes() == name).copied()
    }
}

#[cfg(all(test, feature = "gzip"))]
mod tests {
    use super::super::{Compression, DecompressError};
    use super::*;

    struct Named(&'static str);

    impl Compression for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn compress(&self, _: &[u8], _: &mut Vec<u8>) -> std::io::Result<()> {
            Ok(())
        }
        fn decompress(&self, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), DecompressError> {
            Ok(())
        }
    }

    fn gzip_and_br() -> (Encodings, CompressionEncoding) {
        let br = CompressionEncoding::custom(Named("br"));
        let mut encodings = Encodings::default();
        for encoding in [CompressionEncoding::Gzip, br, CompressionEncoding::Gzip] {
            encodings.accept(encoding);
            encodings.send(encoding);
        }
        (encodings, br)
    }

    #[test]
    fn a_server_reads_what_it_knows_and_writes_what_its_client_reads() {
        let (encodings, br) = gzip_and_br();
        let agree = |encoding: Option<&str>, accepted: Option<&str>| {
            // Fields are written one behind the other here.
            let accepted = accepted.map(|fields| fields.split('|').map(str::as_bytes));
            let agreed = encodings.agree(encoding.map(str::as_bytes), accepted)?;
            Ok((encodings.of_request(agreed), encodings.of_response(agreed)))
        };
        let gzip = CompressionEncoding::Gzip;
        for (encoding, accepted, wanted) in [
            (None, None, Ok((None, None))),
            (Some("identity"), Some("identity"), Ok((None, None))),
            (Some("gzip"), None, Ok((Some(gzip), Some(gzip)))),
            (Some("gzip"), Some("identity"), Ok((Some(gzip), None))),
            (None, Some("zstd, br ,identity"), Ok((None, Some(br)))),
            (Some("br"), Some("br,gzip"), Ok((Some(br), Some(gzip)))),
            (Some("zstd"), Some("gzip"), Err(Unknown)),
            (Some("GZIP"), None, Err(Unknown)),
            (Some(""), None, Err(Unknown)),
            (None, Some(",,gzi p,"), Ok((None, None))),
            (None, Some("gzip|identity"), Ok((None, Some(gzip)))),
            (None, Some("identity||zstd, br"), Ok((None, Some(br)))),
        ] {
            assert_eq!(agree(encoding, accepted), wanted, "{encoding:?} {accepted:?}");
        }
        assert_eq!(encodings.accept_text(), "gzip,br,identity", "each once, in order");
        assert_eq!(Encodings::default().accept_text(), "identity");
        assert_eq!(Encodings::default().agree(Some(b"gzip"), None::<core::iter::Empty<_>>), Err(Unknown));
    }

    #[test]
    fn a_client_finds_what_it_said() {
        let (_, br) = gzip_and_br();
        let gzip = Accepted::and(None, CompressionEncoding::Gzip);
        let both = Accepted::and(Some(&gzip), br);
        assert_eq!((gzip.text(), both.text()), ("gzip,identity", "gzip,br,identity"));
        assert_eq!((both.find(b"br"), both.find(b"zstd")), (Some(br), None));
    }

    #[test]
    fn names_that_cannot_stand_in_a_header_are_refused() {
        for bad in ["", "identity", "Gzip", "a,b", "a b", "a\n"] {
            let made = std::panic::catch_unwind(|| CompressionEncoding::custom(Named(bad)));
            assert!(made.is_err(), "{bad:?}");
        }
    }
}
