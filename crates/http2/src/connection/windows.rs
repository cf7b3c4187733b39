//! The credit of a stream and of the connection, for whoever looks on: tests, and tools that say what a stream waits for.
//! RFC 9113 §5.2, §6.9.

use super::tx::Tx;
use crate::flow_control::{RecvWindow, SendWindow};
use crate::stream::StreamKey;

/// Credit in both directions, in octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// What the peer lets us send; negative after it lowered SETTINGS_INITIAL_WINDOW_SIZE (§6.9.2).
    pub send: i32,
    /// What we let the peer send: announced, and not used yet.
    pub receive: i32,
    /// What we will let it send beyond that once enough has come together to be announced.
    pub owed: u32,
    /// What arrived and was not released; nothing for the connection, whose credit goes back on receipt.
    pub held: u32,
}

impl Windows {
    fn of(send: SendWindow, receive: &RecvWindow, held: u32) -> Self {
        let (receive, owed) = receive.credit();
        Self { send: send.octets(), receive, owed, held }
    }
}

impl Tx {
    /// The credit of a stream; none if it is closed.
    #[must_use]
    pub fn windows(&self, stream: StreamKey) -> Option<Windows> {
        let stream = self.streams.get(stream).filter(|stream| stream.is_live())?;
        Some(Windows::of(stream.send_window, &stream.recv_window, stream.held))
    }

    /// The credit of the connection as a whole.
    #[must_use]
    pub fn connection_windows(&self) -> Windows {
        Windows::of(self.send_window, &self.recv_window, 0)
    }
}
