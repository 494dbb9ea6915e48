//! The request decoder: what it refuses and in which words, its limits, and its properties.

use proptest::prelude::*;

use super::super::number::take_work;
use super::super::{Decoded, ProtocolError, RequestDecoder, RequestLimits, encode, parse_request};
use super::{arrivals, every, garbage};

const MB: u32 = 1024 * 1024;

const LIMITS: RequestLimits = RequestLimits {
    arguments: 1_048_576,
    argument: 512 * MB,
    request: 512 * MB,
    inline: 64 * 1024,
    preauth: false,
};

const PREAUTH: RequestLimits = RequestLimits {
    arguments: 10,
    argument: 16 * 1024,
    request: 256 * 1024,
    preauth: true,
    ..LIMITS
};

const SMALL: RequestLimits = RequestLimits {
    arguments: 3,
    argument: 8,
    request: 40,
    inline: 12,
    preauth: false,
};

/// Everything a stream held: the canonical bytes and arguments of each request, and how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
struct Held {
    requests: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    error: Option<ProtocolError>,
}

/// Decodes a stream that arrives in pieces, as a session does.
fn held(stream: &[u8], arrivals: &[usize], limits: &RequestLimits) -> Held {
    let mut decoder = RequestDecoder::new();
    let mut held = Held::default();
    let mut begin = 0;
    for &arrived in arrivals {
        loop {
            let buf = &stream[begin..arrived];
            match decoder.decode(buf, limits) {
                Err(error) => {
                    held.error = Some(error);
                    return held;
                }
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::Nothing { consumed }) => {
                    assert!(consumed > 0, "it must go on");
                    begin += consumed;
                }
                Ok(Decoded::Request { consumed }) => {
                    assert!(consumed > 0, "it must go on");
                    let request = decoder.request(buf);
                    let args = request.args().map(<[u8]>::to_vec).collect();
                    held.requests.push((request.bytes().to_vec(), args));
                    begin += consumed;
                }
            }
        }
    }
    held
}

#[track_caller]
fn refuses(stream: &[u8], limits: &RequestLimits, expected: ProtocolError) {
    let shown = stream[..stream.len().min(60)].escape_ascii();
    let whole = held(stream, &[stream.len()], limits);
    assert_eq!(whole.error, Some(expected), "{shown}");
    let bytewise = held(stream, &every(1, stream.len()), limits);
    assert_eq!(bytewise.error, Some(expected), "{shown}, byte by byte");
}

