//! RUSTSEC-2020-0002, RUSTSEC-2024-0437: messages in messages, as deep as the sender likes.

use clearway::codec::ProstCodec;
use clearway::server::GenericService;
use clearway::transport::Server;
use clearway::{Code, Request, Response};

use crate::raw::{framed, grpc};
use crate::raw_connection;

#[derive(Clone, PartialEq, prost::Message)]
struct Tree {
    #[prost(message, optional, boxed, tag = "1")]
    child: Option<Box<Tree>>,
}

/// A tree of this depth, encoded.
fn tree(depth: usize) -> Vec<u8> {
    // From the inside out, and turned round in the end.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth {
        let mut head = vec![0x0a];
        let mut rest = reversed.len();
        while rest >= 128 {
            head.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        head.push(u8::try_from(rest).unwrap());
        reversed.extend(head.iter().rev());
    }
    reversed.reverse();
    reversed
}

#[tokio::test(start_paused = true)]
async fn a_hundred_levels_are_the_limit() {
    let service = GenericService::new("t.S").unary(
        "Tree",
        ProstCodec::<Tree, Tree>::default(),
        |request: Request<Tree>| async move { Ok(Response::new(request.into_inner())) },
    );
    let connection = raw_connection(Server::builder().add_service(service));
    let shallow = tree(90);
    let answer = connection.exchange(grpc("/t.S/Tree"), &framed(&shallow)).await;
    assert_eq!((answer.code(), answer.body), (Code::Ok, framed(&shallow)));
    // By length, by groups of unknown fields that end, and by groups that do not.
    let groups = [vec![0x13; 100_000], vec![0x14; 100_000]].concat();
    for deep in [tree(110), tree(100_000), groups, vec![0x13; 200_000]] {
        let answer = connection.exchange(grpc("/t.S/Tree"), &framed(&deep)).await;
        assert_eq!(answer.code(), Code::Internal, "{} octets: {:?}", deep.len(), answer.message());
    }
}
