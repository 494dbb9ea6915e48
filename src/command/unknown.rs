//! The error text for a command that does not exist: clients decide by it, so it is the servers' own, byte for byte.

use crate::resp::Request;

/// The servers quote at most this many bytes of a name, and of all arguments together.
const QUOTED_MAX: usize = 128;

/// A request whose command, or subcommand, does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    text: Vec<u8>,
}

impl Unknown {
    /// `ERR unknown command 'x', with args beginning with: 'a' 'b' `, the space at the end included.
    #[cold]
    pub(super) fn command(request: &Request<'_>) -> Self {
        let mut text = b"ERR unknown command '".to_vec();
        text.extend_from_slice(quoted(request.arg(0), QUOTED_MAX));
        text.extend_from_slice(b"', with args beginning with: ");
        let start = text.len();
        for arg in request.args().skip(1) {
            let used = text.len() - start;
            if used >= QUOTED_MAX {
                break;
            }
            text.push(b'\'');
            text.extend_from_slice(quoted(arg, QUOTED_MAX - used));
            text.extend_from_slice(b"' ");
        }
        Self::one_line(text)
    }

    /// `ERR unknown subcommand 'x'. Try CLIENT HELP.`
    #[cold]
    pub(super) fn subcommand(request: &Request<'_>) -> Self {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(quoted(request.get(1).unwrap_or_default(), QUOTED_MAX));
        text.extend_from_slice(b"'. Try ");
        text.extend_from_slice(&quoted(request.arg(0), usize::MAX).to_ascii_uppercase());
        text.extend_from_slice(b" HELP.");
        Self::one_line(text)
    }

    /// The text, beginning with `ERR `; not always UTF-8, since it quotes the request.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Appends the whole error reply.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.push(b'-');
        out.extend_from_slice(&self.text);
        out.extend_from_slice(b"\r\n");
    }

    fn one_line(mut text: Vec<u8>) -> Self {
        for byte in &mut text {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Self { text }
    }
}

/// What the servers print of an argument: at most `max` bytes, and nothing from a zero byte on.
fn quoted(arg: &[u8], max: usize) -> &[u8] {
    let end = memchr::memchr(0, arg).unwrap_or(arg.len());
    &arg[..end.min(max)]
}
