//! CVE-2022-27664: a server that goes away ends, whatever its peers do meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Address, Listener, Server};
use clearway::{Request, Response, Streaming};
use tokio::sync::oneshot;

use crate::wire::{Wire, call, frame};

/// A fatal frame while a call holds up the drain; and peers that say nothing at all, or not enough.
#[tokio::test]
async fn a_drain_ends_although_peers_break_it() {
    let service = GenericService::new("t.S").client_streaming(
        "Hold",
        BytesCodec,
        |request: Request<Streaming<Bytes>>| async move {
            let _unread = request;
            core::future::pending::<()>().await;
            Ok(Response::new(Bytes::new()))
        },
    );
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Server::builder().add_service(service);
    let serving = tokio::spawn(router.serve_with_listener(listener, async move {
        let _ = stopped.await;
    }));
    let mut holding = Wire::connect(address).await;
    holding.send(&call(1, "/t.S/Hold", false)).await;
    let mut rude = Wire::connect(address).await;
    rude.send(&call(1, "/t.S/Hold", false)).await;
    for wire in [&mut holding, &mut rude] {
        wire.send(&frame(6, 0, 0, b"here????")).await;
        while wire.next().await.expect("the connection goes on").0 != 6 {}
    }
    stop.send(()).unwrap();
    // The first step of the drain has come; a fatal frame instead of an answer.
    while rude.next().await.expect("GOAWAY comes first").0 != 7 {}
    rude.send(&frame(0, 0, 0, b"fatal")).await;
    let (code, text) = rude.goaway().await;
    assert_eq!(code, 1, "{text}");
    // The other gives up its call, and that is the end of it.
    holding.send(&frame(3, 0, 1, &[0, 0, 0, 8])).await;
    holding.send(&frame(6, 1, 0, b"clearway")).await;
    assert!(tokio::time::timeout(Duration::from_secs(5), serving).await.is_ok(), "the server does not end");
}
