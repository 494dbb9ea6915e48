//! What the request decoder refuses and in which words, and its limits.

use super::super::{ProtocolError, RequestLimits};
use super::fuzzed::requests::{Held, LIMITS, PREAUTH, SMALL, held};

#[track_caller]
fn refuses(stream: &[u8], limits: &RequestLimits, expected: ProtocolError) {
    let shown = stream[..stream.len().min(60)].escape_ascii();
    let whole = held(stream, [stream.len()], limits);
    assert_eq!(whole.error, Some(expected), "{shown}");
    let bytewise = held(stream, 1..=stream.len(), limits);
    assert_eq!(bytewise.error, Some(expected), "{shown}, byte by byte");
}

#[track_caller]
fn waits(stream: &[u8], limits: &RequestLimits) {
    let whole = held(stream, [stream.len()], limits);
    assert_eq!(whole, Held::default(), "{}", stream.escape_ascii());
}

#[test]
fn lengths_are_strict() {
    for stream in [
        "*\r\n",
        "*+1\r\n",
        "*01\r\n",
        "*00\r\n",
        "*-0\r\n",
        "*1 \r\n",
        "* 1\r\n",
        "*a\r\n",
        "*1\rx",
        "*\0\r\n",
        "*2147483648\r\n",
        "*9223372036854775807\r\n",
        "*9223372036854775808\r\n",
        "*18446744073709551617\r\n",
        "*-9223372036854775809\r\n",
    ] {
        refuses(
            stream.as_bytes(),
            &LIMITS,
            ProtocolError::InvalidMultibulkLength,
        );
    }
    for stream in [
        "$\r\n",
        "$-1\r\n",
        "$-5\r\n",
        "$+1\r\n",
        "$01\r\n",
        "$00\r\n",
        "$-0\r\n",
        "$1 \r\n",
        "$1a\r\n",
        "$4\rx",
        "$18446744073709551620\r\n",
    ] {
        refuses(
            format!("*1\r\n{stream}").as_bytes(),
            &LIMITS,
            ProtocolError::InvalidBulkLength,
        );
    }
    for len in [
        "536870913",
        "4294967296",
        "4294967300",
        "9223372036854775807",
    ] {
        let stream = format!("*1\r\n${len}\r\n");
        refuses(stream.as_bytes(), &LIMITS, ProtocolError::ArgumentTooBig);
    }
    refuses(b"*1048577\r\n", &LIMITS, ProtocolError::TooManyArguments);
    for stream in [
        "*1048576\r\n",
        "*1\r\n$4\r\nPIN",
        "*1\r\n$536870800\r\n",
        "*",
        "*1\r",
        "*1\r\n$4",
        "*1\r\n$4\r",
    ] {
        waits(stream.as_bytes(), &LIMITS);
    }
}

#[test]
fn the_largest_allowed_is_allowed_and_one_more_is_not() {
    waits(b"*3\r\n$8\r\n", &SMALL);
    refuses(b"*4\r\n", &SMALL, ProtocolError::TooManyArguments);
    refuses(b"*3\r\n$9\r\n", &SMALL, ProtocolError::ArgumentTooBig);
    // 4 + 14 + 14 are 32; two more bulk strings of no bytes would be 44, one of two bytes is 40.
    let two = b"*3\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n";
    let fits = [&two[..], b"$2\r\n"].concat();
    waits(&fits, &SMALL);
    let over = [&two[..], b"$3\r\n"].concat();
    refuses(&over, &SMALL, ProtocolError::RequestTooBig);
    assert_eq!(
        held(b"12345 7890 \r\n", [13], &SMALL).requests.len(),
        1,
        "12 bytes and LF"
    );
    refuses(b"12345 7890 12", &SMALL, ProtocolError::InlineTooBig);
    refuses(b"12345 7890 12\n", &SMALL, ProtocolError::InlineTooBig);
    refuses(b"a b c d\n", &SMALL, ProtocolError::TooManyArguments);
    refuses(b"123456789\n", &SMALL, ProtocolError::ArgumentTooBig);
    let tight = RequestLimits {
        request: 24,
        ..SMALL
    };
    refuses(b"a b c\n", &tight, ProtocolError::RequestTooBig);
}

#[test]
fn before_authentication_the_words_differ() {
    refuses(
        b"*11\r\n",
        &PREAUTH,
        ProtocolError::UnauthenticatedMultibulkLength,
    );
    refuses(
        b"*2147483648\r\n",
        &PREAUTH,
        ProtocolError::InvalidMultibulkLength,
    );
    refuses(
        b"*1\r\n$16385\r\n",
        &PREAUTH,
        ProtocolError::UnauthenticatedBulkLength,
    );
    refuses(
        b"*1\r\n$536870913\r\n",
        &PREAUTH,
        ProtocolError::InvalidBulkLength,
    );
    waits(b"*10\r\n$16384\r\n", &PREAUTH);
}

