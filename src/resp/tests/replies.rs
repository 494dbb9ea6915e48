//! The reply scanner: what it refuses, its bounds, and its work; the views into replies.

use super::super::number::take_work;
use super::super::{
    Proto, REPLY_DEPTH_MAX, ReplyError, ReplyScanner, bulk, elements, encode, integer, is_null,
};
use super::every;
use super::fuzzed::replies::{Held, held};

#[track_caller]
fn refuses(stream: &str, expected: ReplyError) {
    let bytes = stream.as_bytes();
    assert_eq!(
        held(bytes, [bytes.len()]).error,
        Some(expected),
        "{stream:?}"
    );
    assert_eq!(
        held(bytes, 1..=bytes.len()).error,
        Some(expected),
        "{stream:?}, byte by byte"
    );
}

#[test]
fn what_is_not_a_reply_is_refused() {
    for stream in [
        "$\r\n",
        "$-2\r\n",
        "$+1\r\n",
        "$01\r\n",
        "$-0\r\n",
        "$1x\r\n",
        "$1\rx",
        "$18446744073709551616\r\n",
        "$0000000000000000000000000000000000",
    ] {
        refuses(stream, ReplyError::InvalidLength(b'$'));
    }
    for kind in ['!', '=', '%', '~', '>', '|'] {
        refuses(
            &format!("{kind}-1\r\n"),
            ReplyError::InvalidLength(kind as u8),
        );
    }
    refuses("*-2\r\n", ReplyError::InvalidLength(b'*'));
    refuses("$4294967296\r\n", ReplyError::TooLarge);
    refuses("*9223372036854775807\r\n", ReplyError::TooLarge);
    refuses("$2\r\nabc\r\n", ReplyError::MissingCrlf);
    refuses("*2\r\n$0\r\n\n\r", ReplyError::MissingCrlf);
    refuses("PONG\r\n", ReplyError::UnknownType(b'P'));
    refuses("\r\n", ReplyError::UnknownType(b'\r'));
    refuses("*1\r\n\0", ReplyError::UnknownType(0));
    for stream in ["$?\r\n", "*?\r\n", "%?\r\n", ";4\r\n", ".\r\n"] {
        refuses(stream, ReplyError::Streamed);
    }
    for stream in [
        ":\r\n",
        ":a\r\n",
        ":1 \r\n",
        ":-\r\n",
        ",\r\n",
        ",1,5\r\n",
        "#\r\n",
        "#x\r\n",
        "#tt\r\n",
        "_x\r\n",
        "=3\r\ntxt\r\n",
        "=5\r\ntxt;a\r\n",
    ] {
        refuses(stream, ReplyError::InvalidContent(stream.as_bytes()[0]));
    }
}

#[test]
fn resp2_has_none_of_the_types_of_resp3() {
    for reply in [
        "|1\r\n+a\r\n+b\r\n:1\r\n",
        "%0\r\n",
        "~0\r\n",
        ">1\r\n+a\r\n",
        "_\r\n",
        "#t\r\n",
        ",1\r\n",
        "(1\r\n",
        "=5\r\ntxt:a\r\n",
        "!3\r\nERR\r\n",
    ] {
        for reply in [reply.to_owned(), format!("*2\r\n*1\r\n:1\r\n{reply}")] {
            let bytes = reply.as_bytes();
            let [mut resp2, mut resp3] =
                [Proto::Resp2, Proto::Resp3].map(|proto| ReplyScanner::new().speaking(proto));
            assert_eq!(resp3.scan(bytes), Ok(Some(bytes.len())), "{reply:?}");
            assert!(
                matches!(resp2.scan(bytes), Err(ReplyError::OnlyResp3(_))),
                "{reply:?}"
            );
        }
    }
    let plain = b"*6\r\n+a\r\n-b\r\n:1\r\n$-1\r\n*-1\r\n$1\r\n_\r\n";
    let mut resp2 = ReplyScanner::new().speaking(Proto::Resp2);
    assert_eq!(resp2.scan(plain), Ok(Some(plain.len())));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| "*1\r\n".repeat(depth) + ":1\r\n";
    for open in ["*1\r\n", "%1\r\n+k\r\n", "~1\r\n", ">1\r\n", "|1\r\n+k\r\n"] {
        let stream = open.repeat(REPLY_DEPTH_MAX);
        assert_eq!(
            held(stream.as_bytes(), [stream.len()]),
            Held::default(),
            "{open:?}"
        );
        refuses(&open.repeat(REPLY_DEPTH_MAX + 1), ReplyError::TooDeep);
    }
    let deepest = nested(REPLY_DEPTH_MAX);
    assert_eq!(
        held(deepest.as_bytes(), [deepest.len()]).ends,
        [deepest.len()]
    );
    let mut flat = ReplyScanner::with_depth(1);
    assert_eq!(flat.scan(b"*1\r\n:1\r\n"), Ok(Some(8)));
    assert_eq!(flat.scan(b"*1\r\n*0\r\n"), Err(ReplyError::TooDeep));
    // Aggregates beside each other are not inside each other.
    let beside = format!("*1000\r\n{}", "*1\r\n:1\r\n".repeat(1000));
    assert_eq!(held(beside.as_bytes(), [beside.len()]).ends, [beside.len()]);
    refuses(&nested(1_000_000), ReplyError::TooDeep);
}

