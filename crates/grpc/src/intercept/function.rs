//! The form of interceptor that older code has: a function that sees the request's metadata, and passes it on or refuses the call.

use core::fmt;
use std::sync::{Mutex, PoisonError, TryLockError};

use super::Call;
use crate::client::MethodPath;
use crate::{Request, Status};

/// Looks at the metadata of a request before it is sent (client), or before its handler runs (server). It is tonic's trait, and every
/// function of that form is one.
///
/// It is for what needs neither waiting nor the response; [`Intercept`](super::Intercept) does both. It is called with `&mut self` for one call at a
/// time; calls that begin at the same moment get clones of the value that was put in. [`GrpcMethod`] among the request's extensions says what the call is for.
///
/// ```
/// use clearway::client::{Grpc, MethodPath};
/// use clearway::codec::BytesCodec;
/// use clearway::intercept::InterceptedService;
/// use clearway::server::GenericService;
/// use clearway::transport::Server;
/// use clearway::{Request, Response, Status};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Status> {
/// let echo = GenericService::new("demo.Echo").unary("Echo", BytesCodec, |request: Request<bytes::Bytes>| async move {
///     Ok(Response::new(request.into_inner()))
/// });
/// let guarded = InterceptedService::new(echo, |request: Request<()>| match request.metadata().get("authorization") {
///     Some(token) if token == "Bearer t" => Ok(request),
///     _ => Err(Status::unauthenticated("no token")),
/// });
/// let channel = Server::builder().add_service(guarded).in_process();
/// let with_token = InterceptedService::new(channel.clone(), |mut request: Request<()>| {
///     request.metadata_mut().insert("authorization", "Bearer t".parse().map_err(|_| Status::internal("a bad token"))?);
///     Ok(request)
/// });
///
/// let path = MethodPath::from_static("/demo.Echo/Echo");
/// let message = || Request::new(bytes::Bytes::from_static(b"hi"));
/// let refused = Grpc::new(channel).unary(message(), path.clone(), BytesCodec).await.unwrap_err();
/// assert_eq!(refused.code(), clearway::Code::Unauthenticated);
/// assert_eq!(Grpc::new(with_token).unary(message(), path, BytesCodec).await?.into_inner(), "hi");
/// # Ok(()) }
/// ```
pub trait Interceptor {
    /// Passes a request on, changed or not.
    ///
    /// # Errors
    /// The call ends with this status.
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status>;
}

impl<F> Interceptor for F
where
    F: FnMut(Request<()>) -> Result<Request<()>, Status>,
{
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self(request)
    }
}

/// Among the extensions of a request that an [`Interceptor`] sees: which method it is for.
#[derive(Clone)]
pub struct GrpcMethod(MethodPath);

impl GrpcMethod {
    /// `package.Service`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.0.split().0
    }

    /// `Method`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.0.split().1
    }
}

impl fmt::Debug for GrpcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A function that keeps what it changes of itself from call to call, and holds up none that begins at the same moment.
pub(super) struct Function<F> {
    first: Mutex<F>,
    model: Mutex<F>,
}

impl<F: Interceptor + Clone> Function<F> {
    pub(super) fn new(function: F) -> Self {
        Self { first: Mutex::new(function.clone()), model: Mutex::new(function) }
    }

    pub(super) fn run(&self, call: &mut Call) -> Result<(), Status> {
        let method = GrpcMethod(call.method_path().clone());
        let mut request = core::mem::replace(&mut call.request, Request::new(()));
        request.extensions_mut().insert(method);
        let kept = request.kept();
        let passed = match self.first.try_lock() {
            Ok(mut function) => function.call(request),
            // What it panicked over was one call.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().call(request),
            Err(TryLockError::WouldBlock) => {
                let mut clone = self.model.lock().unwrap_or_else(PoisonError::into_inner).clone();
                clone.call(request)
            }
        }?;
        call.request = passed.keeping(kept);
        Ok(())
    }
}
