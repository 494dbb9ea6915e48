//! MONITOR: one command as a line, in the servers' own words, and without passwords.

use crate::local::Address;
use crate::resp::{Request, encode};
use std::fmt::Write as _;
use std::time::Duration;

/// What stands in the place of a password.
const REDACTED: &str = "(redacted)";

/// The whole reply that shows a command: `+1700000000.123456 [0 127.0.0.1:1234] "GET" "k"`. `at` is the time of day,
/// since 1970.
pub fn line(at: Duration, client: &Address, request: &Request<'_>) -> Vec<u8> {
    let mut text = String::with_capacity(64 + request.bytes().len());
    let _ = write!(text, "{}.{:06} [0 ", at.as_secs(), at.subsec_micros());
    let _ = match client {
        Address::Tcp { peer, .. } => write!(text, "{peer}"),
        Address::Unix(path) => write!(text, "unix:{path}"),
    };
    text.push(']');
    let mut secrets = Secrets::of(request.arg(0));
    for (at, arg) in request.args().enumerate() {
        text.push_str(" \"");
        if at > 0 && secrets.hides(arg) {
            text.push_str(REDACTED);
        } else {
            quote(&mut text, arg);
        }
        text.push('"');
    }
    reply(&text)
}

/// The line that says how many commands were not shown, because the one who watches reads too slowly. It looks like
/// a command, so that clients can read it.
pub fn dropped(at: Duration, count: u64) -> Vec<u8> {
    let (seconds, micros) = (at.as_secs(), at.subsec_micros());
    reply(&format!(
        "{seconds}.{micros:06} [0 unix:slotway] \"SLOTWAY\" \"DROPPED\" \"{count}\""
    ))
}

fn reply(text: &str) -> Vec<u8> {
    let mut reply = Vec::with_capacity(text.len() + 3);
    encode::simple(&mut reply, text);
    reply
}

/// Which arguments of a command are secret.
enum Secrets {
    None,
    /// All but the name: AUTH.
    All,
    /// So many from here on; `AUTH` announces two more: HELLO.
    Next(usize),
}

impl Secrets {
    fn of(name: &[u8]) -> Self {
        if name.eq_ignore_ascii_case(b"auth") {
            Self::All
        } else if name.eq_ignore_ascii_case(b"hello") {
            Self::Next(0)
        } else {
            Self::None
        }
    }

    /// Takes the arguments behind the command's name one by one.
    fn hides(&mut self, arg: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Next(0) => {
                if arg.eq_ignore_ascii_case(b"auth") {
                    *self = Self::Next(2);
                }
                false
            }
            Self::Next(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// As the servers quote: what cannot be printed in hexadecimal.
fn quote(text: &mut String, arg: &[u8]) {
    for &byte in arg {
        match byte {
            b'\\' | b'"' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parse_request;

    fn shown(words: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let client = Address::Tcp {
            peer: "127.0.0.1:1234".parse().unwrap(),
            local: "127.0.0.1:6379".parse().unwrap(),
        };
        let at = Duration::from_micros(1_700_000_000_000_042);
        String::from_utf8(line(at, &client, &request)).unwrap()
    }

    #[test]
    fn a_command_is_shown_as_the_servers_show_it() {
        assert_eq!(
            shown(&[b"set", b"a \"\\", b"\r\n\t\x07\x08\x01\xc3\xa9", b""]),
            "+1700000000.000042 [0 127.0.0.1:1234] \"set\" \"a \\\"\\\\\" \"\\r\\n\\t\\a\\b\\x01\\xc3\\xa9\" \"\"\r\n"
        );
    }

    #[test]
    fn passwords_are_not_shown() {
        let rest = |words: &[&[u8]]| shown(words).split_off(38);
        assert_eq!(rest(&[b"AUTH", b"x"]), "\"AUTH\" \"(redacted)\"\r\n");
        assert_eq!(
            rest(&[b"auth", b"u", b"x"]),
            "\"auth\" \"(redacted)\" \"(redacted)\"\r\n"
        );
        assert_eq!(
            rest(&[b"HELLO", b"3", b"aUtH", b"u", b"x", b"SETNAME", b"n"]),
            "\"HELLO\" \"3\" \"aUtH\" \"(redacted)\" \"(redacted)\" \"SETNAME\" \"n\"\r\n"
        );
        assert_eq!(
            rest(&[b"HELLO", b"3", b"AUTH", b"auth"]),
            "\"HELLO\" \"3\" \"AUTH\" \"(redacted)\"\r\n"
        );
    }
}
