//! Fuzzing through sockets: whatever bytes clients send, what comes out of the proxy is what they are authorised to send,
//! once.

#![allow(
    unreachable_pub,
    reason = "a test has modules, and nothing outside that could reach them"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/wire/reading.rs"]
mod reading;
#[path = "fuzz/wire/recorder.rs"]
mod recorder;
#[path = "fuzz/short.rs"]
mod short;
#[path = "fuzz/wire/smuggling.rs"]
mod smuggling;

use std::collections::BTreeSet;
use std::time::Duration;

use recorder::Recorder;
use short::{Inputs, Length};
use slotway::command::CommandTable;
use smuggling::{Model, PASSWORD};
use support::Proxy;

/// What clients may well say.
const WORDS: &[&str] = &[
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "$3\r\nGET\r\n",
    "$3\r\nSET\r\n",
    "$1\r\na\r\n",
    "$1\r\nb\r\n",
    "$-1\r\n",
    "\r\n",
    "\n",
    "MULTI\r\n",
    "EXEC\r\n",
    "DISCARD\r\n",
    "GET a\r\n",
    "SET b 1\r\n",
    "MGET a b c\r\n",
    "DEL a b\r\n",
    "QUIT\r\n",
    "RESET\r\n",
    "HELLO 3\r\n",
    "AUTH open\r\n",
    "AUTH \"open sesame\"\r\n",
    "SUBSCRIBE c\r\n",
    "WATCH a\r\n",
    "BLPOP a 1\r\n",
    "FLUSHALL\r\n",
    "EVAL s 1 a\r\n",
    "SCAN 0\r\n",
    "CLIENT REPLY OFF\r\n",
    "POST \r\n",
    "\"",
    "\0",
    "*1\r\n$4\r\nPING\r\n",
    "$14\r\n*1\r\n$4\r\nQUIT\r\n\r\n",
];
/// How long a client may take to be answered and closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);

/// A key of each node that no input has.
const MARKERS: [&str; 2] = ["fuzz-marker-a", "fuzz-marker-b"];

#[test]
fn nothing_comes_out_that_was_not_sent() {
    smuggle("fuzz: smuggling", false, 4_000);
}

#[test]
fn nothing_comes_out_before_the_password() {
    smuggle("fuzz: smuggling before the password", true, 4_000);
}

fn smuggle(title: &str, password: bool, inputs: usize) {
    let recorder = Recorder::start(2);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PASSWORD).unwrap();
    let option = format!("auth.password_file={}", file.path().display());
    let mut args = vec!["--workers", "1"];
    if password {
        args.extend(["--set", &option]);
    }
    let proxy = Proxy::start_with(&recorder.cluster.addrs(), &args);
    let table = CommandTable::builtin();
    recorder.take();
    let mut late: BTreeSet<String> = BTreeSet::new();
    short::run(
        "smuggling",
        title,
        "scripted",
        Inputs::Mutated(WORDS),
        Length::of(inputs),
        |input| {
            let mut client = proxy.client();
            client.wait_at_most(CLOSED_WITHIN);
            // Where it is cut depends on the input, so that an input says everything.
            let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
            client.try_send_in_pieces(input, &[sum % (input.len() + 1)]);
            client.half_close();
            let answer = client.try_rest().expect("the client is closed");
            // Whoever speaks HTTP is closed at once; what was accepted before that is on its way.
            arrived(&proxy, password);
            let mut model = Model::new(&table, password);
            model.client(input);
            let mut calls = recorder.take();
            calls.retain(|call| {
                !call
                    .args
                    .last()
                    .is_some_and(|key| MARKERS.iter().any(|marker| key == marker.as_bytes()))
            });
            model.compare(input, &calls, &late, &answer);
            late.extend(model.late());
        },
    );
    recorder.cluster.finish();
}

/// Everything that was written to a node is there: commands behind it have been answered.
fn arrived(proxy: &Proxy, password: bool) {
    let mut client = proxy.client();
    if password {
        client.command(&["AUTH", PASSWORD]);
    }
    for hello in ["HELLO 2", "HELLO 3"] {
        client.line(hello);
        for key in MARKERS {
            client.line(&format!("GET {key}"));
        }
    }
}
