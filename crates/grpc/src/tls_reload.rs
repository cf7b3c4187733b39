//! Where events of reloaded certificates go when the user did not say: to `tracing`.

use clearway_transport::tls::{Reload, ReloadOutcome};

/// A reload whose events are lines for `tracing`.
pub(crate) fn told_to_tracing(reload: Reload) -> Reload {
    reload.on_event(|event| match event.outcome {
        ReloadOutcome::Reloaded { .. } => tracing::info!("{event}"),
        _ => tracing::warn!("{event}"),
    })
}
