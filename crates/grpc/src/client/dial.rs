//! How an endpoint's connection is made: TCP or what the program brings, then TLS if it is spoken; all of it within a budget. And
//! the status of calls when it can't be made.

use std::io;

use clearway_transport::{Address, ConnectError, ConnectFault, ConnectPhase};
#[cfg(feature = "tls")]
use clearway_transport::{Stream, tls::TlsConnector};

use super::backoff::Budget;
use super::endpoint::{Dialed, Endpoint};
use super::start::unsent;
use crate::cause::TransportEvent;
use crate::{Code, Status};

impl Endpoint {
    /// Connects to an address the resolver gave, and shakes hands if TLS is spoken.
    pub(super) async fn dial(&self, address: &Address, budget: Budget) -> Result<Dialed, ConnectError> {
        let dialed = self
            .dial_below(address, budget)
            .await
            .map_err(|error| ConnectError { source: budget.explain(error.source), ..error })?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let shaken = budget.within(shake_hands(tls, dialed, self.host())).await;
            return shaken.map_err(|source| ConnectError {
                phase: ConnectPhase::Tls,
                address: address.clone(),
                source,
            });
        }
        Ok(dialed)
    }

    async fn dial_below(&self, address: &Address, budget: Budget) -> Result<Dialed, ConnectError> {
        let Some(connector) = &self.connector else {
            let stream = clearway_transport::connect(address, budget.left()).await?;
            // Of use, and not needed: a socket that refuses it serves all the same.
            let _ = self.vigilance.tcp(&self.driver).apply(&stream);
            return Ok(Dialed::Stream(stream));
        };
        budget.within(connector()).await.map_err(|source| ConnectError {
            phase: ConnectPhase::Tcp,
            address: address.clone(),
            source,
        })
    }
}

#[cfg(feature = "tls")]
async fn shake_hands(tls: &TlsConnector, below: Dialed, host: &str) -> io::Result<Dialed> {
    Ok(match below {
        Dialed::Stream(stream) => Dialed::Stream(Stream::Tls(Box::new(tls.connect(stream, host).await?))),
        Dialed::Custom(custom) => Dialed::Custom(Box::new(tls.connect(custom, host).await?)),
    })
}

pub(super) fn connect_failed(phase: ConnectPhase, address: String, error: &io::Error) -> Status {
    connect_status(phase, address, ConnectFault::of(error), error.to_string())
}

pub(super) fn connect_status(
    phase: ConnectPhase,
    address: String,
    fault: ConnectFault,
    error: String,
) -> Status {
    Status::from_transport(
        Code::Unavailable,
        unsent(TransportEvent::Connect { phase, address, fault, error }),
    )
}

pub(super) fn refused(error: &ConnectError) -> Status {
    connect_failed(error.phase, error.address.to_string(), &error.source)
}
