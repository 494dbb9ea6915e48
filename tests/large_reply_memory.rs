//! A reply that `limits.memory` has no room for: whoever asked for it hears so, whatever way the command goes, and keeps
//! the connection. Nobody else is closed for it, the resident memory stays within the limit and a tenth, and what is
//! executed is executed once.

mod support;

use slotway::upstream::REPLY_TOO_LARGE;
use std::time::Duration;
use support::{Proxy, RawClient, boot_cluster, encode, one_or_all, valkey};

const MB: usize = 1 << 20;
const LIMIT: usize = 128 * MB;
/// Far more than there is room for.
const VALUE_BYTES: usize = 200 * MB;
/// A reply may take a while even if nothing of it is kept.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// What others have sent of a request: enough for them to be worth closing.
const BEGUN_BYTES: usize = 20_000;
const OTHERS: usize = 50;

const FILL_LIST: &str =
    "for i = 1, 48 do redis.call('RPUSH', KEYS[1], string.rep('x', 1048576)) end return 'ok'";

#[test]
fn who_asks_for_too_much_is_told_and_nobody_else_is_closed() {
    for kind in one_or_all(valkey()) {
        let cluster = boot_cluster(&kind);
        let memory = format!("limits.memory={}MB", LIMIT / MB);
        let args = ["--workers", "2", "--set", &memory];
        let late = [
            "--set",
            "timeouts.command=60s",
            "--set",
            "timeouts.slow_command=60s",
        ];
        let proxy = Proxy::start(&cluster, &[&args[..], &late].concat());
        let mut client = proxy.client();
        client.wait_at_most(READ_WITHIN);
        let last = (VALUE_BYTES - 1).to_string();
        let made = client.line(&format!("SETRANGE {{k}} {last} x"));
        assert_eq!(made, format!(":{VALUE_BYTES}\r\n").as_bytes());
        client.expect("SET {k}n 1", b"+OK\r\n");
        let filled = client.command(&["EVAL", FILL_LIST, "1", "{k}l"]);
        assert_eq!(filled, b"$2\r\nok\r\n");
        let mut others: Vec<_> = (0..OTHERS).map(|n| Other::begin(&proxy, n)).collect();
        let before = proxy.rss() as usize;
        assert!(before < LIMIT / 2, "{before}");

        ask(&mut client);
        others.iter_mut().for_each(Other::end);
        let peak = proxy.peak() as usize;
        println!("{}: {} MB at most", kind.name, peak / MB);
        assert!(peak <= LIMIT / 10 * 11, "{} MB are resident", peak / MB);
        let metrics = proxy.metrics();
        let rejected = metrics.sum("slotway_client_connections_rejected_total", &[]);
        assert_eq!(rejected, 0.0);
        let hits = metrics.sum("slotway_limit_hits_total", &[("limit", "limits.memory")]);
        assert_eq!(hits, WAYS as f64);
        // It is not the nodes' fault.
        let errors = |source| metrics.sum("slotway_command_errors_total", &[("source", source)]);
        assert_eq!(errors("upstream"), 0.0);
        assert_eq!(errors("proxy"), WAYS as f64);
    }
}

/// How many replies are too large.
const WAYS: usize = 9;

/// Over a shared connection, in a transaction, and over a connection of its own; of every form.
fn ask(client: &mut RawClient) {
    client.expect("GET {k}", REPLY_TOO_LARGE);
    // Now it takes the way of large values.
    client.expect("GET {k}", REPLY_TOO_LARGE);
    client.expect("LRANGE {k}l 0 -1", REPLY_TOO_LARGE);
    // Of several nodes one has too much to say.
    client.expect("MGET {k} other:1 other:2 other:3", REPLY_TOO_LARGE);

    client.expect("MULTI", b"+OK\r\n");
    client.expect("INCR {k}n", b"+QUEUED\r\n");
    client.expect("GET {k}", b"+QUEUED\r\n");
    client.expect("EXEC", REPLY_TOO_LARGE);
    client.expect("GET {k}n", b"$1\r\n2\r\n");

    client.expect("WATCH {k}n", b"+OK\r\n");
    client.expect("GET {k}", REPLY_TOO_LARGE);
    client.expect("LRANGE {k}l 0 -1", REPLY_TOO_LARGE);
    client.expect("GET {k}n", b"$1\r\n2\r\n");
    client.expect("MULTI", b"+OK\r\n");
    client.expect("INCR {k}n", b"+QUEUED\r\n");
    client.expect("GET {k}", b"+QUEUED\r\n");
    client.expect("EXEC", REPLY_TOO_LARGE);
    client.expect("GET {k}n", b"$1\r\n3\r\n");
    // Nothing of it is left in front of what comes next.
    client.send(b"GET {k}\r\nGET {k}n\r\nPING\r\n");
    assert_eq!(
        client.replies(3),
        [REPLY_TOO_LARGE, b"$1\r\n3\r\n", b"+PONG\r\n"]
    );
}

/// Somebody who has sent the beginning of a request.
struct Other {
    client: RawClient,
    rest: Vec<u8>,
}

impl Other {
    fn begin(proxy: &Proxy, n: usize) -> Self {
        let set = encode(&["SET", &format!("other:{n}"), &"v".repeat(2 * BEGUN_BYTES)]);
        let (begin, rest) = set.split_at(BEGUN_BYTES);
        let mut client = proxy.client();
        client.expect("PING", b"+PONG\r\n");
        client.send(begin);
        let rest = rest.to_vec();
        Self { client, rest }
    }

    fn end(&mut self) {
        self.client.send(&self.rest);
        assert_eq!(self.client.reply(), b"+OK\r\n");
    }
}
