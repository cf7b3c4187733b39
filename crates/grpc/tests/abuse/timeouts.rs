//! `grpc-timeout` in every shape: eight digits at most, and a unit.

use clearway::Code;

use crate::raw::{framed, grpc, with};
use crate::{raw_connection, server};

#[tokio::test(start_paused = true)]
async fn a_timeout_is_digits_and_a_unit() {
    let connection = raw_connection(server());
    let bad = [
        "100000000n",
        "-1S",
        "+1S",
        "1",
        "S",
        "",
        "1.5S",
        "1s",
        "1h",
        "1 S",
        "0x1S",
        "1SS",
        "99999999999999999999H",
        "\u{661}S",
    ];
    for timeout in bad {
        let answer =
            connection.exchange(with(grpc("/t.S/Echo"), "grpc-timeout", timeout), &framed(b"m")).await;
        assert_eq!((answer.http, answer.code()), (400, Code::Internal), "{timeout:?}");
    }
    for timeout in ["99999999H", "99999999M", "1H", "00000001S", "8u"] {
        let answer =
            connection.exchange(with(grpc("/t.S/Echo"), "grpc-timeout", timeout), &framed(b"m")).await;
        assert_eq!(answer.code(), Code::Ok, "{timeout:?}");
    }
    for timeout in ["0n", "0H", "00000000S"] {
        let answer =
            connection.exchange(with(grpc("/t.S/Echo"), "grpc-timeout", timeout), &framed(b"m")).await;
        assert_eq!(answer.code(), Code::DeadlineExceeded, "{timeout:?}");
    }
}
