//! `/hotkeys`: which keys are asked for most, through the proxy and before real clusters, under loads whose hottest keys
//! are known.

mod support;

use serde_json::Value;
use slotway::cluster::Slot;
use slotway::observe::KEY_BYTES_MAX;
use support::{Proxy, boot_cluster, encode, servers};

/// Keys of the load, and commands of it.
const KEYS: usize = 20_000;
const COMMANDS: usize = 200_000;
const PIPELINE: usize = 100;

/// The load draws the key of rank r 1/r as often as the first (Zipf); the same draws every time.
struct Zipf {
    bounds: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(keys: usize) -> Self {
        let bounds = (1..=keys).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self {
            bounds: bounds.collect(),
            state: 0x2545_F491_4F6C_DD1D,
        }
    }

    /// A rank, from 0.
    fn draw(&mut self) -> usize {
        let x = &mut self.state;
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        let at = (*x >> 11) as f64 / (1u64 << 53) as f64 * self.bounds[self.bounds.len() - 1];
        self.bounds.partition_point(|&b| b <= at)
    }

    fn share(&self, rank: usize) -> f64 {
        1.0 / (rank + 1) as f64 / self.bounds[self.bounds.len() - 1]
    }
}

fn names(told: &Value) -> Vec<&str> {
    let keys = told["keys"].as_array().expect("a list");
    keys.iter()
        .map(|k| k["key"].as_str().expect("text"))
        .collect()
}

#[test]
fn the_hottest_keys_of_a_zipf_load_are_told_with_their_shares_and_nodes() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        let mut zipf = Zipf::new(KEYS);
        let name = |rank: usize| format!("item:{rank:05}");
        for _ in 0..COMMANDS / PIPELINE {
            let batch: Vec<u8> = (0..PIPELINE)
                .flat_map(|_| encode(&["GET", &name(zipf.draw())]))
                .collect();
            client.send(&batch);
            client.replies(PIPELINE);
        }
        let told = proxy.json("/hotkeys");
        let found = names(&told);
        assert_eq!(found.len(), 128, "{}", kind.name);
        let top: Vec<String> = (0..10).map(name).collect();
        let missed: Vec<&String> = (top.iter().filter(|n| !found.contains(&n.as_str()))).collect();
        assert!(missed.is_empty(), "{}: {missed:?} of {found:?}", kind.name);
        assert_eq!(found[0], name(0), "{}", kind.name);
        // A tenth of all commands, seen in about 600 samples: a quarter off is six sigma.
        let share = told["keys"][0]["share"].as_f64().unwrap();
        let expected = zipf.share(0);
        assert!(
            (share / expected - 1.0).abs() < 0.25,
            "{share}, expected {expected}"
        );
        for key in told["keys"].as_array().unwrap() {
            let slot = Slot::of(key["key"].as_str().unwrap().as_bytes()).number();
            assert_eq!(key["slot"], slot);
            let shard = (0..3).find(|&i| {
                let (first, last) = cluster.booted_slots(i);
                (first..=last).contains(&slot)
            });
            let owner = cluster.addrs()[shard.expect("an owner")].to_string();
            assert_eq!(key["node"], owner.as_str(), "{key}");
        }
    }
}

/// Keys of one command over several slots are asked for like any others; a key that is no text, or long, does no harm.
#[test]
fn members_of_an_mget_count_and_strange_keys_are_shown_as_text() {
    let kind = support::redis();
    let cluster = boot_cluster(&kind);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    let long = "l".repeat(10_000);
    for _ in 0..4_000 {
        let batch = [
            encode(&["MGET", "a", "b", "c"]),
            encode(&["SET", "<script>\"\u{1b}[31m\r\n", "secret value"]),
            encode(&["GET", &long]),
            encode(&["MULTI"]),
            encode(&["GET", "in a transaction"]),
            encode(&["EXEC"]),
        ];
        client.send(&batch.concat());
        client.replies(6);
    }
    let told = proxy.json("/hotkeys");
    let found = names(&told);
    for expected in [
        "a",
        "b",
        "c",
        "in a transaction",
        "<script>\\\"\\x1b[31m\\r\\n",
        &long[..KEY_BYTES_MAX],
    ] {
        assert!(found.contains(&expected), "{expected} in {found:?}");
    }
    assert_eq!(found.len(), 6);
    let text = told.to_string();
    assert!(!text.contains("secret"), "no value is shown: {text}");
    let cut = told["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["cut"] == true);
    assert_eq!(cut.expect("the long one")["bytes"], long.len());
    // Each is a sixth of all keys.
    for key in told["keys"].as_array().unwrap() {
        let share = key["share"].as_f64().unwrap();
        assert!((0.09..0.28).contains(&share), "{key}");
    }
}

#[test]
fn none_is_kept_where_that_is_wished() {
    let cluster = boot_cluster(&support::redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", "observe.hot_keys=0"]);
    let mut client = proxy.client();
    for _ in 0..1_000 {
        client.expect("GET a", b"$-1\r\n");
    }
    assert_eq!(names(&proxy.json("/hotkeys")), [] as [&str; 0]);
}
