//! What went over the wire, as far as a case must know it.

use clearway::observe::{Direction, Instant, Kind, Observer, Trace};
use tokio::sync::watch;

/// CANCEL as RST_STREAM carries it (RFC 9113 §6.4, §7).
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// How much was sent so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    connections: u64,
    heads: u64,
    cancels: u64,
}

/// Counts what a channel's connections send.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(watch::Sender<Sent>);

impl Wire {
    /// For a new connection.
    pub(super) fn observer(&self) -> impl Observer + Send + use<> {
        self.0.send_modify(|sent| sent.connections += 1);
        Counter(self.0.clone())
    }

    pub(super) fn now(&self) -> Sent {
        *self.0.borrow()
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> u64 {
        self.now().connections
    }

    /// Waits until the head of a request has gone out.
    pub(super) async fn request_after(&self, before: &Sent) {
        self.until(|sent| sent.heads > before.heads).await;
    }

    /// Waits until a stream was reset with CANCEL.
    pub(super) async fn cancel_after(&self, before: &Sent) {
        self.until(|sent| sent.cancels > before.cancels).await;
    }

    async fn until(&self, holds: impl Fn(&Sent) -> bool) {
        // An error would say that the sender is gone, and `self` is one.
        let _ = self.0.subscribe().wait_for(holds).await;
    }
}

struct Counter(watch::Sender<Sent>);

impl Observer for Counter {
    fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
        let Trace::Frame { direction: Direction::Sent, header, payload } = trace else { return };
        match header.kind {
            Kind::HEADERS => self.0.send_modify(|sent| sent.heads += 1),
            Kind::RST_STREAM if *payload == CANCEL => self.0.send_modify(|sent| sent.cancels += 1),
            _ => {}
        }
    }
}
