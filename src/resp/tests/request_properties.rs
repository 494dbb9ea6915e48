//! Any cut of any stream gives the same requests: those that a client meant, and of garbage what the fuzz target says.

use proptest::prelude::*;

use super::super::encode;
use super::fuzzed::requests::{LIMITS, held, run, sound};
use super::{arrivals, every, garbage};

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
            let held = held(&stream, arrivals, &LIMITS);
            prop_assert_eq!(held.error, None);
            let found: Vec<_> = held.requests.iter().map(|found| &found.args).collect();
            prop_assert_eq!(found, expected.iter().collect::<Vec<_>>());
            sound(&stream, &held, &LIMITS);
        }
    }

    #[test]
    fn garbage_gives_the_same_however_it_is_cut(stream in garbage()) {
        run(&stream);
    }
}
