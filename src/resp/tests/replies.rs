//! The reply scanner: what it refuses, its bounds, and its properties, against redis-protocol's decoders.

use proptest::prelude::*;

use super::super::number::take_work;
use super::super::{
    Proto, REPLY_DEPTH_MAX, ReplyError, ReplyScanner, bulk, elements, encode, integer, is_null,
};
use super::fuzzed::replies::{Held, held, run};
use super::{arrivals, every, garbage};

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
        "(\r\n",
        "(1.5\r\n",
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

/// A reply as a server might send it.
#[derive(Clone, Debug)]
enum Frame {
    Line(char, String),
    Bulk(char, Vec<u8>),
    Aggregate(char, Vec<Frame>),
    /// Pairs, and the frame they are about.
    Attributed(Vec<Frame>, Box<Frame>),
}

impl Frame {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Line(kind, text) => out.extend(format!("{kind}{text}\r\n").bytes()),
            Self::Bulk(kind, bytes) => {
                out.extend(format!("{kind}{}\r\n", bytes.len()).bytes());
                out.extend(bytes);
                out.extend(b"\r\n");
            }
            Self::Aggregate(kind, children) => {
                let pairs = if *kind == '%' { 2 } else { 1 };
                out.extend(format!("{kind}{}\r\n", children.len() / pairs).bytes());
                children.iter().for_each(|child| child.write(out));
            }
            Self::Attributed(attributes, frame) => {
                out.extend(format!("|{}\r\n", attributes.len() / 2).bytes());
                attributes.iter().for_each(|child| child.write(out));
                frame.write(out);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn scalar(proto: Proto) -> BoxedStrategy<Frame> {
    let common = prop_oneof![
        "[ -~]{0,20}".prop_map(|text| Frame::Line('+', text)),
        "[A-Z]{1,5} [ -~]{0,20}".prop_map(|text| Frame::Line('-', text)),
        any::<i64>().prop_map(|value| Frame::Line(':', value.to_string())),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Frame::Bulk('$', bytes)),
        "[\r\n*$0-9]{0,9}".prop_map(|text| Frame::Bulk('$', text.into_bytes())),
    ];
    match proto {
        Proto::Resp2 => prop_oneof![
            4 => common,
            1 => prop::sample::select(&['$', '*'][..]).prop_map(|kind| Frame::Line(kind, "-1".into())),
        ]
        .boxed(),
        Proto::Resp3 => prop_oneof![
            4 => common,
            1 => Just(Frame::Line('_', String::new())),
            1 => "[tf]".prop_map(|text| Frame::Line('#', text)),
            1 => any::<f64>().prop_map(|value| Frame::Line(',', value.to_string())),
            1 => "-?[1-9][0-9]{0,30}".prop_map(|text| Frame::Line('(', text)),
            1 => "[A-Z]{1,5} [ -~\r\n]{0,20}".prop_map(|text| Frame::Bulk('!', text.into_bytes())),
            1 => "(txt|mkd):[ -~\r\n]{0,20}".prop_map(|text| Frame::Bulk('=', text.into_bytes())),
        ]
        .boxed(),
    }
}

/// Keys and members of sets are scalars here, because redis-protocol puts them into hash maps.
fn frame(proto: Proto) -> BoxedStrategy<Frame> {
    scalar(proto)
        .prop_recursive(5, 40, 6, move |child| {
            let children = prop::collection::vec(child.clone(), 0..6);
            let pairs = prop::collection::vec((scalar(proto), child), 0..3).prop_map(|pairs| {
                pairs
                    .into_iter()
                    .flat_map(|(key, value)| [key, value])
                    .collect::<Vec<_>>()
            });
            let attributable = scalar(proto)
                .prop_filter("redis-protocol knows no null with attributes", |frame| {
                    !matches!(frame, Frame::Line('_', _))
                });
            let array = children
                .clone()
                .prop_map(|children| Frame::Aggregate('*', children));
            match proto {
                Proto::Resp2 => array.boxed(),
                Proto::Resp3 => prop_oneof![
                    3 => array,
                    1 => prop::collection::vec(scalar(proto), 0..6)
                        .prop_map(|children| Frame::Aggregate('~', children)),
                    1 => children.prop_map(|children| Frame::Aggregate('>', children)),
                    1 => pairs.clone().prop_map(|pairs| Frame::Aggregate('%', pairs)),
                    1 => (pairs, attributable)
                        .prop_map(|(pairs, frame)| Frame::Attributed(pairs, Box::new(frame))),
                ]
                .boxed(),
            }
        })
        .boxed()
}

/// What redis-protocol says about where the reply ends.
fn oracle(bytes: &[u8], proto: Proto) -> Option<usize> {
    match proto {
        Proto::Resp2 => redis_protocol::resp2::decode::decode_range(bytes)
            .unwrap()
            .map(|(_, len)| len),
        Proto::Resp3 => redis_protocol::resp3::decode::complete::decode_range(bytes)
            .unwrap()
            .map(|(_, len)| len),
    }
}

fn agree(
    frames: &[Frame],
    cuts: &[prop::sample::Index],
    proto: Proto,
) -> Result<(), TestCaseError> {
    let mut stream = Vec::new();
    let mut ends = Vec::new();
    for frame in frames {
        let begin = stream.len();
        frame.write(&mut stream);
        prop_assert_eq!(oracle(&stream[begin..], proto), Some(stream.len() - begin));
        ends.push(stream.len());
    }
    for arrivals in [
        arrivals(stream.len(), cuts),
        every(1, stream.len()),
        vec![stream.len()],
    ] {
        prop_assert_eq!(
            held(&stream, arrivals),
            Held {
                ends: ends.clone(),
                error: None
            }
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn resp2_replies_end_where_redis_protocol_says(
        frames in prop::collection::vec(frame(Proto::Resp2), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        agree(&frames, &cuts, Proto::Resp2)?;
    }

    #[test]
    fn resp3_replies_end_where_redis_protocol_says(
        frames in prop::collection::vec(frame(Proto::Resp3), 1..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        agree(&frames, &cuts, Proto::Resp3)?;
    }

    #[test]
    fn elements_are_the_children(
        kind in prop::sample::select(&['*', '~', '>', '%'][..]),
        pairs in prop::collection::vec((frame(Proto::Resp3), frame(Proto::Resp3)), 0..6),
    ) {
        let children: Vec<_> = pairs.into_iter().flat_map(|(key, value)| [key, value]).collect();
        let expected: Vec<_> = children.iter().map(Frame::bytes).collect();
        let reply = Frame::Aggregate(kind, children).bytes();
        let found: Vec<_> = elements(&reply).unwrap().into_iter().map(|range| reply[range].to_vec()).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(elements(&reply[..reply.len() - 1]), None);
    }

    #[test]
    fn what_is_encoded_is_read_back(
        value in any::<i64>(),
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        text in "\\PC{0,20}",
    ) {
        for proto in [Proto::Resp2, Proto::Resp3] {
            let mut out = Vec::new();
            encode::array(&mut out, 7);
            encode::integer(&mut out, value);
            encode::bulk(&mut out, &bytes);
            encode::verbatim(&mut out, &text, proto);
            encode::simple(&mut out, &text);
            encode::null(&mut out, proto);
            encode::null_array(&mut out, proto);
            encode::map(&mut out, 1, proto);
            encode::error(&mut out, &text);
            encode::set(&mut out, 1, proto);
            encode::push(&mut out, 0, proto);
            prop_assert_eq!(held(&out, [out.len()]).ends, [out.len()]);
            let parts: Vec<_> = elements(&out).unwrap().into_iter().map(|range| &out[range]).collect();
            prop_assert_eq!(integer(parts[0]), Some(value));
            prop_assert_eq!(super::super::bulk(parts[1]), Some(&bytes[..]));
            prop_assert_eq!(super::super::bulk(parts[2]), Some(text.as_bytes()));
            prop_assert_eq!(super::super::bulk(parts[3]), Some(text.as_bytes()));
            prop_assert!(is_null(parts[4]) && is_null(parts[5]));
            prop_assert_eq!(elements(parts[6]).unwrap().len(), 2);
        }
    }

    #[test]
    fn garbage_gives_the_same_however_it_is_cut(stream in garbage()) {
        run(&stream);
    }
}
