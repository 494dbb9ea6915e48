//! Scenario 10: the proxy is started when nothing listens on the addresses it was given. Then there are nodes, then they
//! are a cluster. And slots lose their owner, and get it back: the others are served all the time.

use super::serving::{Serving, options, tags};
use crate::rig::stage::ms;
use crate::support::{
    Proxy, SHOWN_WITHIN, Scenario, ServerKind, is_long, one_or_all, redis, rounds, show, valkey,
};
use slotway::demo::Cluster;
use std::time::Duration;

/// What the proxy may add to the cluster's own time, in the long form.
const ADDED_MAX: Duration = Duration::from_secs(1);

#[test]
fn the_proxy_is_there_before_the_cluster() {
    one_or_all(valkey())
        .iter()
        .for_each(the_proxy_is_there_first);
}

fn the_proxy_is_there_first(kind: &ServerKind) {
    for _ in 0..rounds() {
        let mut row = Scenario::begin(10, "proxy before the cluster", kind.name);
        let mut cluster = Cluster::start(&options(kind)).unwrap();
        (0..cluster.len()).for_each(|node| cluster.kill(node));
        let proxy = Proxy::spawn(&cluster.addrs(), &["--workers", "2"]);
        let refreshes = || {
            let metrics = proxy.metrics();
            metrics.sum("slotway_topology_refreshes_total", &[])
        };
        proxy.wait_for("it tries", SHOWN_WITHIN, || match refreshes() {
            n if n >= 3.0 => Ok(()),
            n => Err(format!("{n} times")),
        });
        let serving = Serving::observe(&cluster, proxy.addr());
        // Nodes, but no cluster.
        (0..cluster.len()).for_each(|node| cluster.restart(node).unwrap());
        let alone = refreshes();
        proxy.wait_for("it asks them", SHOWN_WITHIN, || match refreshes() {
            n if n >= alone + 3.0 => Ok(()),
            n => Err(format!("{n} times")),
        });
        cluster.form(&Default::default()).unwrap();
        let served = serving.served();
        proxy.wait_ready();
        row.figure("served by the cluster after", ms(served.cluster));
        row.figure("through the proxy", ms(served.proxy));
        row.figure("RSS", format!("{} MB", proxy.rss() >> 20));
        eprintln!("{}: proxy first: {served:?}", kind.name);
        if is_long() {
            assert!(served.added() <= ADDED_MAX, "{served:?}");
        }
        row.passed();
    }
}

#[test]
fn slots_may_have_no_owner() {
    one_or_all(redis()).iter().for_each(slots_have_no_owner);
}

fn slots_have_no_owner(kind: &ServerKind) {
    let cluster = Cluster::boot(&options(kind)).unwrap();
    let proxy = Proxy::start(&cluster, &["--set", "timeouts.unavailable=1s"]);
    let tags = tags(&cluster);
    let (first, last) = cluster.booted_slots(0);
    let slots = [first.to_string(), last.to_string()];
    for _ in 0..rounds() {
        let mut row = Scenario::begin(10, "slots without an owner", kind.name);
        let mut client = proxy.client();
        for node in 0..cluster.len() {
            // Each of them: what one forgets, it learns of the others again.
            cluster
                .ask(node, &["CLUSTER", "DELSLOTSRANGE", &slots[0], &slots[1]])
                .unwrap();
        }
        proxy.wait_for("it is known", SHOWN_WITHIN, || {
            let covered = proxy.metrics().sum("slotway_slots_covered", &[]);
            // The proxy asks when a command finds nobody.
            client.line(&format!("GET {}", tags[0]));
            match covered {
                n if n < 16384.0 => Ok(()),
                n => Err(format!("{n} slots are covered")),
            }
        });
        for (tag, told) in tags.iter().zip([&b"-CLUSTERDOWN "[..], b"+OK", b"+OK"]) {
            let got = client.line(&format!("SET {tag} 1"));
            assert!(got.starts_with(told), "{tag}: {}", show(&got));
        }
        let serving = Serving::observe(&cluster, proxy.addr());
        let back = ["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]];
        cluster.ask(0, &back).unwrap();
        let served = serving.served();
        row.figure("served by the cluster after", ms(served.cluster));
        row.figure("through the proxy", ms(served.proxy));
        row.figure("RSS", format!("{} MB", proxy.rss() >> 20));
        eprintln!("{}: slots without an owner: {served:?}", kind.name);
        if is_long() {
            assert!(served.added() <= ADDED_MAX, "{served:?}");
        }
        row.passed();
        cluster.wait_healthy(SHOWN_WITHIN).unwrap();
    }
}
