//! [`Link`]: what belongs to a connection and is shared by its calls: with the requests that are given to handlers, and with the
//! tasks that handlers run as.

use std::sync::{Arc, OnceLock};

use clearway_http2::StreamKey;
use clearway_transport::{OpQueue, Peer, PeerAddr};

use super::OnCancel;
use super::connection::Shared;
use super::ops::ServerOp;
use crate::context::{Life, Over};

/// A connection, as its calls know it.
pub(crate) struct Link {
    pub(super) peer: Arc<Peer>,
    pub(super) ops: Arc<OpQueue<ServerOp>>,
    pub(super) shared: Arc<Shared>,
}

/// Where a request came from.
#[derive(Clone)]
pub(crate) struct Origin {
    link: Arc<Link>,
    stream: StreamKey,
    /// What hears of the call's end.
    life: OnceLock<Arc<Life>>,
}

impl Origin {
    pub(super) const fn new(link: Arc<Link>, stream: StreamKey) -> Self {
        Self { link, stream, life: OnceLock::new() }
    }

    /// The connection knows this one already.
    pub(crate) fn knows(&self, life: &Arc<Life>) {
        let _ = self.life.set(Arc::clone(life));
    }

    #[cfg(feature = "tls")]
    pub(crate) fn remote(&self) -> &Peer {
        &self.link.peer
    }

    #[cfg(feature = "tower")]
    pub(super) const fn stream(&self) -> StreamKey {
        self.stream
    }

    pub(crate) fn peer(&self) -> &PeerAddr {
        &self.link.peer
    }

    /// What hears of the call's end, from wherever the request went.
    pub(crate) fn life(&self) -> &Arc<Life> {
        self.life.get_or_init(|| self.watch())
    }

    /// The connection's task learns of it by an operation; a call that is over by then has been answered, or cancelled before.
    fn watch(&self) -> Arc<Life> {
        let life = Arc::new(Life::new(OnCancel::Drop));
        let watch =
            ServerOp::Watch { stream: self.stream, life: Arc::clone(&life), asked_by: AskedBy::Request };
        if let Err(ServerOp::Watch { life, .. }) = self.link.ops.push(watch) {
            life.end_now(Over::Cancelled);
        }
        life
    }
}

impl core::fmt::Debug for Origin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Origin").field("peer", self.peer()).finish_non_exhaustive()
    }
}

/// Whose [`Life`] wants to hear of a call's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AskedBy {
    /// The context of the call: it also says what becomes of the handler.
    Context,
    /// Somebody who has the request.
    Request,
}