#[test]
fn a_bulk_string_says_what_it_lacks() {
    let mut scanner = ReplyScanner::new();
    assert_eq!(scanner.scan(b"*2\r\n$10\r\nabc"), Ok(None));
    assert_eq!(scanner.wanted(), 9);
    assert_eq!(scanner.scan(b"*2\r\n$10\r\nabcdefghij\r\n$1"), Ok(None));
    assert_eq!(scanner.wanted(), 0);
    assert_eq!(
        scanner.scan(b"*2\r\n$10\r\nabcdefghij\r\n$1\r\na\r\n"),
        Ok(Some(28))
    );
    assert_eq!(scanner.wanted(), 0);
    assert_eq!(scanner.scan(b"$5\r\nab"), Ok(None));
    assert_eq!(scanner.wanted(), 5);
    assert_eq!(scanner.scan(b"$5\r\nabcde\r\n"), Ok(Some(11)));
    assert_eq!(scanner.wanted(), 0, "the next reply is not known");
}

/// Scans one reply that arrives in steps, and says how many bytes were looked at and in how many calls.
fn work(stream: &[u8], step: usize) -> (usize, usize) {
    let arrivals = every(step, stream.len());
    take_work();
    assert_eq!(held(stream, arrivals.iter().copied()).ends, [stream.len()]);
    (take_work(), arrivals.len())
}

#[test]
fn work_is_linear_in_the_bytes_however_they_arrive() {
    /// The length line that is looked at again in each call, and then in vain, in bytes at most.
    const AGAIN_MAX: usize = 24;

    let many = format!("*300000\r\n{}", ":1\r\n$1\r\na\r\n*0\r\n".repeat(100_000));
    let (bytes, calls) = work(many.as_bytes(), 16 * 1024);
    assert!(
        bytes <= many.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let some = format!("*6000\r\n{}", ":12\r\n$3\r\nabc\r\n*0\r\n".repeat(2_000));
    let (bytes, calls) = work(some.as_bytes(), 1);
    assert!(
        bytes <= some.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let mut long = Vec::new();
    encode::bulk(&mut long, &vec![b'a'; 32 << 20]);
    let (bytes, calls) = work(&long, 64 * 1024);
    assert!(
        bytes <= calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls: no payload is looked at"
    );

    for text in ["a", "\r", "\n"] {
        let line = format!("+{}\r\n", text.repeat(60_000));
        let (bytes, calls) = work(line.as_bytes(), 1);
        assert!(
            bytes <= line.len() + calls * AGAIN_MAX,
            "{bytes} bytes in {calls} calls"
        );
    }
}

#[test]
fn views_into_replies() {
    assert_eq!(integer(b":12\r\n"), Some(12));
    assert_eq!(integer(b":-9223372036854775808\r\n"), Some(i64::MIN));
    assert_eq!(integer(b":9223372036854775808\r\n"), None);
    assert_eq!(integer(b"|1\r\n+a\r\n+b\r\n:1\r\n"), Some(1));
    for other in [&b""[..], b":", b":1", b":1\r", b"$1\r\n1\r\n", b"_\r\n"] {
        assert_eq!(integer(other), None);
    }
    assert_eq!(bulk(b"$2\r\n\r\n\r\n"), Some(&b"\r\n"[..]));
    assert_eq!(bulk(b"$0\r\n\r\n"), Some(&b""[..]));
    assert_eq!(bulk(b"=5\r\ntxt:a\r\n"), Some(&b"a"[..]));
    assert_eq!(bulk(b"+OK\r\n"), Some(&b"OK"[..]));
    for other in [
        &b""[..],
        b"$-1\r\n",
        b"_\r\n",
        b"-ERR\r\n",
        b":1\r\n",
        b"$2\r\na\r\n",
        b"$0\r\n",
        b"=2\r\nab\r\n",
    ] {
        assert_eq!(bulk(other), None, "{}", other.escape_ascii());
    }
    assert!(is_null(b"$-1\r\n") && is_null(b"*-1\r\n") && is_null(b"_\r\n"));
    assert!(!is_null(b"$0\r\n\r\n") && !is_null(b"*0\r\n") && !is_null(b""));
    assert_eq!(elements(b"*0\r\n"), Some(vec![]));
    assert_eq!(
        elements(b"*2\r\n:1\r\n*1\r\n_\r\n"),
        Some(vec![4..8, 8..15])
    );
    assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n"), Some(vec![4..8, 8..12]));
    assert_eq!(
        elements(b"|0\r\n*2\r\n:1\r\n_\r\n"),
        Some(vec![8..12, 12..15])
    );
    for other in [
        &b""[..],
        b"*-1\r\n",
        b"$1\r\na\r\n",
        b"*1\r\n",
        b"*1\r\n:1\r\n:2\r\n",
        b"*4294967295\r\n:1\r\n",
        b"|1\r\n",
    ] {
        assert_eq!(elements(other), None, "{}", other.escape_ascii());
    }
}
