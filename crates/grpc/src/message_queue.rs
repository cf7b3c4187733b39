//! The messages of one direction that wait for their reader, in order.
//!
//! A peer's credit counts octets, so what a queue may take up must be bounded by octets, too: an empty message costs its sender
//! five, and a [`Bytes`] of our own costs many times that. Once more than a few messages wait, small ones are therefore
//! packed: copied into a run, where each takes one octet more than its content.
//!
//! Invariant: beyond the first [`UNPACKED`] messages, the queue takes up no more than a small multiple of the octets that
//! its messages took on the wire.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec::Message;
use crate::framing::PREFIX;

/// So many messages wait as they came: a reader that keeps up never meets a run.
const UNPACKED: usize = 16;
/// A run is closed when it has grown to so many octets; it is freed as a whole.
const RUN: usize = 4096;
/// The longest message that goes into a run.
const PACKED: u8 = 0x7f;
/// Beside the length of a message in a run: it is compressed.
const COMPRESSED: u8 = 0x80;

enum Entry {
    Whole(Message),
    /// Messages, each as one octet of flag and length and its content; those before `at` were taken.
    Run {
        octets: Vec<u8>,
        at: usize,
    },
}

/// Messages, oldest first.
#[derive(Default)]
pub(crate) struct MessageQueue {
    /// The oldest, if the queue was empty when it came: a queue of one takes no memory of its own.
    front: Option<Message>,
    entries: VecDeque<Entry>,
    messages: usize,
    /// Octets the messages took on the wire.
    octets: usize,
}

impl MessageQueue {
    pub(crate) fn push(&mut self, message: Message) {
        self.messages = self.messages.saturating_add(1);
        self.octets = self.octets.saturating_add(message.len()).saturating_add(PREFIX);
        if self.messages == 1 {
            self.front = Some(message);
            return;
        }
        match u8::try_from(message.len()) {
            Ok(length @ ..=PACKED) if self.messages > UNPACKED => {
                let mark = if message.compressed { length | COMPRESSED } else { length };
                self.pack(mark, &message.octets);
            }
            _ => self.entries.push_back(Entry::Whole(message)),
        }
    }

    fn pack(&mut self, mark: u8, message: &[u8]) {
        if let Some(Entry::Run { octets, .. }) = self.entries.back_mut()
            && octets.len() < RUN
        {
            octets.push(mark);
            octets.extend_from_slice(message);
            return;
        }
        let mut octets = Vec::with_capacity(message.len().saturating_add(1));
        octets.push(mark);
        octets.extend_from_slice(message);
        self.entries.push_back(Entry::Run { octets, at: 0 });
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        if self.messages == 0 {
            return None;
        }
        let message = match self.front.take() {
            Some(message) => message,
            None => self.pop_entry()?,
        };
        self.messages = self.messages.saturating_sub(1);
        self.octets = self.octets.saturating_sub(message.len()).saturating_sub(PREFIX);
        if self.entries.is_empty() && self.entries.capacity() > UNPACKED {
            self.entries = VecDeque::new();
        }
        Some(message)
    }

    fn pop_entry(&mut self) -> Option<Message> {
        match self.entries.front_mut()? {
            Entry::Whole(message) => {
                let message = core::mem::take(message);
                self.entries.pop_front();
                Some(message)
            }
            Entry::Run { octets, at } => {
                let rest = octets.get(*at..).unwrap_or_default();
                let (mark, rest) = rest.split_first()?;
                let content = rest.get(..usize::from(*mark & PACKED))?;
                let message =
                    Message { octets: Bytes::copy_from_slice(content), compressed: *mark & COMPRESSED != 0 };
                *at = at.saturating_add(1).saturating_add(content.len());
                if *at == octets.len() {
                    self.entries.pop_front();
                }
                Some(message)
            }
        }
    }

    /// Drops all messages; says how many octets they took on the wire.
    pub(crate) fn clear(&mut self) -> usize {
        core::mem::take(self).octets
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Octets of memory, without what the allocator adds.
    #[cfg(test)]
    fn room(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        let contents = self.entries.iter().map(|entry| match entry {
            Entry::Whole(message) => message.len(),
            Entry::Run { octets, .. } => octets.capacity(),
        });
        entries + contents.sum::<usize>() + self.front.as_ref().map_or(0, Message::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            steps in prop::collection::vec(prop::option::weighted(0.7, 0usize..600), 0..300),
        ) {
            let (mut queue, mut model) = (MessageQueue::default(), VecDeque::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Some(length) => {
                        let octets = Bytes::from(vec![n.to_le_bytes()[0]; length]);
                        let message = Message { octets, compressed: n % 3 == 0 };
                        queue.push(message.clone());
                        model.push_back(message);
                    }
                    None => prop_assert_eq!(queue.pop(), model.pop_front()),
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            let octets: usize = model.iter().map(|message| message.len() + PREFIX).sum();
            prop_assert_eq!(queue.octets, octets);
            while let Some(message) = model.pop_front() {
                prop_assert_eq!(queue.pop(), Some(message));
            }
            prop_assert_eq!(queue.pop(), None);
            prop_assert_eq!(queue.octets, 0);
        }
    }

    /// What fits a window of 64 KiB, five octets each: as `Bytes` they would take 400 KiB and more.
    #[test]
    fn tiny_messages_take_no_more_room_than_their_credit() {
        for (length, compressed) in
            [(0, false), (1, true), (40, false), (127, true), (128, true), (255, false)]
        {
            let octets = Bytes::from(vec![7; length]);
            let (mut queue, message) = (MessageQueue::default(), Message { octets, compressed });
            while queue.octets + length + PREFIX <= 65_536 {
                queue.push(message.clone());
            }
            assert!(queue.room() <= 2 * 65_536, "{} octets of {length}-octet messages", queue.room());
            let waiting = queue.octets;
            assert_eq!(queue.clear(), waiting);
            assert!(queue.pop().is_none() && queue.room() == 0);
        }
    }

    #[test]
    fn an_emptied_queue_gives_its_room_back() {
        let mut queue = MessageQueue::default();
        (0..10_000).for_each(|_| queue.push(Bytes::from(vec![1; 300]).into()));
        while queue.pop().is_some() {}
        assert_eq!(queue.room(), 0);
    }
}
