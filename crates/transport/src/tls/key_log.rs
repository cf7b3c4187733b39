//! Writing down the secrets of connections, so that Wireshark can decrypt what it captured.
//!
//! Only for who asks for it in the program: whoever has the file reads everything. The format is NSS's: a label, the client's
//! random and the secret, in hexadecimal, a line each.

use core::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::KeyLog;

use super::TlsConfigError;

/// Where secrets go.
#[derive(Clone, Debug, Default)]
pub(super) enum KeyLogTo {
    /// Nowhere.
    #[default]
    Nowhere,
    /// To the file that the environment variable SSLKEYLOGFILE names, if it names one.
    Environment,
    /// To this file.
    File(PathBuf),
}

impl KeyLogTo {
    /// What rustls tells secrets to; none if there are to be told to nobody.
    pub(super) fn open(&self) -> Result<Option<Arc<dyn KeyLog>>, TlsConfigError> {
        let path = match self {
            Self::Nowhere => return Ok(None),
            Self::Environment => match std::env::var_os("SSLKEYLOGFILE") {
                None => return Ok(None),
                Some(path) if path.is_empty() => return Ok(None),
                Some(path) => PathBuf::from(path),
            },
            Self::File(path) => path.clone(),
        };
        Ok(Some(Arc::new(Lines::open(&path)?)))
    }
}

/// A file of secrets, which is added to: several processes may share it.
struct Lines(Mutex<File>);

impl Lines {
    fn open(path: &Path) -> Result<Self, TlsConfigError> {
        // Its owner's alone, if it is new.
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = opened.map_err(|error| {
            TlsConfigError::new(format!("cannot write the key log {}: {error}", path.display()))
        })?;
        Ok(Self(Mutex::new(file)))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3);
        let _ = write!(line, "{label} {} {}", Hex(client_random), Hex(secret));
        line.push('\n');
        // In one write, so that lines of several connections do not mix. A connection does not fail for a full disk.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// Octets in hexadecimal.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_are_nss_format_and_the_file_is_the_owners() {
        let path = std::env::temp_dir().join(format!("clearway-key-log-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let log = KeyLogTo::File(path.clone()).open().unwrap().unwrap();
        log.log("CLIENT_RANDOM", &[0, 0xab], &[0xff]);
        log.log("X", &[1], &[2]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "CLIENT_RANDOM 00ab ff\nX 01 02\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let error = KeyLogTo::File("/no/such/folder/keys".into()).open().unwrap_err().to_string();
        assert!(error.contains("/no/such/folder/keys"), "{error}");
    }
}
