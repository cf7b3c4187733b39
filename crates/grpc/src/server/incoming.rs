//! Serving connections that come from a stream of the caller's: a listener made elsewhere, a socket inherited, pairs in a test.
//!
//! Invariant: the stream is dropped before calls are waited for, so that the port is free for a successor meanwhile.

use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use clearway_transport::Stream;
use futures_core::Stream as Incoming;

use super::serve::{Connections, Router};
use crate::Error;

/// What is waited after an error of the stream: twice as long each time, until a connection comes.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Router {
    /// Serves the connections that `incoming` brings, such as tokio-stream's `TcpListenerStream`; see
    /// [`Router::serve_with_incoming_shutdown`].
    ///
    /// # Errors
    /// None today.
    pub async fn serve_with_incoming<I, IO, E>(self, incoming: I) -> Result<(), Error>
    where
        I: Incoming<Item = Result<IO, E>>,
        IO: Into<Stream>,
    {
        self.serve_with_incoming_shutdown(incoming, pending()).await
    }

    /// Serves the connections that `incoming` brings until `shutdown` is ready; then as
    /// [`Router::serve_with_shutdown`](Router::serve_with_shutdown).
    ///
    /// A connection is a [`Stream`] or what becomes one: tokio's `TcpStream` (TCP_NODELAY is set), `UnixStream` or
    /// `DuplexStream`. An error of `incoming` is a connection that did not come about: after a pause, from 5 milliseconds to a
    /// second, the next one is asked for. When `incoming` ends, this returns after the last connection has.
    ///
    /// # Errors
    /// None today.
    pub async fn serve_with_incoming_shutdown<I, IO, E>(
        self,
        incoming: I,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        I: Incoming<Item = Result<IO, E>>,
        IO: Into<Stream>,
    {
        let mut connections = Connections::new(self);
        {
            let mut serving = pin!(serve_all(&mut connections, incoming));
            let mut shutdown = pin!(shutdown);
            poll_fn(|cx| match serving.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => shutdown.as_mut().poll(cx),
            })
            .await;
        }
        connections.finish().await;
        Ok(())
    }
}

async fn serve_all<I, IO, E>(connections: &mut Connections, incoming: I)
where
    I: Incoming<Item = Result<IO, E>>,
    IO: Into<Stream>,
{
    let mut pause = FIRST_PAUSE;
    {
        let mut incoming = pin!(incoming);
        while let Some(next) = poll_fn(|cx| incoming.as_mut().poll_next(cx)).await {
            match next.map(Into::into) {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    if let Stream::Tcp(tcp) = &stream {
                        // Of use, and not needed: a socket that refuses it is served all the same.
                        let _ = tcp.set_nodelay(true);
                    }
                    connections.spawn(stream);
                }
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
    connections.join().await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clearway_transport::pair;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::client::{Grpc, MethodPath};
    use crate::codec::BytesCodec;
    use crate::server::GenericService;
    use crate::transport::{Channel, Server};
    use crate::{Request, Response, Status};

    fn router() -> Router {
        let peer = |request: Request<Bytes>| async move {
            Ok(Response::new(Bytes::from(format!("{:?}", request.peer().is_some()))))
        };
        Server::builder().add_service(GenericService::new("demo.Peer").unary("Known", BytesCodec, peer))
    }

    async fn ask(channel: Channel) -> Result<Bytes, Status> {
        let path = MethodPath::from_static("/demo.Peer/Known");
        let reply = Grpc::new(channel).unary(Request::new(Bytes::new()), path, BytesCodec).await?;
        Ok(reply.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_connection_is_passed_over_and_the_end_waits_for_the_last() {
        let (first, ours) = pair();
        let (second, theirs) = tokio::io::duplex(64 * 1024);
        let incoming = [Ok(first), Err("no descriptors left"), Ok(Stream::from(second))];
        let serving = tokio::spawn(router().serve_with_incoming(tokio_stream::iter(incoming)));
        for io in [ours, theirs.into()] {
            assert_eq!(ask(Channel::over(io)).await.unwrap(), "true");
        }
        // Both channels are gone, so both connections are.
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shutdown_drops_the_stream_and_ends_connections_that_have_no_calls() {
        let (theirs, ours) = pair();
        let (dropped, is_dropped) = tokio::sync::oneshot::channel::<()>();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let incoming = tokio_stream::once(Ok::<_, Status>(theirs))
            .chain(tokio_stream::pending())
            .map(move |next| (&dropped, next).1);
        let serving = tokio::spawn(router().serve_with_incoming_shutdown(incoming, async {
            stopped.await.ok();
        }));
        let channel = Channel::over(ours);
        assert_eq!(ask(channel.clone()).await.unwrap(), "true");
        stop.send(()).unwrap();
        is_dropped.await.unwrap_err();
        serving.await.unwrap().unwrap();
        drop(channel);
    }
}
