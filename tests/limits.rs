//! Every bound of the sections `limits` and `timeouts`, and [`OTHERS`], is reached: the client sees what the option's text says, it is
//! counted in `slotway_limit_hits_total`, and the others go on. [`REACHED`] says which test does so for which option;
//! an option without one, or a row without its test, fails.

mod support;

#[path = "limits/clients.rs"]
mod clients;
#[path = "limits/lanes.rs"]
mod lanes;
#[path = "limits/memory.rs"]
mod memory;
#[path = "limits/modes.rs"]
mod modes;
#[path = "limits/requests.rs"]
mod requests;
#[path = "limits/times.rs"]
mod times;

use slotway::cluster::Slot;
use slotway::config::OPTIONS;
use slotway::observe::Limit;
use std::collections::BTreeSet;
use std::path::Path;
use support::node::{Action, FakeCluster, Gate};
use support::{Proxy, RawClient, SHOWN_WITHIN, encode};

/// Bounds of other sections that are counted.
const OTHERS: &[&str] = &["upstream.bulk_bytes", "upstream.leases"];

/// The option, and the test that reaches it: `tests/limits/FILE.rs`, `NAME`.
const REACHED: &[(&str, &str, &str)] = &[
    (
        "limits.memory",
        "memory",
        "what_is_large_is_refused_then_the_largest_client_is_closed",
    ),
    (
        "limits.clients",
        "clients",
        "one_client_too_many_is_turned_away",
    ),
    (
        "limits.client_in_flight",
        "clients",
        "a_client_with_too_much_in_flight_is_not_read",
    ),
    (
        "limits.client_in_flight_bytes",
        "clients",
        "a_client_with_too_much_in_flight_is_not_read",
    ),
    (
        "limits.client_output_hard",
        "clients",
        "a_client_that_does_not_read_is_closed",
    ),
    (
        "limits.client_output_soft",
        "clients",
        "a_client_that_does_not_read_for_a_while_is_closed",
    ),
    (
        "limits.client_output_soft_time",
        "clients",
        "a_client_that_does_not_read_for_a_while_is_closed",
    ),
    (
        "limits.request",
        "requests",
        "what_is_too_large_is_a_protocol_error",
    ),
    (
        "limits.argument",
        "requests",
        "what_is_too_large_is_a_protocol_error",
    ),
    (
        "limits.arguments",
        "requests",
        "what_is_too_large_is_a_protocol_error",
    ),
    (
        "limits.inline",
        "requests",
        "what_is_too_large_is_a_protocol_error",
    ),
    (
        "limits.preauth_arguments",
        "requests",
        "less_is_allowed_before_auth",
    ),
    (
        "limits.preauth_argument",
        "requests",
        "less_is_allowed_before_auth",
    ),
    (
        "limits.reply_depth",
        "lanes",
        "a_reply_that_is_nested_too_deeply_ends_its_connection",
    ),
    (
        "limits.lane_in_flight",
        "lanes",
        "requests_wait_for_room_in_a_lane",
    ),
    (
        "limits.lane_in_flight_bytes",
        "lanes",
        "requests_wait_for_room_in_a_lane",
    ),
    ("limits.transaction_commands", "modes", "modes_are_bounded"),
    ("limits.transaction_bytes", "modes", "modes_are_bounded"),
    ("limits.subscribers", "modes", "modes_are_bounded"),
    ("limits.subscriptions", "modes", "modes_are_bounded"),
    (
        "limits.redirections",
        "lanes",
        "redirections_are_followed_so_often_and_no_more",
    ),
    ("limits.blocked_clients", "modes", "modes_are_bounded"),
    ("limits.watchers", "modes", "modes_are_bounded"),
    ("limits.monitors", "modes", "modes_are_bounded"),
    ("limits.monitor_buffer", "modes", "modes_are_bounded"),
    ("limits.scripts", "modes", "scripts_are_bounded"),
    ("limits.script_bytes", "modes", "scripts_are_bounded"),
    (
        "timeouts.connect",
        "times",
        "a_node_that_does_not_shake_hands",
    ),
    ("timeouts.command", "times", "a_node_that_does_not_answer"),
    (
        "timeouts.slow_command",
        "times",
        "a_node_that_does_not_answer",
    ),
    (
        "timeouts.unavailable",
        "times",
        "a_node_that_does_not_shake_hands",
    ),
    (
        "timeouts.queue",
        "lanes",
        "a_request_does_not_wait_for_ever_for_a_full_lane",
    ),
    (
        "timeouts.drain",
        "times",
        "a_drain_that_takes_too_long_is_ended",
    ),
    ("timeouts.idle", "times", "an_idle_client_is_closed"),
    (
        "upstream.bulk_bytes",
        "../bulk",
        "a_client_with_large_values_is_told_what_it_waited_for",
    ),
    (
        "upstream.leases",
        "modes",
        "connections_of_single_clients_are_bounded",
    ),
];

