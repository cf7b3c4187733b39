//! Credit: a reader that stops stops its own stream, and a large message gets what it needs.

use clearway::Code;
use clearway_http2::ErrorCode;

use crate::peer::{Frame, OK_HEAD, call, connected, framed, listen};

/// Octets of credit given on a stream, until nothing comes any more.
async fn credit(peer: &mut crate::peer::Peer, id: u32) -> u32 {
    let mut sum = 0;
    let patience = std::time::Duration::from_millis(10);
    while let Ok(frame) = tokio::time::timeout(patience, peer.next_with_credit()).await {
        match frame {
            Frame::Credit { id: on, octets } if on == id => sum += octets,
            Frame::Credit { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    sum
}

#[tokio::test(start_paused = true)]
async fn credit_comes_back_when_messages_are_read() {
    let (grpc, mut peer) = connected().await;
    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let message = framed(&[7; 1000]);
    for _ in 0..60 {
        peer.data(id, &message, false).await;
    }
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    assert_eq!(credit(&mut peer, id).await, 0, "nobody has read");
    for _ in 0..40 {
        assert_eq!(stream.message().await.unwrap().unwrap().len(), 1000);
    }
    let given = credit(&mut peer, id).await;
    assert!((16_384..=40 * 1005).contains(&given), "{given}");
    peer.reset(id, ErrorCode::CANCEL).await;
    for _ in 0..20 {
        assert!(stream.message().await.unwrap().is_some(), "what came before the reset is kept");
    }
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_window_comes_through_to_a_reader_that_waits() {
    let (grpc, mut peer) = connected().await;
    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    let wire = framed(&vec![7; 1_000_000]);
    peer.data(id, &wire[..16_000], false).await;
    assert_eq!(credit(&mut peer, id).await, 0, "nobody waits for it");
    let reading = tokio::spawn(async move { stream.message().await.map(|m| (m, stream)) });
    let given = credit(&mut peer, id).await as usize;
    assert!(given + 65_536 >= wire.len(), "the whole rest is granted: {given}");
    for piece in wire[16_000..].chunks(16_000) {
        peer.data(id, piece, false).await;
    }
    let (message, _stream) = reading.await.unwrap().unwrap();
    assert_eq!(message.unwrap().len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_already_gets_a_large_message_as_well() {
    let (grpc, mut peer) = connected().await;
    let opened = listen(&grpc);
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let mut stream = opened.await.unwrap().unwrap().into_inner();
    let reading = tokio::spawn(async move { stream.message().await.map(|m| (m, stream)) });
    assert_eq!(credit(&mut peer, id).await, 0, "nothing has begun");
    let wire = framed(&vec![7; 500_000]);
    peer.data(id, &wire[..16_000], false).await;
    let given = credit(&mut peer, id).await as usize;
    assert!(given + 65_536 >= wire.len(), "{given}");
    for piece in wire[16_000..].chunks(16_000) {
        peer.data(id, piece, false).await;
    }
    assert_eq!(reading.await.unwrap().unwrap().0.unwrap().len(), 500_000);
}

#[tokio::test(start_paused = true)]
async fn a_large_unary_response_needs_no_reader() {
    let (grpc, mut peer) = connected().await;
    let answer = call(&grpc, b"");
    let (id, ..) = peer.request().await;
    peer.headers(id, &OK_HEAD, false).await;
    let wire = framed(&vec![7; 3_000_000]);
    peer.data(id, &wire[..16_384], false).await;
    let first = credit(&mut peer, id).await as usize;
    assert!(first > 2_900_000, "the rest is asked for as a whole: {first}");
    let mut window = 65_536 - 16_384 + first;
    let mut rest = &wire[16_384..];
    while !rest.is_empty() {
        if window == 0 {
            let given = credit(&mut peer, id).await as usize;
            assert!(given > 0, "{} octets are left and there is no credit", rest.len());
            window += given;
        }
        let take = rest.len().min(window).min(16_384);
        peer.data(id, &rest[..take], false).await;
        rest = &rest[take..];
        window -= take;
    }
    peer.trailers(id, &[("grpc-status", "0")]).await;
    assert_eq!(answer.await.unwrap().unwrap().into_inner().len(), 3_000_000);
}
