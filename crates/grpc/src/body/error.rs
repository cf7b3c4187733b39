//! What an error of middleware means for a call.

use std::error::Error as StdError;

use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;

use crate::Status;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// The status for an error of middleware: the first of its chain of sources that has one.
///
/// A [`Status`] is itself; tower's and tokio's timeouts are DEADLINE_EXCEEDED (tonic says CANCELLED for its own, and UNKNOWN for
/// these), tower's load shedding is RESOURCE_EXHAUSTED as in tonic, errors of input and output are mapped by kind. Everything else is UNKNOWN.
pub(crate) fn status_of(error: impl Into<BoxError>) -> Status {
    let error = match error.into().downcast::<Status>() {
        Ok(status) => return *status,
        Err(error) => error,
    };
    let mut source: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(cause) = source {
        if let Some(status) = cause.downcast_ref::<Status>() {
            return status.clone();
        }
        if cause.is::<Elapsed>() || cause.is::<tokio::time::error::Elapsed>() {
            return Status::deadline_exceeded(format!(
                "a timeout of this program's middleware passed: {cause}"
            ));
        }
        if cause.is::<Overloaded>() {
            return Status::resource_exhausted(format!("turned away by middleware: {cause}"));
        }
        if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return std::io::Error::new(error.kind(), error.to_string()).into();
        }
        source = cause.source();
    }
    Status::from_error(error)
}
