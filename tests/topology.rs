//! The topology task against real clusters: it finds them, follows failovers and resharding, keeps to its rate, and
//! believes no MOVED to an address that topology did not name. On every kind of server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use slotway::cluster::{NodeAddr, SLOTS, Said, Slot, SlotMap};
use slotway::command::CommandTable;
use slotway::demo::{Cluster, wait_until};
use slotway::observe::TopologyMetrics;
use slotway::topology::{Mood, Report, Topology, TopologySettings, TopologyStatus, Trigger};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{boot_cluster, cluster_options, on_each};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Room for a busy machine; every wait ends when its condition holds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Refreshes per second, and how many may come at once: the rate that operators are promised.
const RATE: f64 = 2.0;
const BURST: f64 = 6.0;

/// A topology task on a runtime of its own, as on the control thread.
struct Control {
    topology: Topology,
    metrics: Arc<TopologyMetrics>,
    /// Dropped with the rest: ends the runtime and its thread.
    _running: oneshot::Sender<()>,
}

impl Control {
    fn start(seeds: Vec<NodeAddr>) -> Self {
        Self::start_with(TopologySettings::new(seeds))
    }

    fn start_with(settings: TopologySettings) -> Self {
        let metrics = Arc::new(TopologyMetrics::new());
        let (running, stopped) = oneshot::channel::<()>();
        let (started, topology) = std::sync::mpsc::sync_channel(1);
        let counted = Arc::clone(&metrics);
        std::thread::spawn(move || {
            runtime().block_on(async {
                let topology = Topology::spawn(settings, CommandTable::builtin(), counted);
                started.send(topology).unwrap();
                let _ = stopped.await;
            });
        });
        Self {
            topology: topology.recv().unwrap(),
            metrics,
            _running: running,
        }
    }

    fn status(&self) -> Arc<TopologyStatus> {
        self.topology.status().load_full()
    }

    /// Waits until `check` holds for the map and the status.
    fn wait(&self, what: &str, check: impl Fn(&SlotMap, &TopologyStatus) -> bool) {
        wait_until(what, PATIENCE, &Default::default(), || {
            let (map, status) = (self.topology.map(), self.status());
            match check(&map, &status) {
                true => Ok(()),
                false => Err(format!(
                    "{:?} {:?} {:?}",
                    **map, status.mood, status.last_error
                )),
            }
        })
        .unwrap();
    }

    /// Waits until the cluster is found and nothing is open.
    fn wait_settled(&self) {
        self.wait("settled", |_, status| status.mood == Mood::Settled);
    }

    fn owner(&self, slot: u16) -> Option<NodeAddr> {
        owner(&self.topology.map(), slot)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// What `future` comes to.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    runtime()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .expect("in time")
}

fn owner(map: &SlotMap, number: u16) -> Option<NodeAddr> {
    map.owner(slot(number)).map(|i| map.node(i).addr.clone())
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn addr(of: SocketAddr) -> NodeAddr {
    NodeAddr::new(of.ip().to_string(), of.port())
}

fn node(cluster: &Cluster, index: usize) -> NodeAddr {
    addr(cluster.addr(index))
}

#[test]
fn it_finds_the_cluster_from_one_seed_and_tells_what_it_is() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        // Of two seeds one is dead.
        let seeds = vec![NodeAddr::new("127.0.0.1", 1), node(&cluster, 4)];
        let control = Control::start(seeds);
        control.wait_settled();
        let map = control.topology.map();
        assert_eq!((map.nodes().len(), map.covered()), (6, SLOTS));
        for primary in 0..3 {
            assert_eq!(
                owner(&map, cluster.booted_slots(primary).0),
                Some(node(&cluster, primary))
            );
        }
        let server = control.topology.server().load_full();
        assert!(!server.version.is_empty());
        assert!(server.node_timeout.is_some());
        assert_eq!(
            (
                control.metrics.slots_covered(),
                control.metrics.primaries(),
                control.metrics.replicas()
            ),
            (16_384, 3, 3)
        );

        control.wait("the table is the server's", |_, _| {
            let table = control.topology.table();
            let table = table.load();
            table.by_name("get").is_some()
                && table.by_name("delifeq").is_some() == (server.name == "valkey")
        });
        let json = serde_json::to_value(&*control.status()).unwrap();
        assert_eq!(json["ranges"].as_array().unwrap().len(), 3, "{json:#}");
        assert_eq!(json["nodes"].as_array().unwrap().len(), 6);
        assert!(
            json["age_ms"].is_u64() && json["last_error"].is_null(),
            "{json:#}"
        );
    });
}

#[test]
fn it_follows_a_killed_and_a_paused_primary() {
    on_each(|kind| {
        let mut cluster = boot_cluster(kind);
        let control = Control::start(cluster.seeds());
        control.wait_settled();
        let first = cluster.booted_slots(0).0;
        let heir = cluster.replica_of(0).unwrap();
        cluster.kill(0);
        control.topology.report(Report::Suspect {
            node: node(&cluster, 0),
            why: Trigger::ConnectionLost,
        });
        let heir_addr = node(&cluster, heir);
        control.wait("the replica owns", |map, _| {
            owner(map, first).as_ref() == Some(&heir_addr)
        });
        assert_eq!(control.topology.map().covered(), SLOTS);
        cluster.restart(0).unwrap();
        cluster.wait_healthy(PATIENCE).unwrap();
        control.wait("all six are named again", |map, _| map.nodes().len() == 6);
        assert_eq!(control.owner(first), Some(heir_addr));

        // A node that accepts and does not answer; nobody reports it, the answers of the others tell.
        let first = cluster.booted_slots(1).0;
        let heir = node(&cluster, cluster.replica_of(1).unwrap());
        cluster.pause(1).unwrap();
        control.wait("the other replica owns", |map, _| {
            owner(map, first).as_ref() == Some(&heir)
        });
        cluster.resume(1).unwrap();
        cluster.wait_healthy(PATIENCE).unwrap();
        control.wait_settled();
        assert_eq!(control.owner(first), Some(heir));
    });
}

