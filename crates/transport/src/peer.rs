//! The other end of a connection: where it is, and who it is if TLS told.

use core::ops::Deref;
use std::sync::Arc;

use crate::address::PeerAddr;
#[cfg(feature = "tls")]
use crate::tls::TlsPeer;

/// The other end of a connection. It is its address, first of all.
#[derive(Debug)]
pub struct Peer {
    address: PeerAddr,
    /// Boxed: most connections are without, and all would make room for it.
    #[cfg(feature = "tls")]
    tls: Option<Box<TlsPeer>>,
}

impl Peer {
    /// A peer of which nothing but its address is known.
    #[must_use]
    pub const fn new(address: PeerAddr) -> Self {
        Self {
            address,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The same, on a connection with TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub(crate) fn and_tls(self, tls: TlsPeer) -> Self {
        Self { tls: Some(Box::new(tls)), ..self }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> &PeerAddr {
        &self.address
    }

    /// What TLS agreed on and who the peer is; None on a connection in cleartext.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(&self) -> Option<&TlsPeer> {
        self.tls.as_deref()
    }
}

impl Deref for Peer {
    type Target = PeerAddr;

    fn deref(&self) -> &PeerAddr {
        &self.address
    }
}

impl From<PeerAddr> for Peer {
    fn from(address: PeerAddr) -> Self {
        Self::new(address)
    }
}

impl From<PeerAddr> for Arc<Peer> {
    fn from(address: PeerAddr) -> Self {
        Self::new(Peer::new(address))
    }
}