#[track_caller]
fn waits(stream: &[u8], limits: &RequestLimits) {
    let whole = held(stream, &[stream.len()], limits);
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
        held(b"12345 7890 \r\n", &[13], &SMALL).requests.len(),
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
        held(b"HOST a\r\nPOSTS\r\n", &[15], &LIMITS).requests.len(),
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

#[test]
fn an_idle_decoder_is_small_and_a_declared_count_allocates_nothing() {
    assert!(
        size_of::<RequestDecoder>() <= 64,
        "{}",
        size_of::<RequestDecoder>()
    );
    let mut decoder = RequestDecoder::new();
    decoder
        .decode(b"*1048576\r\n$536870000\r\nab", &LIMITS)
        .unwrap();
    assert_eq!(decoder.heap_bytes(), 0);
    assert_eq!(decoder.wanted(), 536_870_000);

    let mut decoder = RequestDecoder::new();
    let set = b"*4\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\nNX\r\n";
    decoder.decode(set, &LIMITS).unwrap();
    assert_eq!(decoder.heap_bytes(), 0, "small commands need none");
    assert_eq!(decoder.wanted(), 0);

    let mut large = Vec::new();
    encode::command(&mut large, &vec!["a"; 1000]);
    decoder.decode(&large, &LIMITS).unwrap();
    assert!(decoder.heap_bytes() > 0);
    decoder.shrink();
    assert_eq!(decoder.heap_bytes(), 0);
    decoder.decode(b"PING\r\n", &LIMITS).unwrap();
    assert!(decoder.heap_bytes() > 0);
    decoder.shrink();
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn shrinking_in_mid_request_loses_nothing() {
    let mut stream = Vec::new();
    encode::command(&mut stream, &vec!["a"; 1000]);
    let mut decoder = RequestDecoder::new();
    assert_eq!(
        decoder.decode(&stream[..stream.len() - 1], &LIMITS),
        Ok(Decoded::Incomplete)
    );
    decoder.shrink();
    let consumed = stream.len();
    assert_eq!(
        decoder.decode(&stream, &LIMITS),
        Ok(Decoded::Request { consumed })
    );
    assert_eq!(decoder.request(&stream).len(), 1000);
}

/// Decodes one request that arrives in steps, and says how many bytes were looked at and in how many calls.
fn work(stream: &[u8], step: usize) -> (usize, usize) {
    let mut decoder = RequestDecoder::new();
    let arrivals = every(step, stream.len());
    take_work();
    for (call, &arrived) in arrivals.iter().enumerate() {
        let decoded = decoder.decode(&stream[..arrived], &LIMITS);
        if call + 1 < arrivals.len() {
            assert_eq!(decoded, Ok(Decoded::Incomplete));
        } else {
            assert_ne!(decoded, Ok(Decoded::Incomplete));
        }
    }
    (take_work(), arrivals.len())
}

#[test]
fn work_is_linear_in_the_bytes_however_they_arrive() {
    /// The length line that is looked at again in each call, in bytes at most.
    const AGAIN_MAX: usize = 13;

    let mut many = Vec::new();
    encode::command(&mut many, &vec!["a"; 1_000_000]);
    let (bytes, calls) = work(&many, 16 * 1024);
    assert!(
        bytes <= many.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let mut some = Vec::new();
    encode::command(&mut some, &vec!["abc"; 2_000]);
    let (bytes, calls) = work(&some, 1);
    assert!(
        bytes <= some.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let mut long = Vec::new();
    encode::command(&mut long, &[vec![b'a'; 32 * MB as usize]]);
    let (bytes, calls) = work(&long, 64 * 1024);
    assert!(
        bytes <= calls * AGAIN_MAX + 16,
        "{bytes} bytes in {calls} calls: no payload is looked at"
    );

    for first in [b'*', b'a'] {
        let mut line = vec![b'1'; 60_000];
        line[0] = first;
        line.extend_from_slice(b"\r\n");
        let (bytes, calls) = work(&line, 1);
        assert!(
            bytes <= line.len() + calls * AGAIN_MAX,
            "{bytes} bytes in {calls} calls"
        );
    }
}

/// One thing that a client sends, and the request it is, if it is one.
fn item() -> impl Strategy<Value = (Vec<u8>, Option<Vec<Vec<u8>>>)> {
    let bytes = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        4 => "[a-z\r\n*$0-9]{0,12}".prop_map(String::into_bytes),
    ];
    let args = prop_oneof![
        8 => prop::collection::vec(bytes.clone(), 1..6),
        1 => prop::collection::vec(bytes, 1..40),
    ]
    .prop_filter("no attack", |args| {
        !args[0].eq_ignore_ascii_case(b"post") && !args[0].eq_ignore_ascii_case(b"host:")
    });
    prop_oneof![
        6 => args.clone().prop_map(|args| {
            let mut out = Vec::new();
            encode::command(&mut out, &args);
            (out, Some(args))
        }),
        2 => args.prop_map(|args| (quoted(&args), Some(args))),
        1 => prop::sample::select(&["\r\n", "\n", " \t \r\n", "*0\r\n", "*-5\r\n"][..])
            .prop_map(|text| (text.as_bytes().to_vec(), None)),
    ]
}

/// An inline request with these arguments, every byte escaped.
fn quoted(args: &[Vec<u8>]) -> Vec<u8> {
    let mut line = String::new();
    for arg in args {
        let escaped: String = arg.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        line.push_str(&format!("\"{escaped}\" "));
    }
    line.push_str("\r\n");
    line.into_bytes()
}

proptest! {
    #[test]
    fn any_cut_of_any_stream_gives_the_same_requests(
        items in prop::collection::vec(item(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream: Vec<u8> = items.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<_> = items.into_iter().filter_map(|(_, args)| args).collect();
        for arrivals in [arrivals(stream.len(), &cuts), every(1, stream.len()), vec![stream.len()]] {
            let held = held(&stream, &arrivals, &LIMITS);
            prop_assert_eq!(held.error, None);
            prop_assert_eq!(held.requests.len(), expected.len());
            for ((canonical, args), expected) in held.requests.iter().zip(&expected) {
                prop_assert_eq!(args, expected);
                let mut encoded = Vec::new();
                encode::command(&mut encoded, expected);
                prop_assert_eq!(canonical, &encoded);
                let mut spans = Vec::new();
                let parsed = parse_request(canonical, &mut spans).unwrap();
                prop_assert!(parsed.args().eq(expected.iter().map(Vec::as_slice)));
                let bulks: Vec<u8> = (0..parsed.len()).flat_map(|i| parsed.raw(i).to_vec()).collect();
                prop_assert!(encoded.ends_with(&bulks));
            }
        }
    }

    #[test]
    fn garbage_gives_the_same_however_it_is_cut(
        stream in garbage(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        for limits in [&LIMITS, &SMALL, &PREAUTH] {
            let whole = held(&stream, &[stream.len()], limits);
            prop_assert_eq!(&held(&stream, &arrivals(stream.len(), &cuts), limits), &whole);
            prop_assert_eq!(&held(&stream, &every(1, stream.len()), limits), &whole);
            for (canonical, _) in &whole.requests {
                prop_assert!(parse_request(canonical, &mut Vec::new()).is_some(), "canonical");
                prop_assert!(canonical.len() <= limits.request as usize);
            }
        }
    }

    #[test]
    fn parse_request_takes_any_bytes(stream in garbage()) {
        let mut spans = Vec::new();
        if let Some(request) = parse_request(&stream, &mut spans) {
            let args: Vec<_> = request.args().collect();
            let mut encoded = Vec::new();
            encode::command(&mut encoded, &args);
            prop_assert_eq!(encoded, stream);
        }
    }
}