#[test]
fn every_limit_is_counted_and_has_a_test() {
    let options: BTreeSet<_> = OPTIONS.iter().map(|option| option.name).collect();
    let bounds = options.into_iter().filter(|name| {
        name.starts_with("limits.") || name.starts_with("timeouts.") || OTHERS.contains(name)
    });
    let bounds: BTreeSet<_> = bounds.collect();
    let counted: BTreeSet<_> = Limit::ALL.iter().map(|limit| limit.label()).collect();
    assert_eq!(counted, bounds, "slotway_limit_hits_total");
    let reached: BTreeSet<_> = REACHED.iter().map(|(option, ..)| *option).collect();
    assert_eq!(reached, bounds, "tests");
    for (option, file, test) in REACHED {
        let text = source(file);
        let body = body(&text, test).unwrap_or_else(|| panic!("{file}.rs has no test {test}"));
        // Where the option is set, and where its count is looked at.
        let named = body.matches(option).count();
        assert!(named >= 2, "{test} reaches {option}, it is said: {named}");
    }
}

fn source(file: &str) -> String {
    let path = format!("tests/limits/{file}.rs");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// From a test's head to the end of its body.
fn body<'a>(text: &'a str, test: &str) -> Option<&'a str> {
    let head = format!("#[test]\nfn {test}() {{\n");
    let from = text.find(&head)? + head.len();
    text[from..].split("\n}\n").next()
}

/// Arguments of the proxy that set these options, with one worker.
fn set<'a>(options: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--workers", "1"];
    args.extend(options.iter().flat_map(|option| ["--set", *option]));
    args
}

/// A scripted node, and a proxy with these options. The node answers GETRANGE with the nonce in the place of the start,
/// GET with a value of 1 MB for keys that begin with `big`, and with nothing for others before the gate is open.
fn start(options: &[&str]) -> (FakeCluster, Proxy, Gate) {
    let cluster = FakeCluster::start(1);
    let gate = Gate::default();
    let held = gate.clone();
    cluster.on(0, move |call| {
        let key = call.args.get(1).map_or(&b""[..], Vec::as_slice);
        let reply = match call.name().as_str() {
            "WATCH" | "UNWATCH" => b"+OK\r\n".to_vec(),
            "GET" if key.starts_with(b"big") => {
                format!("$1048576\r\n{}\r\n", "v".repeat(1 << 20)).into_bytes()
            }
            "GETRANGE" => [b"+", call.args[2].as_slice(), b"\r\n"].concat(),
            "GET" | "EVAL" => {
                let wait = Action::Wait(held.clone());
                return Some(vec![wait, Action::Send(b"$-1\r\n".to_vec())]);
            }
            "MGET" | "MSET" => b"+taken\r\n".to_vec(),
            "DBSIZE" => b":7\r\n".to_vec(),
            _ => return None,
        };
        Some(vec![Action::Send(reply)])
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &set(options));
    (cluster, proxy, gate)
}

/// How often a bound was reached.
fn hits(proxy: &Proxy, option: &str) -> f64 {
    proxy
        .metrics()
        .sum("slotway_limit_hits_total", &[("limit", option)])
}

/// Waits until it was reached for the first time.
#[track_caller]
fn wait_hit(proxy: &Proxy, option: &str) {
    proxy.wait_for(option, SHOWN_WITHIN, || match hits(proxy, option) {
        1.0.. => Ok(()),
        n => Err(format!("{n} hits")),
    });
}

/// Another client is served as ever.
#[track_caller]
fn others_are_served(proxy: &Proxy) {
    served(&mut proxy.client());
}

#[track_caller]
fn served(client: &mut RawClient) {
    client.send(&encode(&["GETRANGE", "other", "nonce", "0"]));
    assert_eq!(client.reply(), b"+nonce\r\n");
}

/// The slot of a key.
fn slot(key: &str) -> u16 {
    Slot::of(key.as_bytes()).number()
}
