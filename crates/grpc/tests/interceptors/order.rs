//! Several interceptors stack: the first added is the outermost, a server's are outside of its services', a channel's inside of its
//! clients'.

use clearway::client::Grpc;
use clearway::intercept::InterceptedService;
use clearway::transport::{Endpoint, Server, pair};
use std::io;
use std::sync::Mutex;

use crate::service::{service, text, unary};
use crate::story::Story;

#[tokio::test(start_paused = true)]
async fn the_first_added_sees_the_request_first_and_the_response_last() {
    let story = Story::default();
    let inner = InterceptedService::new(
        InterceptedService::new(service(), story.teller("service 2")),
        story.teller("service 1"),
    );
    let router = Server::builder()
        .interceptor(story.teller("server 1"))
        .interceptor(story.teller("server 2"))
        .add_service(inner);
    let (ours, theirs) = pair();
    tokio::spawn(router.serve_connection(theirs));
    let ours = Mutex::new(Some(ours));
    let channel = Endpoint::from_static("http://in-memory")
        .connector(move || {
            let stream = ours.lock().unwrap().take();
            core::future::ready(stream.ok_or_else(|| io::Error::other("there is one connection only")))
        })
        .interceptor(story.teller("channel 1"))
        .interceptor(story.teller("channel 2"))
        .connect_lazy();
    let client = Grpc::new(InterceptedService::new(
        InterceptedService::new(channel, story.teller("client 2")),
        story.teller("client 1"),
    ));
    assert_eq!(unary(&client, "Echo", text("hi")).await.unwrap().into_inner(), "hi");

    let told = story.take();
    let words = |what: &str| -> Vec<String> {
        told.iter().filter(|line| line.contains(what)).map(|line| line[..9].trim().to_owned()).collect()
    };
    let outwards =
        ["client 1", "client 2", "channel 1", "channel 2", "server 1", "server 2", "service 1", "service 2"];
    assert_eq!(words("begin"), outwards);
    let back: Vec<_> = outwards[4..].iter().rev().chain(outwards[..4].iter().rev()).copied().collect();
    assert_eq!(words("head"), back);
    assert_eq!(words("end OK"), back);
}
