//! Moments of real failovers, and the traps in them.

use super::super::super::captured::{
    FAILED, KILLED, MAJORITY_DOWN, PROMOTED, RESUMED, STABLE, Using,
};
use super::*;

/// Ports by part: the captured clusters have primaries at base + 0, 1, 2.
fn port_of(map: &SlotMap, slot: u16) -> Option<u16> {
    let owner = map.owner(Slot::new(slot).unwrap())?;
    Some(map.node(owner).addr.port() % 100)
}

#[test]
fn a_stable_cluster_is_believed_from_any_one_answer() {
    for captured in STABLE {
        for using in [Using::Shards, Using::Slots] {
            for one in captured.views(using) {
                let mut case = Case::new();
                let round = case.round(&[one]);
                assert_eq!(
                    (round.covered, round.differing, round.owner_down),
                    (SLOTS, 0, false)
                );
                let map = case.belief.map(1);
                assert_eq!(map.nodes().len(), 6);
                assert_eq!(
                    [0, 5461, 10923].map(|s| port_of(&map, s)),
                    [Some(0), Some(1), Some(2)]
                );
                assert!(
                    map.primaries()
                        .iter()
                        .all(|&p| map.replicas(p).count() == 1)
                );
            }
        }
    }
}

/// While the primary is down and its replica not yet elected, all slots are assigned to the dead one: nobody else can
/// be believed. Once elected, every mix of old and new answers must name the new one, in any order of rounds.
#[test]
fn a_failover_is_followed_and_never_undone_by_stale_answers() {
    for server in 0..2 {
        let mut case = Case::new();
        case.round(&STABLE[server].views(Using::Shards));
        let suspected = case.round(&KILLED[server].views(Using::Shards));
        assert!(suspected.owner_down);
        let failed_views = FAILED[server].views(Using::Shards);
        let failed = case.round(&failed_views);
        assert!(failed.failing && failed.owner_down);
        assert_eq!(
            (failed.covered, port_of(&case.belief.map(1), 0)),
            (SLOTS, Some(0))
        );

        let promoted = PROMOTED[server].views(Using::Shards);
        let round = case.round(&promoted);
        let map = case.belief.map(1);
        let heir = port_of(&map, 0).unwrap();
        assert!(heir >= 3 && !round.owner_down && round.covered == SLOTS);
        assert_eq!(
            map.nodes().len(),
            5,
            "a failed node without slots is not offered to anybody"
        );
        assert_eq!(
            (0..5461)
                .filter(|&s| port_of(&map, s) == Some(heir))
                .count(),
            5461
        );

        for stale in STABLE[server]
            .views(Using::Shards)
            .into_iter()
            .chain(failed_views)
        {
            case.round(std::slice::from_ref(&stale));
            assert_eq!(
                port_of(&case.belief.map(1), 0),
                Some(heir),
                "{}",
                stale.source
            );
        }
        case.round(&STABLE[server].views(Using::Slots)[3..5]);
        assert_eq!(
            port_of(&case.belief.map(1), 0),
            Some(heir),
            "two stale answers that agree"
        );
    }
}

/// The dead primary comes back and still calls itself the owner.
#[test]
fn a_resumed_primary_does_not_get_its_slots_back() {
    for server in 0..2 {
        let stale = STABLE[server].views(Using::Shards).remove(0);
        assert_eq!(stale.myself.map(|i| stale.nodes[i].epoch), Some(1));
        let mut fresh: Vec<View> = PROMOTED[server].views(Using::Shards);
        fresh.retain(|v| v.state == ClusterState::Ok);
        fresh.truncate(1);
        fresh.insert(0, stale);
        let mut case = Case::new();
        let round = case.round(&fresh);
        assert!(port_of(&case.belief.map(1), 0).unwrap() >= 3);
        assert_eq!(round.differing, 5461);

        let round = case.round(&RESUMED[server].views(Using::Shards));
        assert_eq!((round.covered, round.owner_down), (SLOTS, false));
        let map = case.belief.map(1);
        assert!((0..16_384).all(|s| port_of(&map, s).is_some_and(|p| p >= 2)));
    }
}

#[test]
fn with_a_majority_down_the_slots_keep_their_owners() {
    for server in 0..2 {
        let mut case = Case::new();
        case.round(&RESUMED[server].views(Using::Shards));
        let before = case.belief.map(1);
        let round = case.round(&MAJORITY_DOWN[server].views(Using::Shards));
        assert!(round.failing && round.covered == SLOTS);
        let after = case.belief.map(1);
        assert!((0..16_384).all(|s| port_of(&before, s) == port_of(&after, s)));
    }
}