#[test]
fn endless_lines_are_refused() {
    let long = |prefix: &str, len: usize| {
        let mut stream = prefix.as_bytes().to_vec();
        stream.resize(len, b'1');
        stream
    };
    waits(&long("*", 65_536), &LIMITS);
    refuses(
        &long("*", 65_537),
        &LIMITS,
        ProtocolError::MultibulkCountTooLong,
    );
    waits(&long("*1\r\n$", 65_540), &LIMITS);
    refuses(
        &long("*1\r\n$", 65_541),
        &LIMITS,
        ProtocolError::BulkCountTooLong,
    );
    waits(&long("a", 65_536), &LIMITS);
    refuses(&long("a", 65_537), &LIMITS, ProtocolError::InlineTooBig);
    let ended = [long("*", 65_537), b"\r\n".to_vec()].concat();
    refuses(&ended, &LIMITS, ProtocolError::MultibulkCountTooLong);
    let ended = [long("*", 65_536), b"\r\n".to_vec()].concat();
    refuses(&ended, &LIMITS, ProtocolError::InvalidMultibulkLength);
}

#[test]
fn only_bulk_strings_are_arguments_and_they_end_with_crlf() {
    refuses(b"*1\r\n:4\r\n", &LIMITS, ProtocolError::ExpectedBulk(b':'));
    refuses(b"*1\r\n*1\r\n", &LIMITS, ProtocolError::ExpectedBulk(b'*'));
    refuses(b"*1\r\n\r\n", &LIMITS, ProtocolError::ExpectedBulk(b'\r'));
    refuses(
        b"*2\r\n$1\r\na\r\nb\r\n",
        &LIMITS,
        ProtocolError::ExpectedBulk(b'b'),
    );
    refuses(b"*1\r\n$4\r\nPINGxx", &LIMITS, ProtocolError::MissingCrlf);
    refuses(b"*1\r\n$4\r\nPING\n\r", &LIMITS, ProtocolError::MissingCrlf);
    refuses(b"*1\r\n$3\r\nPING\r\n", &LIMITS, ProtocolError::MissingCrlf);
}

#[test]
fn other_protocols_are_refused_in_both_forms() {
    for stream in [
        "POST / HTTP/1.1\r\n",
        "post\r\n",
        "Host: localhost:6379\r\n",
        "hOST: a\n",
        "\"POST\"\r\n",
        "*1\r\n$4\r\nPOST\r\n",
        "*2\r\n$5\r\nhost:\r\n$1\r\na\r\n",
    ] {
        refuses(stream.as_bytes(), &LIMITS, ProtocolError::CrossProtocol);
    }
    assert!(ProtocolError::CrossProtocol.is_cross_protocol());
    assert_eq!(
        held(b"HOST a\r\nPOSTS\r\n", [15], &LIMITS).requests.len(),
        2
    );
}

#[test]
fn errors_are_in_the_words_of_redis() {
    use ProtocolError::*;
    for (error, text) in [
        (InvalidMultibulkLength, "invalid multibulk length"),
        (InvalidBulkLength, "invalid bulk length"),
        (
            UnauthenticatedMultibulkLength,
            "unauthenticated multibulk length",
        ),
        (UnauthenticatedBulkLength, "unauthenticated bulk length"),
        (MultibulkCountTooLong, "too big mbulk count string"),
        (BulkCountTooLong, "too big bulk count string"),
        (ExpectedBulk(b'*'), "expected '$', got '*'"),
        (ExpectedBulk(b'\n'), "expected '$', got ' '"),
        (InlineTooBig, "too big inline request"),
        (UnbalancedQuotes, "unbalanced quotes in request"),
    ] {
        assert_eq!(error.to_string(), format!("Protocol error: {text}"));
        let mut reply = Vec::new();
        error.reply(&mut reply);
        assert_eq!(reply, format!("-ERR Protocol error: {text}\r\n").as_bytes());
    }
    let mut reply = Vec::new();
    ExpectedBulk(0xff).reply(&mut reply);
    assert_eq!(
        reply, b"-ERR Protocol error: expected '$', got '\xff'\r\n",
        "the byte as it came"
    );
    reply.clear();
    CrossProtocol.reply(&mut reply);
    assert_eq!(reply, b"", "an attacker gets no answer");
}

#[test]
fn a_zero_byte_hides_the_end_of_an_inline_request() {
    waits(b"PING\0\r\nPING\r\n", &LIMITS);
    refuses(b"PING\0\r\nPING\r\n", &SMALL, ProtocolError::InlineTooBig);
}
