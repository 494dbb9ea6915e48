//! A password read from a file: never printed, compared in constant time. Read once, when the configuration
//! is loaded. Who may use it and when is not decided here.

use std::fmt;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Longest secret, in bytes: what a client can send before it is authenticated.
const SECRET_BYTES_MAX: usize = 16 * 1024;

/// A password. `Debug` and `Display` redact it; [`Secret::reveal`] is the only way to its bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Wraps the bytes of a secret.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Reads a secret from `path`, without the newline at its end. The error says what is wrong with the file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| {
                file.take(SECRET_BYTES_MAX as u64 + 1)
                    .read_to_end(&mut bytes)
            })
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        match bytes.len() {
            0 => Err(format!("{} is empty", path.display())),
            1..=SECRET_BYTES_MAX => Ok(Self::new(bytes)),
            _ => Err(format!("{} is longer than 16KB", path.display())),
        }
    }

    /// Whether `given` is this secret. The time taken depends on the length of `given` only.
    pub fn matches(&self, given: &[u8]) -> bool {
        let mut difference = self.0.len() ^ given.len();
        for (i, byte) in given.iter().enumerate() {
            difference |= usize::from(byte ^ self.0.get(i).copied().unwrap_or(0));
            difference = black_box(difference);
        }
        difference == 0
    }

    /// The bytes, to be sent to a node.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(content: &[u8]) -> Result<Secret, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        Secret::read(file.path()).map_err(|e| e.replace(&*file.path().to_string_lossy(), "FILE"))
    }

    #[test]
    fn matches_is_equality() {
        let secret = Secret::new(*b"hunter2");
        assert!(secret.matches(b"hunter2"));
        for wrong in [&b""[..], b"hunter", b"hunter22", b"Hunter2", b"hunter2\0"] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "(redacted) (redacted)");
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_it() {
        assert_eq!(read(b"a b\n").unwrap().reveal(), b"a b");
        assert_eq!(read(b"a b\r\n").unwrap().reveal(), b"a b");
        assert_eq!(read(b"a\n\n").unwrap().reveal(), b"a\n");
        assert_eq!(read(b" a ").unwrap().reveal(), b" a ");
    }

    #[test]
    fn a_file_without_a_usable_secret_is_a_problem() {
        assert_eq!(read(b"").unwrap_err(), "FILE is empty");
        assert_eq!(read(b"\n").unwrap_err(), "FILE is empty");
        let long = vec![b'x'; SECRET_BYTES_MAX + 1];
        assert_eq!(read(&long).unwrap_err(), "FILE is longer than 16KB");
        let missing = Secret::read(Path::new("/nonexistent/secret")).unwrap_err();
        assert!(
            missing.starts_with("cannot read /nonexistent/secret: "),
            "{missing}"
        );
        assert!(Secret::read(Path::new("/")).is_err());
    }
}
