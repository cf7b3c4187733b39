//! An observer that counts: what it is shown must be what the wire carried, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clearway_http2::frame::Kind;
use clearway_http2::{Connection, Direction, Instant, Observer, Trace};

/// Frames and octets of DATA that an observer was shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Sent, and received; DATA apart.
    frames: [AtomicU64; 2],
    octets: [AtomicU64; 2],
}

/// Frames and octets of DATA that were on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) frames: [u64; 2],
    pub(crate) octets: [u64; 2],
}

struct Watch(Arc<Shown>);

impl Observer for Watch {
    fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
        let place = |direction| usize::from(direction == Direction::Received);
        match trace {
            Trace::Frame { direction, header, .. } if header.kind != Kind::DATA => {
                self.0.frames[place(*direction)].fetch_add(1, Ordering::Relaxed);
            }
            Trace::Data { direction, data, .. } => {
                self.0.octets[place(*direction)].fetch_add(data.len() as u64, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Shown {
    /// Sets an observer on a fresh connection.
    pub(crate) fn on(connection: &mut Connection) -> Arc<Self> {
        let shown = Arc::<Self>::default();
        connection.observe(Box::new(Watch(Arc::clone(&shown))));
        shown
    }

    pub(crate) fn counts(&self) -> Counts {
        let load = |place: &AtomicU64| place.load(Ordering::Relaxed);
        let [sent, received] = &self.frames;
        let [out, into] = &self.octets;
        Counts { frames: [load(sent), load(received)], octets: [load(out), load(into)] }
    }
}
