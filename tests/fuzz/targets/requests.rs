//! The request decoder: however a client's bytes are cut, the same requests come out and the same error; a declared
//! count or length allocates nothing; and redis-protocol finds the same arguments in the same bytes.

use std::ops::Range;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use slotway::resp::{Decoded, ProtocolError, RequestDecoder, RequestLimits, encode, parse_request};

pub const WORDS: &[&str] = &[
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*0\r\n",
    "*-1\r\n",
    "$0\r\n\r\n",
    "$1\r\na\r\n",
    "$3\r\nGET\r\n",
    "$-1\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "PING\r\n",
    "$4\r\nPOST\r\n",
    "host:",
    "\"",
    "'",
    "\\x41",
    "\\",
    "2147483648",
    "536870913",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "+1",
    "01",
    "-0",
    ":1\r\n",
];

pub const LIMITS: RequestLimits = RequestLimits {
    arguments: 1_048_576,
    argument: 512 << 20,
    request: 512 << 20,
    inline: 64 << 10,
    preauth: false,
};

pub const PREAUTH: RequestLimits = RequestLimits {
    arguments: 10,
    argument: 16 << 10,
    request: 256 << 10,
    preauth: true,
    ..LIMITS
};

pub const SMALL: RequestLimits = RequestLimits {
    arguments: 3,
    argument: 8,
    request: 40,
    inline: 12,
    preauth: false,
};

/// Inputs longer than this are cut at so many places only.
const CUTS_MAX: usize = 200;

/// Heap memory that decoding may take: for each byte that has come (an argument of no bytes takes six on the wire and
/// eight of span, twice that while the list grows; an inline request is written anew), and besides.
const HEAP_PER_BYTE: u64 = 16;
const HEAP_BESIDES: u64 = 1024;

/// Counts with more digits than this are not shown to redis-protocol, which makes room for what is declared.
const ORACLE_DIGITS_MAX: usize = 4;

pub fn run(input: &[u8]) {
    for limits in [&LIMITS, &PREAUTH, &SMALL] {
        let whole = held(input, [input.len()], limits);
        assert_eq!(held(input, 1..=input.len(), limits), whole, "byte by byte");
        let step = input.len() / CUTS_MAX + 1;
        for cut in (0..input.len()).step_by(step) {
            assert_eq!(
                held(input, [cut, input.len()], limits),
                whole,
                "cut at {cut}"
            );
        }
        allocates_nothing_declared(input, limits);
        sound(input, &whole, limits);
    }
    agree(input);
    parses_only_canonical(input);
}

/// What a stream held: where each request was, its canonical form and arguments, and how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Held {
    pub requests: Vec<Found>,
    pub error: Option<ProtocolError>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    at: Range<usize>,
    canonical: Vec<u8>,
    pub args: Vec<Vec<u8>>,
}

/// Decodes a stream of which so many bytes have arrived, one length after the other.
pub fn held(
    stream: &[u8],
    arrivals: impl IntoIterator<Item = usize>,
    limits: &RequestLimits,
) -> Held {
    let mut decoder = RequestDecoder::new();
    let mut held = Held::default();
    let mut begin = 0;
    for arrived in arrivals {
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
                    held.requests.push(Found {
                        at: begin..begin + consumed,
                        canonical: request.bytes().to_vec(),
                        args: request.args().map(<[u8]>::to_vec).collect(),
                    });
                    begin += consumed;
                    if begin % 3 == 0 {
                        decoder.shrink();
                    }
                }
            }
        }
    }
    held
}

/// Only what has come may cost memory.
fn allocates_nothing_declared(stream: &[u8], limits: &RequestLimits) {
    let heap = allocation_counter::measure(|| {
        let mut decoder = RequestDecoder::new();
        let mut begin = 0;
        while let Ok(Decoded::Nothing { consumed } | Decoded::Request { consumed }) =
            decoder.decode(&stream[begin..], limits)
        {
            begin += consumed;
        }
    });
    let allowed = HEAP_PER_BYTE * stream.len() as u64 + HEAP_BESIDES;
    assert!(
        heap.bytes_max <= allowed,
        "{} bytes of heap for {} bytes",
        heap.bytes_max,
        stream.len()
    );
}

/// Requests are canonical, within the limits, and the client's own bytes unless they came as a line.
pub fn sound(stream: &[u8], held: &Held, limits: &RequestLimits) {
    for found in &held.requests {
        let mut encoded = Vec::new();
        encode::command(&mut encoded, &found.args);
        assert_eq!(encoded, found.canonical, "canonical");
        let own = &stream[found.at.clone()];
        if own[0] == b'*' {
            assert_eq!(own, found.canonical, "the client's own bytes");
        } else {
            assert!(own.ends_with(b"\n") && own.len() <= limits.inline as usize + 1);
        }
        assert!(found.canonical.len() <= limits.request as usize);
        assert!(found.args.len() <= limits.arguments as usize);
        assert!(
            found
                .args
                .iter()
                .all(|arg| arg.len() <= limits.argument as usize)
        );
        let mut spans = Vec::new();
        let parsed = parse_request(&found.canonical, &mut spans).expect("canonical");
        assert!(parsed.args().eq(found.args.iter().map(Vec::as_slice)));
        let raw: Vec<u8> = (0..parsed.len())
            .flat_map(|argument| parsed.raw(argument).to_vec())
            .collect();
        assert!(found.canonical.ends_with(&raw), "argument by argument");
    }
}

/// Those that look into a stored request take any bytes, and for a request only what is one in canonical form.
fn parses_only_canonical(bytes: &[u8]) {
    let mut spans = Vec::new();
    if let Some(request) = parse_request(bytes, &mut spans) {
        let args: Vec<_> = request.args().collect();
        let mut encoded = Vec::new();
        encode::command(&mut encoded, &args);
        assert_eq!(encoded, bytes, "canonical");
    }
}

/// redis-protocol decodes what we took, and we take what it decodes if it is a command in canonical form.
fn agree(stream: &[u8]) {
    let held = held(stream, [stream.len()], &LIMITS);
    for found in held
        .requests
        .iter()
        .filter(|found| stream[found.at.start] == b'*')
    {
        assert_eq!(
            oracle(&stream[found.at.start..]),
            Some((found.args.clone(), found.at.len())),
            "redis-protocol"
        );
    }
    let declared = stream
        .split(|byte| !byte.is_ascii_digit())
        .map(<[u8]>::len)
        .max();
    if declared.is_some_and(|digits| digits > ORACLE_DIGITS_MAX) {
        return;
    }
    let Some((args, len)) = oracle(stream) else {
        return;
    };
    let mut canonical = Vec::new();
    encode::command(&mut canonical, &args);
    let attack =
        |name: &[u8]| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:");
    if canonical == stream[..len] && !attack(&args[0]) {
        let first = held.requests.first().map(|found| &found.args);
        assert_eq!(first, Some(&args), "redis-protocol found it");
    }
}

/// The command that redis-protocol finds at the beginning, and how long it is.
fn oracle(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (frame, len) = decode(bytes).ok()??;
    let OwnedFrame::Array(elements) = frame else {
        return None;
    };
    let args: Option<Vec<Vec<u8>>> = elements
        .into_iter()
        .map(|element| match element {
            OwnedFrame::BulkString(bytes) => Some(bytes),
            _ => None,
        })
        .collect();
    args.filter(|args| !args.is_empty()).map(|args| (args, len))
}
