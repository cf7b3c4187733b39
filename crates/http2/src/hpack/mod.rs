//! HPACK, the header compression of HTTP/2 (RFC 7541).
//!
//! [`Decoder`] turns one complete field block into a [`FieldSection`]; [`Encoder`] appends one field after another to
//! a block. Each side of a connection owns one of each, for as long as the connection lives: the dynamic tables are
//! shared state, so every block must pass through, in order, also blocks of streams nobody cares about any more
//! (§2.2, RFC 9113 §4.3).
//!
//! **Invariant:** nothing a peer sends can panic here, or make a table or a section larger than the limits given.
//! After an [`HpackError`] the state is lost: the connection ends with COMPRESSION_ERROR.
//!
//! Deliberately left out: assembling blocks from CONTINUATION frames, and every rule about what names and values may
//! contain. Both belong to the connection (RFC 9113 §4.3, §8.2).
//!
//! ```
//! use clearway_http2::hpack::{Decoder, Encoder, FieldSection, HeaderField, Indexing, SectionLimits};
//!
//! let mut encoder = Encoder::new(4096);
//! let mut block = Vec::new();
//! encoder.begin(&mut block);
//! encoder.encode(HeaderField { name: b":path", value: b"/a.B/C", indexing: Indexing::Insert }, &mut block);
//!
//! let mut section = FieldSection::default();
//! let limits = SectionLimits { list_octets: 16 * 1024, fields: 128 };
//! Decoder::new(4096).decode(&block, &limits, &mut section)?;
//! assert_eq!(section.field(0).map(|field| field.value), Some(&b"/a.B/C"[..]));
//! # Ok::<(), clearway_http2::hpack::HpackError>(())
//! ```

mod decoder;
mod encoder;
mod error;
mod huffman;
mod huffman_code;
mod integer;
mod name;
mod section;
mod static_table;
mod table;

pub use decoder::Decoder;
pub(crate) use encoder::Short;
pub use encoder::{Encoder, HeaderField, Indexing, Part};
pub use error::HpackError;
pub use name::Name;
pub use section::{Field, FieldSection, SectionLimits};

/// The size of both dynamic tables of a new connection, in octets: the initial SETTINGS_HEADER_TABLE_SIZE
/// (RFC 9113 §6.5.2).
pub const DEFAULT_TABLE_OCTETS: u32 = 4096;
