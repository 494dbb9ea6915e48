//! A node that serves so many requests a second and no more, and clients that want three times that.

use super::open_loop::{Offer, Outcome};
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, Scenario, is_long, rounds, seed};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What the node serves, in requests per second: so little that the machine has no part in it.
const SERVED: u32 = 2_000;

/// Of that, what is asked for while the peak is looked for, in percent.
const RAMP: &[u32] = &[50, 80, 100, 120];

/// Overload, in percent.
const OVERLOAD: u32 = 300;

/// `timeouts.queue`; the wait in the lane is as long.
const QUEUE: Duration = Duration::from_millis(500);

/// `timeouts.command`, and what a client waits.
const PATIENCE: Duration = Duration::from_secs(2);

const CONNECTIONS: u32 = 20;

/// How much later than `timeouts.queue` a refusal may be heard: replies come in the order of the requests, so it waits
/// for what is in the lane already.
const REFUSAL_MAX: Duration = Duration::from_millis(1_500);

/// Lets a backlog go before the next step.
const LEFTOVERS: Duration = Duration::from_secs(30);

fn node() -> FakeCluster {
    let cluster = FakeCluster::start(1);
    let free = Cell::new(Instant::now());
    cluster.on(0, move |call| {
        if call.name() != "GET" {
            return None;
        }
        // Its time is spent request by request, however late its thread wakes up.
        let idle_since = Instant::now() - Duration::from_millis(5);
        free.set(free.get().max(idle_since) + Duration::from_secs(1) / SERVED);
        let reply = [b"+", &call.args[1][..], b"\r\n"].concat();
        Some(vec![Action::Until(free.get()), Action::Send(reply)])
    });
    cluster
}

#[test]
fn goodput_stays_at_three_times_the_load() {
    (0..rounds()).for_each(|_| round(seed("paced")));
}

fn round(seed: u64) {
    let mut scenario = Scenario::begin(17, "a node of limited speed", "-");
    scenario.seeded(seed);
    let cluster = node();
    let set = [
        format!("timeouts.queue={}ms", QUEUE.as_millis()),
        format!("timeouts.command={}ms", PATIENCE.as_millis()),
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let offer = |percent: u32, time: u64| Offer {
        rate: SERVED / 100 * percent,
        time: Duration::from_secs(time),
        patience: PATIENCE,
        connections: CONNECTIONS,
    };
    let quiet = || {
        proxy.wait_for("nothing is in flight", LEFTOVERS, || {
            super::refusals::in_flight(&proxy, 0.0)
        });
    };
    let mut peak = 0.0f64;
    let mut all = Outcome::default();
    for percent in RAMP {
        let step = offer(*percent, 1);
        let outcome = step.make(proxy.addr(), seed + u64::from(*percent));
        eprintln!("{percent} %: {:.0}/s, {outcome:?}", outcome.goodput());
        peak = peak.max(outcome.goodput());
        all += outcome;
        quiet();
    }
    let step = offer(OVERLOAD, if is_long() { 20 } else { 5 });
    let over = step.make(proxy.addr(), seed);
    eprintln!("{OVERLOAD} %: {:.0}/s, {over:?}", over.goodput());
    all += over;
    quiet();
    let answered = all.good + all.stale + all.refused + all.late;
    assert_eq!(answered, all.offered, "each is answered, once");
    assert!(over.refused > 0, "there was too much");
    let metrics = proxy.metrics();
    let queue = [("reason", "queue")];
    let counted = metrics.sum("slotway_upstream_errors_total", &queue);
    assert_eq!(counted, all.refused as f64, "every refusal is counted");
    let unknown = metrics.sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(unknown, all.late as f64, "and so is what is not known");
    let sent = cluster.count(0, "GET") as u64;
    assert_eq!(sent, all.offered - all.refused, "refused is never sent");
    let ratio = over.goodput() / peak;
    scenario.figure("peak", format!("{peak:.0} /s"));
    scenario.figure("goodput at 3×", format!("{:.0} %", 100.0 * ratio));
    let slowest = over.slowest_refusal.as_millis();
    scenario.figure("slowest refusal", format!("{slowest} ms"));
    scenario.figure("late", over.late);
    if is_long() {
        assert!(ratio >= 0.9, "goodput fell to {ratio:.2} of {peak:.0}/s");
        assert!(over.slowest_refusal <= REFUSAL_MAX);
    }
    scenario.passed();
    cluster.finish();
}
