//! The hit rate that slotway reads from replies, against what the servers themselves count (`keyspace_hits`,
//! `keyspace_misses`), and by groups of keys.

mod support;

use slotway::demo::Cluster;
use support::{Proxy, RawClient, boot_cluster, boot_steady_cluster, encode, on_each, seed};

const KEYS: u64 = 400;
const COMMANDS: usize = 20_000;
const PIPELINE: usize = 50;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn key(&mut self) -> String {
        format!("key:{}", self.below(KEYS))
    }
}

/// What the primaries have counted: hits and misses.
fn of_servers(cluster: &Cluster) -> [u64; 2] {
    let addrs = cluster.addrs();
    let counted = addrs[..3].iter().map(|addr| {
        let info = RawClient::connect(*addr).command(&["INFO", "stats"]);
        let info = String::from_utf8(info).expect("text");
        ["keyspace_hits:", "keyspace_misses:"].map(|field| {
            let line = info.lines().find_map(|line| line.strip_prefix(field));
            line.expect(field).parse::<u64>().expect("a number")
        })
    });
    counted.fold([0, 0], |sum, of| [sum[0] + of[0], sum[1] + of[1]])
}

fn of_slotway(proxy: &Proxy, labels: &[(&str, &str)]) -> [u64; 2] {
    let metrics = proxy.metrics();
    ["hit", "miss"].map(|result| {
        let labels = [labels, &[("result", result)]].concat();
        metrics.sum("slotway_lookups_total", &labels) as u64
    })
}

/// A command whose lookups the servers count as slotway does: a key for a key.
fn counted_alike(random: &mut Random) -> Vec<String> {
    let keys = |random: &mut Random| {
        let n = 1 + random.below(8);
        (0..n).map(|_| random.key()).collect::<Vec<_>>()
    };
    let (name, keys) = match random.below(8) {
        0 | 1 => ("GET", vec![random.key()]),
        2 => ("GETEX", vec![random.key()]),
        3 => ("GETDEL", vec![random.key()]),
        4 => ("MGET", keys(random)),
        5 => ("EXISTS", keys(random)),
        6 => ("TOUCH", keys(random)),
        _ => return vec!["SET".to_owned(), random.key(), "v".to_owned()],
    };
    [vec![name.to_owned()], keys].concat()
}

#[test]
fn hits_and_misses_are_those_that_the_servers_count() {
    let seed = seed("hit_rate");
    on_each(|kind| {
        // A failover would leave what was counted at the old primary.
        let cluster = boot_steady_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut clients = [proxy.client(), proxy.client()];
        let before = of_servers(&cluster);
        for batch in 0..COMMANDS / PIPELINE {
            let client = &mut clients[batch % 2];
            let commands = (0..PIPELINE).map(|_| encode(&counted_alike(&mut random)));
            client.send(&commands.collect::<Vec<_>>().concat());
            client.replies(PIPELINE);
        }
        let after = of_servers(&cluster);
        let servers = [after[0] - before[0], after[1] - before[1]];
        assert!(
            servers.iter().all(|&n| n > COMMANDS as u64 / 4),
            "{servers:?}"
        );
        assert_eq!(
            of_slotway(&proxy, &[]),
            servers,
            "{}, seed {seed}",
            kind.name
        );
        // Here they differ: slotway counts fields, the servers the key.
        let client = &mut clients[0];
        client.command(&["HSET", "hash", "f", "v"]);
        client.command(&["HGET", "hash", "none"]);
        client.command(&["HMGET", "hash", "f", "none", "none"]);
        assert_eq!(of_slotway(&proxy, &[("cmd", "hget")]), [0, 1]);
        assert_eq!(of_slotway(&proxy, &[("cmd", "hmget")]), [1, 2]);
        let hashes = of_servers(&cluster);
        assert_eq!(
            [hashes[0] - after[0], hashes[1] - after[1]],
            [2, 0],
            "{}",
            kind.name
        );
    });
}

#[test]
fn lookups_are_counted_for_the_group_of_their_keys() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let groups = "observe.groups=sessions=sess:*,carts=cart:[0-9]*,carts=basket,odd=*\\**";
        let proxy = Proxy::start(&cluster, &["--set", groups]);
        let mut client = proxy.client();
        client.command(&["SET", "sess:1", "v"]);
        client.command(&["SET", "basket", "v"]);
        client.command(&["GET", "sess:1"]);
        client.command(&["GET", "sess:2"]);
        client.command(&["MGET", "sess:1", "sess:2", "sess:3"]);
        client.command(&["GET", "cart:7"]);
        client.command(&["GETEX", "basket"]);
        client.command(&["GET", "cart:x"]);
        client.command(&["GET", "x*x"]);
        client.command(&["EXISTS", "sess:1", "basket", "x"]);
        client.command(&["HMGET", "sess:h", "a", "b"]);
        let of = |group| of_slotway(&proxy, &[("group", group)]);
        assert_eq!(of("sessions"), [2, 5]);
        assert_eq!(of("carts"), [1, 1]);
        assert_eq!(of("odd"), [0, 1]);
        assert_eq!(of("other"), [0, 1]);
        assert_eq!(of("several"), [2, 1]);
        assert_eq!(of_slotway(&proxy, &[]), [5, 9]);
    });
}

#[test]
fn without_groups_there_is_no_such_label() {
    let cluster = boot_cluster(&support::redis());
    let proxy = Proxy::start(&cluster, &[]);
    proxy.client().expect("GET a", b"$-1\r\n");
    let (_, page) = proxy.get("/metrics").expect("it answers");
    let line = "slotway_lookups_total{cmd=\"get\",result=\"miss\"} 1";
    assert!(page.lines().any(|l| l == line), "{page}");
    let off = Proxy::start(
        &cluster,
        &[
            "--set",
            "observe.hit_rate=false",
            "--set",
            "observe.groups=a=*",
        ],
    );
    off.client().expect("GET a", b"$-1\r\n");
    assert_eq!(of_slotway(&off, &[]), [0, 0]);
}
