//! `grpc-message`: every octet there and back, broken escapes, and one that is far too long.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::Server;
use clearway::{Code, Request, Response, Status};

use crate::raw::{framed, grpc};
use crate::raw_connection;

/// Fails with the text it is to fail with.
fn failing(text: &Arc<Mutex<String>>) -> GenericService {
    let text = Arc::clone(text);
    GenericService::new("t.S").unary("Fail", BytesCodec, move |_: Request<Bytes>| {
        let text = text.lock().unwrap().clone();
        async move { Err::<Response<Bytes>, _>(Status::aborted(text)) }
    })
}

#[tokio::test(start_paused = true)]
async fn every_character_comes_back() {
    let text = Arc::new(Mutex::new(String::new()));
    let client = Grpc::new(Server::builder().add_service(failing(&text)).in_process());
    let raw = raw_connection(Server::builder().add_service(failing(&text)));
    let mut texts: Vec<String> = (0u8..0x80).map(|octet| format!("a{}b", char::from(octet))).collect();
    texts.extend(
        ["100%", "%41", "%zz%4", "\r\n: x", "\u{e9}\u{20ac}\u{1f980}", " outer ", ""].map(str::to_owned),
    );
    for wanted in texts {
        text.lock().unwrap().clone_from(&wanted);
        let path = MethodPath::from_static("/t.S/Fail");
        let status = client.unary(Request::new(Bytes::new()), path, BytesCodec).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Aborted, wanted.as_str()));
        let answer = raw.exchange(grpc("/t.S/Fail"), &framed(b"")).await;
        let plain = answer.message().bytes().all(|octet| matches!(octet, 0x20..=0x7e));
        assert!(plain, "{wanted:?} went out as {:?}", answer.message());
    }
}

/// It does not fit what the client allows for trailers: the code comes, and says what became of the text.
#[tokio::test(start_paused = true)]
async fn a_mebibyte_of_text_costs_the_text_and_not_the_code() {
    let text = Arc::new(Mutex::new("x".repeat(1 << 20)));
    let client = Grpc::new(Server::builder().add_service(failing(&text)).in_process());
    let path = MethodPath::from_static("/t.S/Fail");
    // The client's SETTINGS may still be on their way with the first call.
    for _ in 0..2 {
        let status = client.unary(Request::new(Bytes::new()), path.clone(), BytesCodec).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted, "{:.200}", status.message());
        assert!(status.message().len() < 200, "{:.200}", status.message());
    }
}
