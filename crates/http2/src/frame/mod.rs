//! Frames, one file per type. RFC 9113 §4, §6.
//!
//! Each type holds only legal values: what can be constructed can be sent, what decodes keeps the rules of its section.
//! Rules that need the state of a stream or of the connection are the connection's.

mod continuation;
mod data;
mod goaway;
mod header;
mod headers;
mod padding;
mod ping;
mod priority;
mod push_promise;
mod rst_stream;
mod settings;
mod window_update;

pub use continuation::Continuation;
pub use data::{Data, DataLayout};
pub use goaway::GoAway;
pub use header::{Flags, FrameHeader, Kind};
pub use headers::Headers;
pub use ping::Ping;
pub use priority::{Priority, PriorityParams};
pub use push_promise::PushPromise;
pub use rst_stream::RstStream;
pub use settings::{SettingId, Settings, SettingsValues, check_setting, encode_settings};
pub use window_update::WindowUpdate;

use crate::error::Violation;

/// Smallest value of SETTINGS_MAX_FRAME_SIZE, and the one before any SETTINGS (§6.5.2).
pub const MIN_MAX_FRAME_SIZE: u32 = 16_384;
/// Largest value of SETTINGS_MAX_FRAME_SIZE (§6.5.2).
pub const MAX_MAX_FRAME_SIZE: u32 = 16_777_215;

/// A whole frame of any type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is the type it holds")]
pub enum Frame<'a> {
    Data(Data<'a>),
    Headers(Headers<'a>),
    Priority(Priority),
    RstStream(RstStream),
    Settings(Settings<'a>),
    PushPromise(PushPromise<'a>),
    Ping(Ping),
    GoAway(GoAway<'a>),
    WindowUpdate(WindowUpdate),
    Continuation(Continuation<'a>),
    /// A type we do not know, to be ignored (§4.1).
    Unknown {
        header: FrameHeader,
        payload: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Reads a frame from its header and its whole payload.
    ///
    /// # Errors
    /// The rule it breaks; [`Violation::FrameSize`] if the payload is not as long as the header says.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        if payload.len() != header.length as usize {
            return Err(Violation::FrameSize);
        }
        Ok(match header.kind {
            Kind::DATA => Self::Data(Data::decode(header, payload)?),
            Kind::HEADERS => Self::Headers(Headers::decode(header, payload)?),
            Kind::PRIORITY => Self::Priority(Priority::decode(header, payload)?),
            Kind::RST_STREAM => Self::RstStream(RstStream::decode(header, payload)?),
            Kind::SETTINGS => Self::Settings(Settings::decode(header, payload)?),
            Kind::PUSH_PROMISE => Self::PushPromise(PushPromise::decode(header, payload)?),
            Kind::PING => Self::Ping(Ping::decode(header, payload)?),
            Kind::GOAWAY => Self::GoAway(GoAway::decode(header, payload)?),
            Kind::WINDOW_UPDATE => Self::WindowUpdate(WindowUpdate::decode(header, payload)?),
            Kind::CONTINUATION => Self::Continuation(Continuation::decode(header, payload)?),
            _ => Self::Unknown { header, payload },
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Data(frame) => frame.encode(out),
            Self::Headers(frame) => frame.encode(out),
            Self::Priority(frame) => frame.encode(out),
            Self::RstStream(frame) => frame.encode(out),
            Self::Settings(frame) => frame.encode(out),
            Self::PushPromise(frame) => frame.encode(out),
            Self::Ping(frame) => frame.encode(out),
            Self::GoAway(frame) => frame.encode(out),
            Self::WindowUpdate(frame) => frame.encode(out),
            Self::Continuation(frame) => frame.encode(out),
            Self::Unknown { header, payload } => {
                write_frame(header.kind, header.flags, header.stream_id, out, |out| {
                    out.extend_from_slice(payload);
                });
            }
        }
    }
}

/// The stream of a frame that needs one.
#[inline]
fn on_stream(header: FrameHeader) -> Result<u32, Violation> {
    if header.stream_id == 0 { Err(Violation::FrameOnStreamZero) } else { Ok(header.stream_id) }
}

/// Checks a frame that concerns the connection.
fn on_connection(header: FrameHeader) -> Result<(), Violation> {
    if header.stream_id == 0 { Ok(()) } else { Err(Violation::FrameNotOnStreamZero) }
}

/// Appends a frame whose payload `fill` writes, with the length that came out.
fn write_frame(kind: Kind, flags: Flags, stream_id: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FrameHeader::OCTETS]);
    fill(out);
    let length = out.len().saturating_sub(start).saturating_sub(FrameHeader::OCTETS);
    let header = FrameHeader { length: u32::try_from(length).unwrap_or(u32::MAX), kind, flags, stream_id };
    if let Some(place) = out.get_mut(start..start.saturating_add(FrameHeader::OCTETS)) {
        place.copy_from_slice(&header.encode());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type, every flag octet, every short payload of a few patterns: decoding never panics, and what decodes
    /// encodes to something that decodes to the same.
    #[test]
    fn what_decodes_encodes_back() {
        let patterns: [fn(usize) -> u8; 4] =
            [|_| 0, |_| 0xff, |at| u8::from(at == 0), |at| u8::try_from(at).unwrap()];
        let mut decoded = 0;
        for kind in 0..=12 {
            for flags in 0..=255 {
                for length in 0..=18u32 {
                    for pattern in patterns {
                        for stream_id in [0, 1] {
                            let payload: Vec<u8> = (0..length as usize).map(pattern).collect();
                            let header =
                                FrameHeader { length, kind: Kind(kind), flags: Flags(flags), stream_id };
                            let Ok(frame) = Frame::decode(header, &payload) else { continue };
                            decoded += 1;
                            let mut out = Vec::new();
                            frame.encode(&mut out);
                            let (head, again) = out.split_first_chunk().unwrap();
                            assert_eq!(Frame::decode(FrameHeader::decode(*head), again), Ok(frame));
                        }
                    }
                }
            }
        }
        assert!(decoded > 50_000, "{decoded}");
    }

    #[test]
    fn frames_belong_on_a_stream_or_on_the_connection() {
        let sizes = [(0, 0), (1, 0), (2, 5), (3, 4), (4, 0), (5, 4), (6, 8), (7, 8), (9, 0)];
        for (kind, length) in sizes {
            let header = FrameHeader { length, kind: Kind(kind), flags: Flags::default(), stream_id: 1 };
            let payload = vec![0; length as usize];
            let on_stream = Frame::decode(header, &payload);
            let on_connection = Frame::decode(FrameHeader { stream_id: 0, ..header }, &payload);
            match kind {
                4 | 6 | 7 => {
                    assert_eq!(on_stream, Err(Violation::FrameNotOnStreamZero));
                    assert!(on_connection.is_ok());
                }
                _ => {
                    assert!(on_stream.is_ok(), "{:?}", header.kind);
                    assert_eq!(on_connection, Err(Violation::FrameOnStreamZero));
                }
            }
        }
    }

    #[test]
    fn a_payload_of_another_length_than_announced_is_refused() {
        let header = FrameHeader { length: 9, kind: Kind::PING, flags: Flags::default(), stream_id: 0 };
        assert_eq!(Frame::decode(header, &[0; 8]), Err(Violation::FrameSize));
    }
}
