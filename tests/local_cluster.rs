//! The local cluster that `slotway demo` boots and every other test stands on: it forms, fails over, moves slots,
//! comes back after a kill, and leaves nothing behind. On every kind of server.

mod support;

use std::net::TcpStream;
use std::time::Duration;

use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions, Reply, Reservation, Stop, wait_until};
use support::{boot_cluster, cluster_options, on_each, servers};

/// A cluster's own time to notice a dead primary (2 s) and to elect another, with room for a busy machine.
const FAILOVER_MAX: Duration = Duration::from_secs(60);

#[test]
fn it_forms_and_leaves_no_process_and_no_file() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        assert_eq!((cluster.len(), cluster.primaries()), (6, 3));
        let mut slots = 0;
        for primary in 0..3 {
            assert!(cluster.is_primary(primary).unwrap());
            let (first, last) = cluster.booted_slots(primary);
            slots += usize::from(last - first) + 1;
            assert_eq!(cluster.owner_of(first), Some(primary));
            assert_eq!(cluster.owner_of(last), Some(primary));
            let replica = cluster.replica_of(primary).unwrap();
            assert_eq!(cluster.booted_primary(replica), primary);
        }
        assert_eq!(slots, 16_384);
        let pids: Vec<u32> = (0..6)
            .map(|node| cluster.node(node).pid().unwrap())
            .collect();
        let addrs = cluster.addrs();
        drop(cluster);
        for (pid, addr) in pids.iter().zip(addrs) {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
            assert!(TcpStream::connect(addr).is_err());
        }
    }
}

/// On a machine that is too busy for them.
#[test]
fn primaries_that_forgot_their_handshake_meet_again() {
    on_each(|kind| {
        let options = ClusterOptions {
            primaries: 2,
            replicas: 0,
            ..cluster_options(kind)
        };
        let cluster = Cluster::start(&options).unwrap();
        cluster.deal_out().unwrap();
        cluster.pause(1).unwrap();
        let sees = |count: usize| {
            let what = format!("node 0 sees {count} nodes");
            wait_until(&what, FAILOVER_MAX, &Stop::default(), || {
                match cluster.nodes_seen_by(0).unwrap().len() {
                    seen if seen == count => Ok(()),
                    seen => Err(format!("{seen}")),
                }
            })
            .unwrap();
        };
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| cluster.join(&Stop::default()));
            sees(2);
            sees(1);
            cluster.resume(1).unwrap();
            joined.join().unwrap().unwrap();
        });
    });
}

#[test]
fn it_fails_over_by_command_and_by_itself() {
    for kind in servers() {
        let mut cluster = boot_cluster(&kind);
        let replica = cluster.replica_of(0).unwrap();
        cluster.failover(replica).unwrap();
        cluster.wait_healthy(FAILOVER_MAX).unwrap();
        assert_eq!(cluster.owner_of(0), Some(replica));
        assert_eq!(cluster.replica_of(replica), Some(0));

        cluster.kill(replica);
        cluster.wait_promoted(0, FAILOVER_MAX).unwrap();
        assert_eq!(cluster.owner_of(0), Some(0));
        cluster.restart(replica).unwrap();
        cluster.wait_healthy(FAILOVER_MAX).unwrap();
        assert_eq!(cluster.replica_of(0), Some(replica));

        cluster.pause(1).unwrap();
        let heir = cluster.booted_primary(4);
        assert_eq!(heir, 1);
        let first = cluster.booted_slots(1).0;
        let promoted = slotway::demo::wait_until(
            "node 4 takes over",
            FAILOVER_MAX,
            &Default::default(),
            || {
                let lines = cluster
                    .nodes_seen_by(4)
                    .map_err(|error| error.to_string())?;
                let own = lines
                    .iter()
                    .find(|line| line.is("myself"))
                    .ok_or("no line")?;
                if own.serves(first) {
                    Ok(())
                } else {
                    Err(format!("{own:?}"))
                }
            },
        );
        promoted.unwrap();
        cluster.resume(1).unwrap();
        cluster.wait_healthy(FAILOVER_MAX).unwrap();
    }
}

#[test]
fn a_slot_is_moved_step_by_step() {
    for kind in servers() {
        let cluster = Cluster::boot(&ClusterOptions {
            password: Some("hush".into()),
            replicas: 0,
            ..cluster_options(&kind)
        })
        .unwrap();
        let slot = Slot::of(b"{tag}").number();
        let from = cluster.owner_of(slot).unwrap();
        let to = (from + 1) % 3;
        for key in ["{tag}1", "{tag}2"] {
            cluster.ask(from, &["SET", key, "value"]).unwrap();
        }
        cluster.begin_migration(slot, from, to).unwrap();
        cluster.move_keys(from, to, &["{tag}1"]).unwrap();
        let gone = cluster.command(from, &["GET", "{tag}1"]).unwrap();
        assert!(
            matches!(&gone, Reply::Error(text) if text.starts_with("ASK ")),
            "{gone:?}"
        );
        let here = cluster.command(from, &["GET", "{tag}2"]).unwrap();
        assert_eq!(here.text(), "value");
        cluster.move_all_keys(slot, from, to).unwrap();
        cluster.finish_migration(slot, from, to).unwrap();
        assert_eq!(cluster.owner_of(slot), Some(to));
        let moved = cluster.command(to, &["GET", "{tag}2"]).unwrap();
        assert_eq!(moved.text(), "value");
        cluster.wait_healthy(FAILOVER_MAX).unwrap();
    }
}

#[test]
fn a_taken_base_port_is_named() {
    let reserved = Reservation::any_node().unwrap();
    let listener = std::net::TcpListener::bind(reserved.addr()).unwrap();
    let kind = support::redis();
    let error = Cluster::boot(&ClusterOptions {
        base_port: Some(reserved.port()),
        ..cluster_options(&kind)
    })
    .unwrap_err()
    .to_string();
    drop(listener);
    assert!(
        error.contains(&format!("port {} ", reserved.port())),
        "{error}"
    );
}
