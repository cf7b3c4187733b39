//! How an endpoint's connection is made: TCP or what the program brings, then TLS if it is spoken; all of it within a budget.

#[cfg(feature = "tls")]
use std::io;

use clearway_transport::{Address, ConnectError, ConnectPhase};
#[cfg(feature = "tls")]
use clearway_transport::{Stream, tls::TlsConnector};

use super::backoff::Budget;
use super::endpoint::{Dialed, Endpoint};

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
