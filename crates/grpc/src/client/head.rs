//! The header sections of requests. A connection calls the same few methods again and again, so that most of a section is what
//! it was before; the engine keeps that encoded.
//!
//! Invariant: a number that was given to a path is given to no other as long as the connection lives.

use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{OpenError, Part, StreamKey, Tx};

use super::channel::Shared;
use super::path::MethodPath;
use super::start::StartCall;
use crate::deadline::TimeoutValue;

/// The number of the fields that all requests have. Those of paths follow.
const FIXED: usize = 0;
/// Paths that have a number; others share one that is not kept.
const PATHS: usize = 15;

/// What one connection knows of the requests it sends.
#[derive(Debug, Default)]
pub(super) struct Heads {
    paths: Vec<MethodPath>,
    /// The name `grpc-timeout` was put into the peer's table, so that from then on only values are sent.
    timeout_named: bool,
}

impl Heads {
    /// Opens a stream with a request's header section, in the order of the protocol page: pseudo-header fields, then
    /// `grpc-timeout`, then the rest.
    pub(super) fn open(
        &mut self,
        tx: &mut Tx,
        shared: &Shared,
        call: &StartCall,
        timeout: Option<&TimeoutValue>,
    ) -> Result<StreamKey, OpenError> {
        let pseudo = [
            stable(":method", b"POST"),
            stable(":scheme", shared.scheme.as_bytes()),
            stable(":path", call.path.as_str().as_bytes()),
            stable(":authority", shared.authority.as_bytes()),
        ];
        let fixed = [
            stable("te", b"trailers"),
            stable("content-type", b"application/grpc"),
            stable("user-agent", shared.user_agent.as_bytes()),
        ];
        let indexing = if self.timeout_named { Indexing::Without } else { Indexing::Insert };
        let timeout =
            timeout.map(|value| HeaderField { name: b"grpc-timeout", value: value.as_bytes(), indexing });
        let first = Part { number: self.number(&call.path), fields: &pseudo };
        let second = Part { number: FIXED, fields: &fixed };
        let opened = if call.encoding.is_none() && call.accepted.is_none() && call.attempt.is_none() {
            tx.open_parts(first, timeout, second, call.metadata.fields())
        } else {
            let encoding = call.encoding.map(|encoding| stable("grpc-encoding", encoding.name().as_bytes()));
            let accepted = call.accepted.as_ref();
            let accepted = accepted.map(|list| stable("grpc-accept-encoding", list.text().as_bytes()));
            let previous = call.attempt.as_ref().map_or(0, |notes| notes.previous);
            let digits = if previous > 0 { previous.to_string() } else { String::new() };
            let previous = (previous > 0).then_some(HeaderField {
                name: b"grpc-previous-rpc-attempts",
                value: digits.as_bytes(),
                indexing: Indexing::Without,
            });
            let own = encoding.into_iter().chain(accepted).chain(previous);
            let third = own.chain(call.metadata.fields());
            tx.open_parts(first, timeout, second, third)
        };
        self.timeout_named |= timeout.is_some() && opened.is_ok();
        opened
    }

    fn number(&mut self, path: &MethodPath) -> usize {
        let known = self.paths.iter().position(|known| known == path);
        let at = known.unwrap_or_else(|| {
            if self.paths.len() < PATHS {
                self.paths.push(path.clone());
                self.paths.len().saturating_sub(1)
            } else {
                PATHS
            }
        });
        at.saturating_add(FIXED).saturating_add(1)
    }
}

const fn stable<'a>(name: &'static str, value: &'a [u8]) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value, indexing: Indexing::Insert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_numbers_and_the_many_share_one_that_is_not_kept() {
        let mut heads = Heads::default();
        let path = |n: usize| MethodPath::new(&format!("/a.B/M{n}")).unwrap();
        for _ in 0..2 {
            for n in 0..40 {
                let number = heads.number(&path(n));
                assert_eq!(number, if n < PATHS { n + 1 } else { 16 });
            }
        }
    }
}
