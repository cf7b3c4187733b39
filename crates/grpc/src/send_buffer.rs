//! Buffers that messages of a stream are encoded into on their way to the connection's task. Large ones are kept by the
//! worker that wrote them out, and used again.
//!
//! A large buffer that is freed and allocated again for every message costs page faults: the allocator gives the memory
//! back to the system and asks for it again, and what comes is zeroed once more and cold in every cache. The buffer freed
//! last is taken first, so a download goes through the same few, which stay warm.
//!
//! Invariant: a worker keeps at most [`KEPT_OCTETS`], whatever its connections do; what they use at the moment is bounded
//! elsewhere ([`crate::gate`]).

use core::task::Poll;
use std::cell::RefCell;

use bytes::Bytes;

use crate::codec::Encoder;
use crate::codec::compression::Packing;
use crate::intercept::Watching;
use crate::{Status, framing};

/// Messages that are ready together go to the connection in one buffer, up to so many octets.
pub(crate) const BATCH: usize = 16 * 1024;
/// Buffers below this are left to the allocator, which is good at them.
const KEEP_FROM: usize = 16 * 1024;
/// What one worker keeps in unused buffers, in octets. A single message above it is not kept either.
const KEPT_OCTETS: usize = 512 * 1024;

/// The buffers that one worker keeps, the one used last at the end.
#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    octets: usize,
}

impl Kept {
    const fn new() -> Self {
        Self { buffers: Vec::new(), octets: 0 }
    }

    /// The warmest buffer that is large enough, and not so large that a small message would hold much of it.
    fn take(&mut self, expected: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (expected..=expected.saturating_mul(2)).contains(&buffer.capacity());
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(at);
        self.octets = self.octets.saturating_sub(buffer.capacity());
        Some(buffer)
    }

    /// Keeps a buffer, in place of those that were not used for the longest time.
    fn put(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > KEPT_OCTETS {
            return;
        }
        buffer.clear();
        self.octets = self.octets.saturating_add(buffer.capacity());
        self.buffers.push(buffer);
        let mut over = self.octets.saturating_sub(KEPT_OCTETS);
        while over > 0 {
            let oldest = self.buffers.remove(0).capacity();
            self.octets = self.octets.saturating_sub(oldest);
            over = over.saturating_sub(oldest);
        }
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::new()) };
}

/// Makes room in `buffer` for a message of so many octets. Beyond small sizes a kept buffer is taken for it.
pub(crate) fn reserve(buffer: &mut Vec<u8>, octets: usize) {
    let needed = buffer.len().saturating_add(octets);
    if needed <= buffer.capacity() {
        return;
    }
    // A batch of small messages grows by doubling, and then to what it can become at most, not to twice that: buffers may
    // wait long for a peer's credit.
    let most = if buffer.is_empty() || needed <= BATCH / 2 { needed } else { BATCH.saturating_add(octets) };
    let room = needed.max(most);
    if room < KEEP_FROM && buffer.capacity() == 0 {
        *buffer = Vec::with_capacity(octets);
    } else if room < KEEP_FROM {
        buffer.reserve(octets);
    } else if let Ok(Some(mut kept)) = KEPT.try_with(|kept| kept.try_borrow_mut().ok()?.take(room)) {
        kept.extend_from_slice(buffer);
        *buffer = kept;
    } else {
        buffer.reserve_exact(room.saturating_sub(buffer.len()));
    }
}

/// What was encoded, to be sent; its buffer is kept by the worker that drops the last of it.
pub(crate) fn seal(buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() < KEEP_FROM { Bytes::from(buffer) } else { Bytes::from_owner(Lent(buffer)) }
}

/// Why a batch has no more in it.
pub(crate) enum Filled {
    /// It has as much as it may.
    Up,
    /// Nothing more is ready; whoever gives the messages wakes the task when something is.
    Pending,
    /// There are no more, or one could not be had or encoded.
    End(Result<(), Status>),
}

