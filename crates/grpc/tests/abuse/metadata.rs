//! Metadata that is too large, too many, not base64, reserved or not ASCII: the call's affair, never the connection's.

use clearway::Code;
use clearway_http2::ErrorCode;

use crate::raw::{Fields, RawConnection, framed, grpc};
use crate::{raw_connection, server};

async fn code(connection: &RawConnection, extra: Fields) -> (u16, Code, String) {
    let head = grpc("/t.S/Echo").into_iter().chain(extra).collect();
    let answer = connection.exchange(head, &framed(b"m")).await;
    // An answer before the end of the request says so with NO_ERROR.
    assert!(!answer.lost && answer.reset.is_none_or(|code| code == ErrorCode::NO_ERROR), "{answer:?}");
    (answer.http, answer.code(), answer.message().to_owned())
}

fn field(name: &str, value: &str) -> Fields {
    vec![(name.to_owned(), value.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn sixteen_kibibytes_are_the_limit_to_the_octet() {
    let connection = raw_connection(server());
    let own: usize = grpc("/t.S/Echo").iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let room = 16 * 1024 - own - 32 - "x".len();
    // The first call goes out before the server's SETTINGS have come, so our engine does not hold it back.
    let (http, status, text) = code(&connection, field("x", &"v".repeat(room + 1))).await;
    assert_eq!((http, status), (431, Code::ResourceExhausted));
    assert!(text.contains("16385 bytes") && text.contains("header_list_octets"), "{text}");
    assert_eq!(code(&connection, field("x", &"v".repeat(room))).await.1, Code::Ok, "the next call is served");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_keys_are_too_many() {
    for keys in [130, 10_000] {
        let connection = raw_connection(server());
        // Names of three letters, so that the block stays below 64 KiB, where it is the connection's affair.
        let letter = |n: u32| char::from(b'a' + u8::try_from(n % 26).unwrap());
        let name = |n: u32| [letter(n), letter(n / 26), letter(n / 676)].iter().collect();
        let keys = (0..keys).map(|n| (name(n), String::new())).collect();
        let (http, status, text) = code(&connection, keys).await;
        assert_eq!((http, status), (431, Code::ResourceExhausted));
        assert!(text.contains("header_fields"), "{text}");
        assert_eq!(code(&connection, Fields::new()).await.1, Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_base64_is_no_binary_value() {
    let connection = raw_connection(server());
    for bad in ["!", "a", "AAAA=A", "YQ==,!", "\u{e9}"] {
        let (http, status, _) = code(&connection, field("x-bin", bad)).await;
        assert_eq!((http, status), (400, Code::Internal), "{bad:?}");
    }
    for good in ["", "YQ==", "YQ", "YQ==,YQ,Yg", ","] {
        assert_eq!(code(&connection, field("x-bin", good)).await.1, Code::Ok, "{good:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reserved_names_and_odd_octets_do_not_hurt_the_call() {
    let connection = raw_connection(server());
    for (name, value) in [
        ("grpc-unheard-of", "1"),
        ("grpc-status", "13"),
        ("grpc-message", "%00%"),
        ("grpc-tags-bin", "AAAA"),
        ("x", "\u{e9}\u{7f}\u{1}"),
        ("UPPER", "x"),
    ] {
        if name == "UPPER" {
            let head = grpc("/t.S/Echo").into_iter().chain(field(name, value)).collect();
            let answer = connection.exchange(head, &framed(b"m")).await;
            assert!(answer.reset.is_some(), "upper case is malformed: {answer:?}");
        } else {
            assert_eq!(code(&connection, field(name, value)).await.1, Code::Ok, "{name}");
        }
    }
}
