//! The static table (RFC 7541 Appendix A) and how the encoder finds a name in it.
//!
//! Indexes count from 1, as on the wire; dynamic entries follow at [`FIRST_DYNAMIC`]. Entries with the same name
//! stand next to each other, so an exact match is at most six steps behind the first entry of its name.

use super::Name;
use super::section::WORD;
use super::table::low_half;

/// The index of the newest entry of the dynamic table (§2.3.3).
pub(super) const FIRST_DYNAMIC: usize = TABLE.len() + 1;

/// One entry of the static table.
pub(super) struct StaticEntry {
    /// Name and value, one after the other, so that both are copied at once; behind them zeros.
    pub(super) stretch: [u8; WORD],
    pub(super) name_len: u32,
    /// Of name and value.
    pub(super) len: u32,
    pub(super) known: Name,
}

impl StaticEntry {
    /// Name and value, one after the other.
    #[inline]
    pub(super) const fn octets(&self) -> &[u8] {
        self.stretch.split_at(self.len as usize).0
    }

    pub(super) const fn name(&self) -> &[u8] {
        self.stretch.split_at(self.name_len as usize).0
    }

    pub(super) const fn value(&self) -> &[u8] {
        self.octets().split_at(self.name_len as usize).1
    }
}

macro_rules! entry {
    ($known:ident, $name:literal, $value:literal) => {
        StaticEntry {
            stretch: stretch(concat!($name, $value).as_bytes()),
            name_len: low_half($name.len()),
            len: low_half($name.len() + $value.len()),
            known: Name::$known,
        }
    };
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated when this file is compiled: an entry too long fails the build"
)]
const fn stretch(octets: &[u8]) -> [u8; WORD] {
    let mut stretch = [0; WORD];
    let mut position = 0;
    while position < octets.len() {
        stretch[position] = octets[position];
        position += 1;
    }
    stretch
}

/// Appendix A.
#[rustfmt::skip]
static TABLE: [StaticEntry; 61] = [
    entry!(Authority, ":authority", ""), // 1
    entry!(Method, ":method", "GET"), // 2
    entry!(Method, ":method", "POST"), // 3
    entry!(Path, ":path", "/"), // 4
    entry!(Path, ":path", "/index.html"), // 5
    entry!(Scheme, ":scheme", "http"), // 6
    entry!(Scheme, ":scheme", "https"), // 7
    entry!(Status, ":status", "200"), // 8
    entry!(Status, ":status", "204"), // 9
    entry!(Status, ":status", "206"), // 10
    entry!(Status, ":status", "304"), // 11
    entry!(Status, ":status", "400"), // 12
    entry!(Status, ":status", "404"), // 13
    entry!(Status, ":status", "500"), // 14
    entry!(Other, "accept-charset", ""), // 15
    entry!(Other, "accept-encoding", "gzip, deflate"), // 16
    entry!(Other, "accept-language", ""), // 17
    entry!(Other, "accept-ranges", ""), // 18
    entry!(Other, "accept", ""), // 19
    entry!(Other, "access-control-allow-origin", ""), // 20
    entry!(Other, "age", ""), // 21
    entry!(Other, "allow", ""), // 22
    entry!(Authorization, "authorization", ""), // 23
    entry!(Other, "cache-control", ""), // 24
    entry!(Other, "content-disposition", ""), // 25
    entry!(Other, "content-encoding", ""), // 26
    entry!(Other, "content-language", ""), // 27
    entry!(ContentLength, "content-length", ""), // 28
    entry!(Other, "content-location", ""), // 29
    entry!(Other, "content-range", ""), // 30
    entry!(ContentType, "content-type", ""), // 31
    entry!(Cookie, "cookie", ""), // 32
    entry!(Other, "date", ""), // 33
    entry!(Other, "etag", ""), // 34
    entry!(Other, "expect", ""), // 35
    entry!(Other, "expires", ""), // 36
    entry!(Other, "from", ""), // 37
    entry!(Host, "host", ""), // 38
    entry!(Other, "if-match", ""), // 39
    entry!(Other, "if-modified-since", ""), // 40
    entry!(Other, "if-none-match", ""), // 41
    entry!(Other, "if-range", ""), // 42
    entry!(Other, "if-unmodified-since", ""), // 43
    entry!(Other, "last-modified", ""), // 44
    entry!(Other, "link", ""), // 45
    entry!(Other, "location", ""), // 46
    entry!(Other, "max-forwards", ""), // 47
    entry!(Other, "proxy-authenticate", ""), // 48
    entry!(Other, "proxy-authorization", ""), // 49
    entry!(Other, "range", ""), // 50
    entry!(Other, "referer", ""), // 51
    entry!(Other, "refresh", ""), // 52
    entry!(Other, "retry-after", ""), // 53
    entry!(Other, "server", ""), // 54
    entry!(Other, "set-cookie", ""), // 55
    entry!(Other, "strict-transport-security", ""), // 56
    entry!(TransferEncoding, "transfer-encoding", ""), // 57
    entry!(UserAgent, "user-agent", ""), // 58
    entry!(Other, "vary", ""), // 59
    entry!(Other, "via", ""), // 60
    entry!(Other, "www-authenticate", ""), // 61
];