/// Encodes the messages that `next` has ready, up to `most` octets, and one in any case; who watches the call hears of each.
pub(crate) fn fill<E: Encoder<Error = Status>>(
    mut next: impl FnMut() -> Poll<Option<Result<E::Item, Status>>>,
    encoder: &mut E,
    packing: Packing,
    most: usize,
    batch: &mut Vec<u8>,
    watching: Option<&Watching>,
) -> Filled {
    while batch.is_empty() || batch.len() < most {
        match next() {
            Poll::Ready(Some(Ok(message))) => {
                reserve(batch, framing::expected(encoder, &message));
                let before = batch.len();
                match (framing::encode(encoder, message, packing, batch), watching) {
                    (Ok(_), None) => {}
                    (Ok(octets), Some(watching)) => {
                        let framed = batch.len().saturating_sub(before);
                        if let Err(status) = watching.sent(octets, framing::wire_octets(framed)) {
                            batch.truncate(before);
                            return Filled::End(Err(status));
                        }
                    }
                    (Err(status), _) => return Filled::End(Err(status)),
                }
            }
            Poll::Ready(Some(Err(status))) => return Filled::End(Err(status)),
            Poll::Ready(None) => return Filled::End(Ok(())),
            Poll::Pending => return Filled::Pending,
        }
    }
    Filled::Up
}

/// A large buffer on its way out.
struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = core::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut() {
                kept.put(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(octets: usize) -> Bytes {
        let mut buffer = Vec::new();
        reserve(&mut buffer, octets);
        assert!(buffer.is_empty() && buffer.capacity() >= octets, "{octets}");
        buffer.resize(octets, 7);
        seal(buffer)
    }

    fn kept() -> (usize, usize) {
        KEPT.with_borrow(|kept| {
            let sum = kept.buffers.iter().map(Vec::capacity).sum::<usize>();
            assert_eq!(kept.octets, sum);
            (kept.buffers.len(), sum)
        })
    }

    #[test]
    fn a_large_buffer_is_used_again_once_the_last_of_it_is_dropped() {
        let mut first = lent(70_000);
        let (place, rest) = (first.as_ptr(), first.split_off(1));
        drop(first);
        assert_eq!(kept(), (0, 0), "a part of it is still on its way");
        drop(rest);
        assert_eq!(kept().0, 1);
        assert_eq!(lent(60_000).as_ptr(), place, "a somewhat smaller message takes it");
        let small = lent(20_000);
        assert_eq!(kept().0, 1, "a much smaller one does not");
        assert_eq!(&small[..], &[7; 20_000]);
    }

    #[test]
    fn small_buffers_and_huge_ones_are_the_allocators() {
        drop((lent(100), lent(KEEP_FROM - 1), lent(KEPT_OCTETS + 1)));
        assert_eq!(kept(), (0, 0));
    }

    #[test]
    fn a_worker_keeps_so_much_and_drops_what_was_unused_longest() {
        let all: Vec<_> = (0..100).map(|n| lent(KEEP_FROM + n * 1000)).collect();
        drop(all);
        let (buffers, octets) = kept();
        assert!(octets <= KEPT_OCTETS && octets > KEPT_OCTETS - 120_000, "{octets}");
        KEPT.with_borrow(|kept| assert!(kept.buffers.iter().all(|each| each.capacity() > 90_000)));
        assert!(buffers >= 4, "{buffers}");
    }

    #[test]
    fn a_batch_of_small_messages_takes_little_more_than_its_octets() {
        for message in [5, 100, 1005, 5000, 9000] {
            for _ in 0..2 {
                let mut buffer = Vec::new();
                while buffer.len() < BATCH {
                    reserve(&mut buffer, message);
                    buffer.resize(buffer.len() + message, 7);
                    assert!(buffer.capacity() <= (2 * buffer.len()).max(BATCH + message), "{message}");
                }
                assert!(buffer.capacity() <= 2 * (BATCH + message), "{message}");
                drop(seal(buffer));
            }
            assert_eq!(kept().0, 1, "the second batch went into the buffer of the first");
            KEPT.take();
        }
    }
}
