//! Messages that inflate to far more than they are, sent to a server of ours in a process of its own, whose memory can be looked at:
//! attack E1 of the list, CVE-2026-42587 and its kin.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in shared code, too")]

use std::io::Write as _;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::{BytesCodec, Compression, CompressionEncoding, DecompressError};
use clearway::server::GenericService;
use clearway::transport::Server;
use clearway::{Code, Request, Response, Status, Streaming};
use flate2::{Compress, FlushCompress};

const ECHO: MethodPath = MethodPath::from_static("/t.S/Echo");
const JOIN: MethodPath = MethodPath::from_static("/t.S/Join");
const LIMIT: usize = 4 << 20;

/// Says of its messages that they are gzip, and sends them as they are.
struct Liar;

impl Compression for Liar {
    fn name(&self) -> &str {
        "gzip"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        // What is smaller than the message is sent; the last octet is there to be left out.
        out.extend_from_slice(message.split_last().unwrap().1);
        Ok(())
    }

    fn decompress(&self, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), DecompressError> {
        Err(DecompressError::corrupt("nothing comes back"))
    }
}

/// 1 MiB that stands for 1 GiB: after a full flush nothing refers to what came before, so that a piece can be repeated.
fn bomb() -> Vec<u8> {
    let mut piece = Vec::with_capacity(4096);
    let mut context = Compress::new(flate2::Compression::default(), false);
    context.compress_vec(&vec![0; 1 << 20], &mut piece, FlushCompress::Full).unwrap();
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &piece.repeat(1024), &[3, 0], &[0; 8]].concat()
}

/// 1 MiB of small members, each of which is within the limit.
fn members() -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(&vec![0; 1 << 20]).unwrap();
    writer.finish().unwrap().repeat(1000)
}

/// Peak resident memory of this process, in KiB; none where the system does not say.
fn peak_kib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn service() -> GenericService {
    GenericService::new("t.S")
        .accept_compressed(CompressionEncoding::Gzip)
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .client_streaming("Join", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut uploaded = request.into_inner();
            while uploaded.message().await?.is_some() {}
            Ok(Response::new(Bytes::new()))
        })
}

#[tokio::test]
async fn bombs_stop_at_the_limit_and_take_no_more_memory() {
    let channel = Server::builder().add_service(service()).in_process();
    let attacker = Grpc::new(channel.clone()).send_compressed(CompressionEncoding::custom(Liar));
    let neighbour = Grpc::new(channel);
    for message in [bomb(), members()] {
        let size = message.len();
        assert!((1 << 20..2 << 20).contains(&size), "{size}");
        let message = Bytes::from([&message[..], &[0]].concat());
        let before = peak_kib();
        for _ in 0..4 {
            let stream = tokio_stream::iter([message.clone(), message.clone()]);
            let statuses: [Status; 2] = [
                attacker.unary(Request::new(message.clone()), ECHO, BytesCodec).await.unwrap_err(),
                attacker.client_streaming(Request::new(stream), JOIN, BytesCodec).await.unwrap_err(),
            ];
            for status in statuses {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                let (size, limit) = (size.to_string(), LIMIT.to_string());
                for part in [&size, &limit, "inflates to more", "max_decoding_message_size"] {
                    assert!(status.message().contains(part), "{part:?} in {status}");
                }
            }
            let answer = neighbour.unary(Request::new(Bytes::from_static(b"well")), ECHO, BytesCodec).await;
            assert_eq!(answer.unwrap().into_inner(), "well");
        }
        let Some((before, after)) = before.zip(peak_kib()) else { continue };
        // One message as it came, in pieces and whole, and what came out of it.
        assert!(after - before < 32 * 1024, "{} KiB more", after - before);
    }
}
