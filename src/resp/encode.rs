//! Writes RESP: what the proxy says itself, to clients and to nodes. Everything is appended to a `Vec<u8>`.
//!
//! What a server has said is never encoded again; it is forwarded.

use super::Proto;

const CRLF: &[u8] = b"\r\n";

/// `+text`. Line ends in it become blanks: nobody can put a second reply into one.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `-text`, which begins with a code: `ERR …`. Line ends in it become blanks.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// `:value`.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    header(out, b':', value);
}

/// `$len`, the bytes, CRLF.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(CRLF);
}

/// The null value: `$-1` or `_`.
pub fn null(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"$-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The null array, of an aborted EXEC for instance: `*-1` or `_`.
pub fn null_array(out: &mut Vec<u8>, proto: Proto) {
    out.extend_from_slice(match proto {
        Proto::Resp2 => b"*-1\r\n",
        Proto::Resp3 => b"_\r\n",
    });
}

/// The beginning of an array; its `count` elements follow.
pub fn array(out: &mut Vec<u8>, count: usize) {
    length(out, b'*', count);
}

/// The beginning of a map; `pairs` keys and values follow, alternating. A RESP2 client gets a flat array.
pub fn map(out: &mut Vec<u8>, pairs: usize, proto: Proto) {
    match proto {
        Proto::Resp2 => length(out, b'*', pairs * 2),
        Proto::Resp3 => length(out, b'%', pairs),
    }
}

/// The beginning of a set; its `count` elements follow. A RESP2 client gets an array.
pub fn set(out: &mut Vec<u8>, count: usize, proto: Proto) {
    match proto {
        Proto::Resp2 => length(out, b'*', count),
        Proto::Resp3 => length(out, b'~', count),
    }
}

/// The beginning of a push; its `count` elements follow. A RESP2 client gets an array.
pub fn push(out: &mut Vec<u8>, count: usize, proto: Proto) {
    match proto {
        Proto::Resp2 => length(out, b'*', count),
        Proto::Resp3 => length(out, b'>', count),
    }
}

/// Text for people, as of INFO: a bulk string, or a verbatim string of format `txt`.
pub fn verbatim(out: &mut Vec<u8>, text: &str, proto: Proto) {
    match proto {
        Proto::Resp2 => bulk(out, text.as_bytes()),
        Proto::Resp3 => {
            length(out, b'=', text.len() + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(CRLF);
        }
    }
}

/// A request in canonical form, with its arguments, the name first.
pub fn command(out: &mut Vec<u8>, args: &[impl AsRef<[u8]>]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg.as_ref());
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    }));
    out.extend_from_slice(CRLF);
}

fn length(out: &mut Vec<u8>, kind: u8, length: usize) {
    header(out, kind, length);
}

fn header(out: &mut Vec<u8>, kind: u8, value: impl itoa::Integer) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(CRLF);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_is_what_a_server_would_write() {
        assert_eq!(encoded(|o| simple(o, "OK")), "+OK\r\n");
        assert_eq!(encoded(|o| error(o, "ERR no")), "-ERR no\r\n");
        assert_eq!(
            encoded(|o| integer(o, i64::MIN)),
            ":-9223372036854775808\r\n"
        );
        assert_eq!(encoded(|o| bulk(o, b"")), "$0\r\n\r\n");
        assert_eq!(encoded(|o| null(o, Proto::Resp2)), "$-1\r\n");
        assert_eq!(encoded(|o| null(o, Proto::Resp3)), "_\r\n");
        assert_eq!(encoded(|o| null_array(o, Proto::Resp2)), "*-1\r\n");
        assert_eq!(encoded(|o| null_array(o, Proto::Resp3)), "_\r\n");
        assert_eq!(encoded(|o| map(o, 2, Proto::Resp2)), "*4\r\n");
        assert_eq!(encoded(|o| map(o, 2, Proto::Resp3)), "%2\r\n");
        assert_eq!(encoded(|o| set(o, 2, Proto::Resp2)), "*2\r\n");
        assert_eq!(encoded(|o| set(o, 2, Proto::Resp3)), "~2\r\n");
        assert_eq!(encoded(|o| push(o, 2, Proto::Resp2)), "*2\r\n");
        assert_eq!(encoded(|o| push(o, 2, Proto::Resp3)), ">2\r\n");
        assert_eq!(encoded(|o| verbatim(o, "é", Proto::Resp2)), "$2\r\né\r\n");
        assert_eq!(
            encoded(|o| verbatim(o, "é", Proto::Resp3)),
            "=6\r\ntxt:é\r\n"
        );
        assert_eq!(
            encoded(|o| command(o, &["GET", "a"])),
            "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
        );
    }

    #[test]
    fn a_line_cannot_hold_a_second_reply() {
        assert_eq!(encoded(|o| error(o, "ERR a\r\n+OK\n")), "-ERR a  +OK \r\n");
        assert_eq!(encoded(|o| simple(o, "a\rb")), "+a b\r\n");
    }
}
