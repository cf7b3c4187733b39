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

/// Says of its messages that they are something, and sends them as they are.
struct Liar(CompressionEncoding);

impl Compression for Liar {
    fn name(&self) -> &str {
        self.0.name()
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

/// What is sent as what.
fn bombs() -> Vec<(CompressionEncoding, Vec<u8>, &'static str)> {
    let (gzip, deflate, zstd) =
        (CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd);
    vec![
        (gzip, bomb(), "inflates to more"),
        (gzip, members(), "inflates to more"),
        (deflate, [&[0x78, 0x9c][..], &zeros(), &[3, 0], &[0; 4]].concat(), "inflates to more"),
        (deflate, [&zeros()[..], &[3, 0]].concat(), "inflates to more"),
        (zstd, zstd_blocks(7 << 3, 8_192), "inflates to more"),
        (zstd, zstd_frames(), "inflates to more"),
        // A window of 2 GiB and of 16 MiB, and nothing much in it.
        (zstd, zstd_blocks(21 << 3, 4), "window is larger than 8388608"),
        (zstd, zstd_blocks(14 << 3, 4), "window is larger than 8388608"),
    ]
}

/// One frame of blocks that each repeat one octet 128 KiB long, with this window (RFC 8878 §3.1.1).
fn zstd_blocks(window: u8, blocks: usize) -> Vec<u8> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let block = |last: u32| ((128 << 10) << 3) | (1 << 1) | last;
    let mut wire = [&MAGIC[..], &[0, window]].concat();
    for left in (0..blocks).rev() {
        wire.extend_from_slice(&block(u32::from(left == 0)).to_le_bytes()[..3]);
        wire.push(7);
    }
    wire
}

/// Small frames, each of which is within the limit.
fn zstd_frames() -> Vec<u8> {
    zstd_blocks(7 << 3, 8).repeat(1_000)
}

/// 1 GiB of zeros in 1 MiB of DEFLATE, without its end: after a full flush nothing refers to what came before, so that a piece can be repeated.
fn zeros() -> Vec<u8> {
    let mut piece = Vec::with_capacity(4096);
    let mut context = Compress::new(flate2::Compression::default(), false);
    context.compress_vec(&vec![0; 1 << 20], &mut piece, FlushCompress::Full).unwrap();
    piece.repeat(1024)
}

/// The same as a member of gzip.
fn bomb() -> Vec<u8> {
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &zeros(), &[3, 0], &[0; 8]].concat()
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
        .accept_compressed(CompressionEncoding::Deflate)
        .accept_compressed(CompressionEncoding::Zstd)
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
    let neighbour = Grpc::new(channel.clone());
    for (encoding, message, why) in bombs() {
        let lie = CompressionEncoding::custom(Liar(encoding)).with_threshold(0);
        let attacker = Grpc::new(channel.clone()).send_compressed(lie);
        let size = message.len();
        assert!(size < 5 << 20, "{size}");
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
                let limited = [why, &size, &limit, "max_decoding_message_size"];
                for part in if why.contains("window") { &limited[..1] } else { &limited[..] } {
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