/// The entry at `index`, if it is one of the static table.
#[inline]
pub(super) fn entry(index: usize) -> Option<&'static StaticEntry> {
    TABLE.get(index.wrapping_sub(1))
}

/// What a table has for a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The index of an entry with the same name and value.
    Field(usize),
    /// The index of an entry with the same name.
    Name(usize),
    Nothing,
}

/// Looks for a field in the static table.
pub(super) fn find(name: &[u8], value: &[u8]) -> Found {
    let Some(bucket) = BY_NAME_LEN.get(name.len()) else { return Found::Nothing };
    let same_name = |index: usize| entry(index).is_some_and(|entry| entry.name() == name);
    for &index in bucket.iter().take_while(|&&index| index != 0) {
        let first = usize::from(index);
        if same_name(first) {
            let with_name = (first..).take_while(|&index| index == first || same_name(index));
            let exact = with_name.into_iter().find(|&index| entry(index).is_some_and(|e| e.value() == value));
            return exact.map_or(Found::Name(first), Found::Field);
        }
    }
    Found::Nothing
}

/// The longest name: `access-control-allow-origin`.
const LONGEST_NAME: usize = 27;

/// No more than this many different names have the same length.
const BUCKET: usize = 8;

/// For each length the indexes of the names that are so long, the first entry of each name only; 0 ends the list.
static BY_NAME_LEN: [[u8; BUCKET]; LONGEST_NAME + 1] = by_name_len();

#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated when this file is compiled: an index out of range fails the build"
)]
const fn by_name_len() -> [[u8; BUCKET]; LONGEST_NAME + 1] {
    let mut buckets = [[0; BUCKET]; LONGEST_NAME + 1];
    let mut filled = [0; LONGEST_NAME + 1];
    let mut index = 1;
    while index <= TABLE.len() {
        let name = TABLE[index - 1].name();
        if index == 1 || !same(name, TABLE[index - 2].name()) {
            // A bucket that is too small fails the build here.
            buckets[name.len()][filled[name.len()]] = index as u8;
            filled[name.len()] += 1;
        }
        index += 1;
    }
    buckets
}

#[allow(clippy::indexing_slicing, reason = "the position is below both lengths")]
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut position = 0;
    while position < a.len() && position < b.len() && a[position] == b[position] {
        position += 1;
    }
    a.len() == b.len() && position == a.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_where_it_stands() {
        for index in 1..FIRST_DYNAMIC {
            let entry = entry(index).unwrap();
            assert_eq!(find(entry.name(), entry.value()), Found::Field(index));
            assert_eq!(entry.known, Name::from_bytes(entry.name()), "entry {index}");
        }
        assert_eq!(FIRST_DYNAMIC, 62);
        assert!(entry(0).is_none());
        assert!(entry(62).is_none());
    }

    #[test]
    fn a_name_alone_is_found_at_its_first_entry() {
        assert_eq!(find(b":method", b"PUT"), Found::Name(2));
        assert_eq!(find(b":path", b"/x"), Found::Name(4));
        assert_eq!(find(b":status", b"418"), Found::Name(8));
        assert_eq!(find(b"accept-encoding", b"br"), Found::Name(16));
        assert_eq!(find(b"www-authenticate", b"x"), Found::Name(61));
    }

    #[test]
    fn unknown_names_are_not_found() {
        let long = [b'x'; 100];
        for name in [&b""[..], b"x", b"te", b"grpc-status", b":statuz", &long] {
            assert_eq!(find(name, b""), Found::Nothing);
        }
    }
}
