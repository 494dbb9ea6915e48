//! A client is told that it has not subscribed, and its node, a scripted one, has subscribed it all the same: what comes of
//! that is not for the client. What it had subscribed to before it goes on hearing.

use crate::message;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, encode, show};

/// Two sharded channels of one slot.
const CHANNELS: [&str; 2] = ["{c}1", "{c}2"];

/// What a client of RESP2 hears of its first channel.
const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";

/// As a node pushes it.
fn push(words: &[&str]) -> Vec<u8> {
    let mut bytes = encode(words);
    bytes[0] = b'>';
    bytes
}

fn confirmation(word: &str, channel: &str) -> Vec<u8> {
    let words = push(&[word, channel]);
    let head = b">3".iter().chain(&words[2..]);
    head.chain(b":1\r\n").copied().collect()
}

/// A node that confirms all subscriptions but those of `CHANNELS`, which `sharded` answers: by channel, what it does.
fn node(sharded: impl Fn(&str) -> Vec<Action> + Send + 'static) -> FakeCluster {
    let cluster = FakeCluster::start(1);
    cluster.on(0, move |call| {
        let channel = call.args.get(1).map(|arg| String::from_utf8_lossy(arg));
        let channel = channel.unwrap_or_default();
        let word = call.name().to_ascii_lowercase();
        match word.as_str() {
            "ssubscribe" => Some(sharded(&channel)),
            "subscribe" | "sunsubscribe" => Some(vec![Action::Send(confirmation(&word, &channel))]),
            _ => None,
        }
    });
    cluster
}

/// What a node sends that has subscribed its client to the channel: the confirmation, and a message.
fn subscribed(channel: &str) -> Vec<u8> {
    let heard = push(&["smessage", channel, "for nobody"]);
    [confirmation("ssubscribe", channel), heard].concat()
}

#[test]
fn a_node_that_subscribes_too_late_is_not_heard() {
    let gate = Gate::default();
    let held = gate.clone();
    let cluster = node(move |channel| {
        let said = [subscribed(channel), push(&["message", "news", "1"])];
        vec![Action::Wait(held.clone()), Action::Send(said.concat())]
    });
    let patience = ["--set", "timeouts.unavailable=2s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &patience);
    let mut client = proxy.client();
    client.expect("SUBSCRIBE news", SUBSCRIBED);
    let got = client.line(&format!("SSUBSCRIBE {}", CHANNELS[0]));
    assert!(
        got.starts_with(b"-CLUSTERDOWN slotway: not subscribed"),
        "{}",
        show(&got)
    );
    gate.open();
    assert_eq!(show(&client.reply()), show(&message("news", "1")));
    cluster.finish();
}

/// One of two channels of a command is refused, and so the command is: of the other nothing is heard either, even of what came
/// before the refusal.
#[test]
fn what_came_before_the_command_was_refused_is_not_heard() {
    let cluster = node(|channel| {
        let refused = b"-NOPERM No permissions to access a channel\r\n".to_vec();
        let said = match channel == CHANNELS[0] {
            true => subscribed(channel),
            false => [refused, push(&["message", "news", "1"])].concat(),
        };
        vec![Action::Send(said)]
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &[]);
    let mut client = proxy.client();
    client.expect("SUBSCRIBE news", SUBSCRIBED);
    let got = client.line(&format!("SSUBSCRIBE {} {}", CHANNELS[0], CHANNELS[1]));
    assert!(got.starts_with(b"-NOPERM "), "{}", show(&got));
    assert_eq!(show(&client.reply()), show(&message("news", "1")));
    cluster.finish();
}
