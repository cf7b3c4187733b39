//! Messages on stdin and stdout: four octets of length, most significant first, and the message.

use std::io;

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Requests of the suite are some kibibytes; one with a large message has that much more.
const LONGEST: usize = 64 * 1024 * 1024;

/// Reads one message; none at the end of the input.
///
/// # Errors
/// The input cannot be read, ends inside a message, or is none of these messages.
pub async fn read<M: Message + Default>(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if input.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} octets")));
    }
    let mut octets = vec![0; length];
    input.read_exact(&mut octets).await?;
    Ok(Some(M::decode(&*octets)?))
}

/// Writes one message, to where it can be read.
///
/// # Errors
/// The output cannot be written.
pub async fn write(output: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> io::Result<()> {
    let octets = message.encode_to_vec();
    let length = u32::try_from(octets.len()).map_err(io::Error::other)?;
    output.write_all(&[&length.to_be_bytes()[..], &octets].concat()).await?;
    output.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::proto::ServerCompatResponse;

    #[tokio::test]
    async fn messages_come_back_and_a_cut_one_is_an_error() {
        let message = ServerCompatResponse { host: "127.0.0.1".into(), port: 7, ..Default::default() };
        let mut written = Vec::new();
        write(&mut written, &message).await.expect("a vector takes all");
        assert_eq!(written.get(..4), Some(&[0, 0, 0, 13][..]));
        let mut twice = &[&written[..], &written].concat()[..];
        for _ in 0..2 {
            assert_eq!(read(&mut twice).await.expect("whole"), Some(message.clone()));
        }
        assert_eq!(read::<ServerCompatResponse>(&mut twice).await.expect("the end"), None);
        let mut cut = written.get(..9).unwrap_or_default();
        assert!(read::<ServerCompatResponse>(&mut cut).await.is_err());
        assert!(read::<ServerCompatResponse>(&mut &[255, 255, 255, 255][..]).await.is_err());
    }
}
