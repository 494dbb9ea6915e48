//! The properties of the reply scanner and of the views into replies, for frames that are drawn: they end where
//! redis-protocol says, however they are cut, and what is encoded is read back.

use proptest::prelude::*;

use super::super::{Proto, bulk, elements, encode, integer, is_null};
use super::fuzzed::replies::{Held, held, run};
use super::{arrivals, every, garbage};

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
            prop_assert_eq!(bulk(parts[1]), Some(&bytes[..]));
            prop_assert_eq!(bulk(parts[2]), Some(text.as_bytes()));
            prop_assert_eq!(bulk(parts[3]), Some(text.as_bytes()));
            prop_assert!(is_null(parts[4]) && is_null(parts[5]));
            prop_assert_eq!(elements(parts[6]).unwrap().len(), 2);
        }
    }

    #[test]
    fn garbage_gives_the_same_however_it_is_cut(stream in garbage()) {
        run(&stream);
    }
}
