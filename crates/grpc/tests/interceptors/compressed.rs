//! With compression there are two sizes of a message, and both are told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::{BytesCodec, CompressionEncoding};
use clearway::intercept::{Call, CallEnd, Intercept, InterceptedService, Traffic, Watch};
use clearway::transport::{Channel, Server};
use clearway::{Request, Status};

use crate::service::{collect, path, service};

/// Keeps the sums of calls: sent and received.
#[derive(Clone, Default)]
struct Sums(Arc<Mutex<Vec<(Traffic, Traffic)>>>);

impl Intercept for Sums {
    type Watch = Self;

    async fn begin(&self, _: &mut Call) -> Result<Self, Status> {
        Ok(self.clone())
    }
}

impl Watch for Sums {
    fn end(&self, end: &mut CallEnd) {
        self.0.lock().unwrap().push((end.sent(), end.received()));
    }
}

fn client(ours: &Sums, theirs: &Sums) -> Grpc<InterceptedService<Channel, Sums>> {
    let gzip = CompressionEncoding::Gzip;
    let router = Server::builder()
        .accept_compressed(gzip)
        .send_compressed(gzip)
        .interceptor(theirs.clone())
        .add_service(service());
    Grpc::new(InterceptedService::new(router.in_process(), ours.clone()))
        .send_compressed(gzip)
        .accept_compressed(gzip)
}

#[tokio::test]
async fn sizes_are_told_as_they_are_and_as_they_travel() {
    let (ours, theirs) = (Sums::default(), Sums::default());
    let client = client(&ours, &theirs);
    let text = || Bytes::from("so many words ".repeat(1000));
    let octets = text().len() as u64;
    client.unary(Request::new(text()), path("Echo"), BytesCodec).await.unwrap();
    client
        .client_streaming(Request::new(tokio_stream::iter([text()])), path("Join"), BytesCodec)
        .await
        .unwrap();
    let chat = client.bidi_streaming(Request::new(tokio_stream::iter([text()])), path("Chat"), BytesCodec);
    assert_eq!(collect(chat.await.unwrap().into_inner()).await.unwrap(), [text()]);
    let (ours, theirs) = (ours.0.lock().unwrap().clone(), theirs.0.lock().unwrap().clone());
    assert_eq!((ours.len(), theirs.len()), (3, 3));
    for ((sent, received), (sent_back, received_there)) in ours.into_iter().zip(theirs) {
        assert_eq!((sent, received), (received_there, sent_back), "both sides count the same");
        for traffic in [sent, received] {
            assert_eq!((traffic.messages, traffic.octets), (1, octets));
            assert!((20..octets / 10).contains(&traffic.wire_octets), "{traffic:?}");
        }
    }
}
