//! What happens to the cluster while clients are blocked: slots move, primaries hand over, nodes die.

use super::stage::Stage;
use crate::support::{on_each, show};
use slotway::cluster::Slot;

#[test]
fn a_client_stays_blocked_while_its_slot_moves_and_its_primary_hands_over() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        let cluster = &stage.cluster;
        let mut other = stage.proxy.client();
        let slot = Slot::of(b"{q}").number();
        let from = cluster.owner_of(slot).unwrap();
        let to = (from + 1) % 3;
        let mut one = stage.parked("BLPOP {q}1 {q}2 0");
        let mut timed = stage.parked("BLPOP {q}3 60");
        let mut several = stage.blocked("BLPOP q1 {q}4 0");
        cluster.migrate_slot(slot, from, to).unwrap();
        stage.wait_at_nodes(2);
        other.expect("RPUSH {q}2 a", b":1\r\n");
        assert_eq!(one.reply(), b"*2\r\n$4\r\n{q}2\r\n$1\r\na\r\n");
        other.expect("RPUSH {q}3 b", b":1\r\n");
        assert_eq!(timed.reply(), b"*2\r\n$4\r\n{q}3\r\n$1\r\nb\r\n");

        let mut one = stage.parked("BLPOP {q}1 {q}2 0");
        cluster.failover(cluster.replica_of(to).unwrap()).unwrap();
        other.expect("RPUSH {q}2 c", b":1\r\n");
        assert_eq!(one.reply(), b"*2\r\n$4\r\n{q}2\r\n$1\r\nc\r\n");
        other.expect("RPUSH {q}4 d", b":1\r\n");
        assert_eq!(several.reply(), b"*2\r\n$4\r\n{q}4\r\n$1\r\nd\r\n");
        stage.wait_clean();
    });
}

/// Half-way through a migration the key that a client waits for comes into being at the new place.
#[test]
fn a_client_blocks_where_its_key_will_be() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        let cluster = &stage.cluster;
        let slot = Slot::of(b"{q}").number();
        let from = cluster.owner_of(slot).unwrap();
        let to = (from + 1) % 3;
        cluster.begin_migration(slot, from, to).unwrap();
        let mut client = stage.parked("BLPOP {q}1 0");
        stage.proxy.client().expect("RPUSH {q}1 a", b":1\r\n");
        assert_eq!(client.reply(), b"*2\r\n$4\r\n{q}1\r\n$1\r\na\r\n");
        cluster.finish_migration(slot, from, to).unwrap();
        stage.wait_clean();
    });
}

#[test]
fn a_client_whose_node_dies_is_told_that_nobody_knows() {
    on_each(|kind| {
        let mut stage = Stage::set(kind, &["--set", "timeouts.unavailable=60s"]);
        let slot = Slot::of(b"{q}").number();
        let owner = stage.cluster.owner_of(slot).unwrap();
        let mut other = stage.proxy.client();
        let mut pops = stage.parked("BLPOP {q}1 0");
        let mut reads = stage.parked("XREAD BLOCK 0 STREAMS {q}2 $");
        stage.cluster.kill(owner);
        let reply = pops.reply();
        assert!(
            reply.starts_with(b"-ERR slotway: outcome unknown"),
            "{}",
            show(&reply)
        );
        // Reading again harms nobody.
        let id = other.line("XADD {q}2 * f v");
        assert!(id.starts_with(b"$"), "{}", show(&id));
        let reply = reads.reply();
        assert!(
            reply.starts_with(b"*1\r\n*2\r\n$4\r\n{q}2\r\n"),
            "{}",
            show(&reply)
        );
        stage.wait_clean();
    });
}