fn just_now() -> Said {
    let now = Instant::now();
    Said {
        after: now,
        before: now,
    }
}

#[test]
fn a_moved_slot_is_patched_at_once_and_confirmed_later() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let control = Control::start(cluster.seeds());
        control.wait_settled();
        let notified = control.topology.subscribe();
        let number = cluster.booted_slots(0).0;
        let before = control.topology.map().version();
        cluster.begin_migration(number, 0, 1).unwrap();
        cluster.finish_migration(number, 0, 1).unwrap();
        control.topology.report(Report::Moved {
            slot: slot(number),
            to: node(&cluster, 1),
            from: node(&cluster, 0),
            said: just_now(),
        });
        // A round of questions may publish a map in between.
        while control.owner(number) != Some(node(&cluster, 1)) {
            wait_for(notified.notified());
        }
        assert_eq!(control.owner(number + 1), Some(node(&cluster, 0)));
        assert!(control.topology.map().version() > before);
        control.wait("confirmed", |_, status| {
            status.unconfirmed_slots == 0 && status.mood == Mood::Settled
        });
        assert_eq!(control.owner(number), Some(node(&cluster, 1)));
    });
}

/// Anybody can make a script return MOVED.
#[test]
fn a_moved_to_an_unknown_address_changes_nothing_and_is_not_dialled() {
    let cluster = boot_cluster(&support::redis());
    let control = Control::start(cluster.seeds());
    control.wait_settled();
    let trap = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let trap_addr = addr(trap.local_addr().unwrap());
    let before = control.topology.map().version();
    for from in [node(&cluster, 0), trap_addr.clone()] {
        control.topology.report(Report::Moved {
            slot: slot(0),
            to: trap_addr.clone(),
            from,
            said: just_now(),
        });
    }
    control.topology.report(Report::Suspect {
        node: trap_addr,
        why: Trigger::ConnectionLost,
    });
    assert!(wait_for(control.topology.confirm(Trigger::Moved)));
    assert!(wait_for(control.topology.confirm(Trigger::Moved)));
    assert_eq!(control.topology.map().version(), before);
    assert_eq!(
        trap.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn reports_without_end_make_no_more_questions_than_promised() {
    let cluster = boot_cluster(&support::redis());
    let control = Control::start(cluster.seeds());
    control.wait_settled();
    let before = control.topology.rounds().started;
    let began = Instant::now();
    // The number of refreshes is what ends it: so many take a known time at least.
    let enough = (BURST + 3.0 * RATE) as u64;
    wait_until("refreshes", PATIENCE, &Default::default(), || {
        for number in 0..2_000 {
            control.topology.report(Report::Moved {
                slot: slot(number),
                to: NodeAddr::new("127.0.0.1", 1),
                from: node(&cluster, 0),
                said: just_now(),
            });
        }
        match control.topology.rounds().started - before >= enough {
            true => Ok(()),
            false => Err("not enough yet".to_owned()),
        }
    })
    .unwrap();
    let started = (control.topology.rounds().started - before) as f64;
    let allowed = began.elapsed().as_secs_f64() * RATE + BURST + 1.0;
    assert!(started <= allowed, "{started} refreshes, {allowed} allowed");
}

#[test]
fn it_waits_for_a_cluster_that_is_not_there_yet() {
    on_each(|kind| {
        let mut cluster = Cluster::start(&cluster_options(kind)).unwrap();
        let alone = Control::start(vec![NodeAddr::new("127.0.0.1", 1)]);
        alone.wait("an error with a hint", |map, status| {
            map.version() == 0
                && status
                    .last_error
                    .as_ref()
                    .is_some_and(|e| e.error.contains("127.0.0.1:1: ") && !e.hint.is_empty())
        });
        assert!(!alone.status().is_ready());

        let control = Control::start(cluster.seeds());
        control.wait("asked", |_, status| status.refreshes > 0);
        cluster.form(&Default::default()).unwrap();
        control.wait_settled();
        assert_eq!(control.topology.map().covered(), SLOTS);

        // All down, and back.
        (0..cluster.len()).for_each(|n| cluster.kill(n));
        control.wait("nobody answers", |_, status| status.last_error.is_some());
        assert_eq!(
            control.topology.map().covered(),
            SLOTS,
            "what was known is kept"
        );
        (0..cluster.len()).for_each(|n| cluster.restart(n).unwrap());
        control.wait_settled();
    });
}

#[test]
fn credentials_are_used_and_their_lack_is_explained() {
    on_each(|kind| {
        let mut options = cluster_options(kind);
        options.password = Some("sesame".to_owned());
        let cluster = Cluster::boot(&options).unwrap();
        let without = Control::start(cluster.seeds());
        without.wait("refused", |_, status| {
            status.last_error.as_ref().is_some_and(|e| {
                e.error.contains("NOAUTH") && e.hint.contains("upstream.password_file")
            })
        });
        let mut settings = TopologySettings::new(cluster.seeds());
        settings.credentials = Some(slotway::topology::Credentials {
            username: None,
            password: slotway::config::Secret::new(&b"sesame"[..]),
        });
        Control::start_with(settings).wait_settled();
    });
}
