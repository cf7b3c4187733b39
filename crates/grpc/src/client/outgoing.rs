//! What the request of a call is: one message or a stream of them.
//!
//! A message is encoded where the call is made and kept until the response begins, so that a call that was refused unseen can
//! go again. Most messages are small, and these lie in the call itself: encoded into a buffer that the thread keeps, then copied,
//! which costs less than a buffer of their own would.
//!
//! Invariant: a message is in the call with its prefix, as it goes on the wire.

use bytes::Bytes;

use super::upload::Leg;
use crate::Status;
use crate::codec::Encoder;
use crate::codec::compression::Packing;
use crate::intercept::Watching;
use crate::{framing, scratch};

/// Messages up to so many octets, prefix included, lie in the call. With their length they take a cache line.
const SMALL: usize = 63;

/// The request of a call.
pub(crate) enum Outgoing {
    /// A message of up to [`SMALL`] octets.
    Small(Small),
    /// One above that. It is freed when the response begins.
    Large(Bytes),
    /// A stream of messages.
    Stream(Leg),
}

/// The octets of a small message.
#[derive(Clone)]
pub(crate) struct Small {
    length: u8,
    octets: [u8; SMALL],
}

impl Small {
    /// None if there are too many.
    fn new(message: &[u8]) -> Option<Self> {
        let mut small = Self { length: u8::try_from(message.len()).ok()?, octets: [0; SMALL] };
        small.octets.get_mut(..message.len())?.copy_from_slice(message);
        Some(small)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.octets.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Outgoing {
    /// Encodes the one message of a request; who watches the call hears of it.
    ///
    /// # Errors
    /// The message cannot be encoded or is too large.
    pub(crate) fn message<E>(
        encoder: &mut E,
        item: E::Item,
        packing: Packing,
        watching: Option<&Watching>,
    ) -> Result<Self, Status>
    where
        E: Encoder<Error = Status>,
    {
        let expected = framing::expected(encoder, &item);
        if expected > SMALL {
            let mut message = Vec::with_capacity(expected);
            let octets = framing::encode(encoder, item, packing, &mut message)?;
            tell(watching, octets, &message)?;
            return Ok(Self::Large(Bytes::from(message)));
        }
        scratch::with(|buffer| {
            let octets = framing::encode(encoder, item, packing, buffer)?;
            tell(watching, octets, buffer)?;
            Ok(match Small::new(buffer) {
                Some(small) => Self::Small(small),
                None => Self::Large(Bytes::from(core::mem::take(buffer))),
            })
        })
    }

    /// The same request for another attempt, under this number.
    pub(crate) fn again(&self, number: u32) -> Self {
        match self {
            Self::Small(message) => Self::Small(message.clone()),
            Self::Large(message) => Self::Large(message.clone()),
            Self::Stream(leg) => Self::Stream(leg.again(number)),
        }
    }

    /// The attempt lost its stream before anything came back. True if it may get another: everything that was sent is here.
    pub(crate) fn detach(&self) -> bool {
        self.leg().is_none_or(Leg::detach)
    }

    /// The response has begun, so the request is not sent again: what it holds beyond the call itself is freed.
    pub(crate) fn forget(&mut self) {
        match self {
            Self::Small(_) => {}
            Self::Large(message) => *message = Bytes::new(),
            Self::Stream(leg) => leg.answered(),
        }
    }

    /// The octets of the one message; none of a stream.
    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Small(message) => message.as_slice().len(),
            Self::Large(message) => message.len(),
            Self::Stream(_) => 0,
        }
    }

    /// This attempt's end of a request stream.
    pub(crate) const fn leg(&self) -> Option<&Leg> {
        match self {
            Self::Stream(leg) => Some(leg),
            Self::Small(_) | Self::Large(_) => None,
        }
    }
}

fn tell(watching: Option<&Watching>, octets: usize, framed: &[u8]) -> Result<(), Status> {
    watching.map_or(Ok(()), |watching| watching.sent(octets, framing::wire_octets(framed.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{BytesEncoder, EncodeBuf};
    use crate::scratch::KEPT;

    /// Says nothing of how large its messages become, and makes two of each on the way.
    struct Vague;

    impl Encoder for Vague {
        type Item = Bytes;
        type Error = Status;

        fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
            let inner = Outgoing::message(&mut BytesEncoder, item.clone(), Packing::plain(usize::MAX), None)?;
            assert_eq!(content(&inner), framed(&item));
            BytesEncoder.encode(item, out)
        }
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        framed
    }

    fn content(outgoing: &Outgoing) -> Vec<u8> {
        match outgoing {
            Outgoing::Small(small) => small.as_slice().to_vec(),
            Outgoing::Large(message) => message.to_vec(),
            Outgoing::Stream(_) => panic!("it is one message"),
        }
    }

    #[test]
    fn small_messages_lie_in_the_call_and_large_ones_do_not_and_all_are_what_was_encoded() {
        let plain = Packing::plain(usize::MAX);
        for length in (0..300).chain([KEPT, 3 * KEPT]) {
            let message = Bytes::from((0..=u8::MAX).cycle().skip(length).take(length).collect::<Vec<_>>());
            for outgoing in [
                Outgoing::message(&mut BytesEncoder, message.clone(), plain, None).unwrap(),
                Outgoing::message(&mut Vague, message.clone(), plain, None).unwrap(),
            ] {
                let small = length + framing::PREFIX <= SMALL;
                assert_eq!(matches!(outgoing, Outgoing::Small(_)), small, "{length}");
                assert_eq!(content(&outgoing), framed(&message));
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_leaves_nothing_behind_for_the_next_one() {
        let message = Bytes::from_static(b"four");
        let status =
            Outgoing::message(&mut BytesEncoder, message.clone(), Packing::plain(3), None).err().unwrap();
        assert_eq!(status.code(), crate::Code::ResourceExhausted);
        let outgoing = Outgoing::message(&mut BytesEncoder, message, Packing::plain(4), None).unwrap();
        assert_eq!(content(&outgoing), b"\0\0\0\0\x04four");
    }

    #[test]
    fn what_a_thread_keeps_is_bounded() {
        let _ = Outgoing::message(&mut Vague, Bytes::from(vec![0; 3 * KEPT]), Packing::plain(3), None)
            .err()
            .unwrap();
        assert!(scratch::kept() <= KEPT);
    }
}
