//! `/bigkeys`: the keys whose values were large, through the proxy and before real clusters.

mod support;

use serde_json::Value;
use slotway::cluster::Slot;
use slotway::observe::KEY_BYTES_MAX;
use support::{Proxy, boot_cluster, on_each};

/// Bytes of a large value, and a small one.
const LARGE: usize = 100_000;
const SMALL: usize = 60_000;

#[track_caller]
fn of_key<'a>(told: &'a Value, key: &str, direction: &str) -> &'a Value {
    let all = told["keys"].as_array().expect("a list");
    let of = |e: &&Value| e["key"] == key && e["direction"] == direction;
    all.iter()
        .find(of)
        .unwrap_or_else(|| panic!("{key}, {direction}: {told:#}"))
}

#[test]
fn large_values_are_listed_by_key_with_their_largest_size() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        let (large, larger) = ("L".repeat(LARGE), "L".repeat(2 * LARGE));
        let small = "s".repeat(SMALL);
        client.command(&["SET", "one", &large]);
        client.command(&["SET", "one", &larger]);
        client.command(&["SET", "small", &small]);
        client.command(&["GET", "small"]);
        client.command(&["GET", "one"]);
        client.command(&["GET", "one"]);
        // The value of `second`, in whatever shard.
        client.command(&["MSET", "first", "v", "second", &large, "third", "v"]);
        client.command(&["MGET", "first", "second"]);
        client.command(&["MULTI"]);
        client.command(&["SET", "queued", &large]);
        client.command(&["EXEC"]);
        client.command(&["HSET", "hash", "f", &small, "g", &small]);
        client.command(&["HGETALL", "hash"]);
        let told = proxy.json("/bigkeys");
        assert_eq!(told["from_bytes"], 65_536);
        let one = of_key(&told, "one", "written");
        assert_eq!(
            (&one["value_bytes"], &one["count"]),
            (&(2 * LARGE).into(), &2.into())
        );
        assert_eq!(one["cmd"], "set");
        let slot = Slot::of(b"one").number();
        assert_eq!(
            (one["slot"].as_u64(), one["node"].as_str()),
            (Some(slot.into()), proxy.owner_of(slot).as_deref())
        );
        let read = of_key(&told, "one", "read");
        assert_eq!((&read["count"], &read["cmd"]), (&2.into(), &"get".into()));
        assert_eq!(read["value_bytes"], 2 * LARGE + "$200000\r\n\r\n".len());
        assert_eq!(of_key(&told, "second", "written")["value_bytes"], LARGE);
        assert_eq!(of_key(&told, "second", "read")["cmd"], "mget");
        assert_eq!(of_key(&told, "queued", "written")["value_bytes"], LARGE);
        assert!(of_key(&told, "hash", "read")["value_bytes"].as_u64() > Some(2 * SMALL as u64));
        assert_eq!(told["keys"].as_array().unwrap().len(), 6, "{told:#}");
        assert_eq!(told["keys"][0]["key"], "one", "the largest first");
        let counted = proxy.metrics();
        let of = |cmd| counted.sum("slotway_big_values_total", &[("cmd", cmd)]);
        assert_eq!(
            [of("set"), of("get"), of("mset"), of("hgetall")],
            [3.0, 2.0, 1.0, 1.0]
        );
        assert!(!told.to_string().contains("LLLL"), "no value is shown");
    });
}

#[test]
fn many_of_them_and_strange_names_do_no_harm_and_none_is_kept_where_that_is_wished() {
    let cluster = boot_cluster(&support::redis());
    let proxy = Proxy::start(
        &cluster,
        &["--workers", "1", "--set", "observe.big_value=1KB"],
    );
    let off = Proxy::start(
        &cluster,
        &["--workers", "1", "--set", "observe.big_value=off"],
    );
    let value = "v".repeat(2_000);
    let long = "l".repeat(5_000);
    for proxy in [&proxy, &off] {
        let mut client = proxy.client();
        for n in 0..500 {
            client.command(&["SET", &format!("key:{n}"), &value]);
        }
        client.command(&["SET", "</script>\u{1b}\r\n", &value.repeat(2)]);
        // The name itself is what is large.
        client.command(&["SET", &long, "v"]);
    }
    let told = proxy.json("/bigkeys");
    assert_eq!(told["keys"].as_array().unwrap().len(), 128);
    of_key(&told, "</script>\\x1b\\r\\n", "written");
    let cut = of_key(&told, &long[..KEY_BYTES_MAX], "written");
    assert_eq!((&cut["bytes"], &cut["cut"]), (&5_000.into(), &true.into()));
    let told = off.json("/bigkeys");
    assert_eq!(
        (&told["keys"], &told["from_bytes"]),
        (&Value::Array(Vec::new()), &Value::Null)
    );
    assert_eq!(off.metrics().sum("slotway_big_values_total", &[]), 0.0);
}
