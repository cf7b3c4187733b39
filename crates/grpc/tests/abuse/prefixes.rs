//! Length prefixes that lie, flags that do not exist, and messages of nothing.

use clearway::Code;

use crate::raw::{framed, grpc, with};
use crate::{raw_connection, server};

#[tokio::test(start_paused = true)]
async fn a_prefix_is_not_believed() {
    let connection = raw_connection(server());
    for (body, code, text) in [
        // 4 GiB and 4 MiB + 1 announced, 5 octets sent: the answer comes at the prefix.
        (&[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5][..], Code::ResourceExhausted, "4294967295"),
        (&[0, 0, 0x40, 0, 1, 1, 2, 3, 4, 5], Code::ResourceExhausted, "4194305"),
        (&[2, 0, 0, 0, 0], Code::Internal, "flag"),
        (&[0xff, 0, 0, 0, 0], Code::Internal, "flag"),
        (&[1, 0, 0, 0, 1, 0], Code::Internal, "compress"),
        (&[0, 0, 0, 1, 0, 1], Code::Internal, "middle of a message"),
        (&[0, 0, 0], Code::Internal, "middle of a message"),
        (&[], Code::Unimplemented, "no message"),
    ] {
        for path in ["/t.S/Echo", "/t.S/Echoes"] {
            if path == "/t.S/Echoes" && body.is_empty() {
                continue;
            }
            let answer = connection.exchange(grpc(path), body).await;
            assert_eq!(answer.code(), code, "{path}, {body:?}: {answer:?}");
            assert!(answer.message().contains(text), "{path}, {body:?}: {answer:?}");
        }
    }
    let answer = connection.exchange(grpc("/t.S/Echo"), &framed(b"still here")).await;
    assert_eq!(answer.code(), Code::Ok);
}

/// Said in the head, and unknown: those we know are listed, whatever the message.
#[tokio::test(start_paused = true)]
async fn an_encoding_nobody_knows_is_unimplemented() {
    let connection = raw_connection(server());
    let head = with(grpc("/t.S/Echo"), "grpc-encoding", "x-bomb");
    let answer = connection.exchange(head, &[1, 0, 0, 0, 1, 0]).await;
    assert_eq!(answer.code(), Code::Unimplemented, "{answer:?}");
}

/// Each is a message and comes back; a unary method takes one.
#[tokio::test(start_paused = true)]
async fn messages_of_nothing_are_messages() {
    let connection = raw_connection(server());
    let many = framed(b"").repeat(1 << 16);
    let answer = connection.exchange(grpc("/t.S/Echoes"), &many).await;
    assert_eq!((answer.code(), answer.body.len()), (Code::Ok, many.len()));
    let answer = connection.exchange(grpc("/t.S/Echo"), &many).await;
    assert_eq!(answer.code(), Code::Unimplemented, "{answer:?}");
}
