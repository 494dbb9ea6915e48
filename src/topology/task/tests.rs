//! Nodes that are seeds by another name: what is heard of them, and how often they are asked; and answers that come late.

use super::*;
use crate::cluster::{
    ClusterState, Direction, Migration, Part, Role, SLOTS, Server, Slot, SlotMap, SlotRange, View,
    ViewNode,
};
use crate::command::CommandTable;
use crate::topology::ask::{AskError, Said};
use arc_swap::ArcSwap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// From one refresh to the next while slots are uncovered.
const INTERVAL: Duration = Duration::from_millis(500);

/// A task that has not begun, with one name more of the node at port 1 as its seed.
fn task() -> Task {
    let shared = Shared {
        map: Arc::new(ArcSwap::from_pointee(SlotMap::empty())),
        table: Arc::new(ArcSwap::from_pointee(CommandTable::builtin())),
        server: Arc::default(),
        status: Arc::default(),
        listed: AtomicBool::new(false),
        subscribers: Default::default(),
    };
    let (rounds, _) = watch::channel(Rounds::default());
    let settings = TopologySettings::new([twin()]);
    let metrics = Arc::new(TopologyMetrics::new());
    Task::new(settings, Arc::new(shared), rounds, metrics)
}

fn addr(port: u16) -> NodeAddr {
    NodeAddr::new("10.0.0.1", port)
}

fn twin() -> NodeAddr {
    NodeAddr::new("seed.example", 1)
}

/// What the node at `port` says, asked at `source`, of a cluster of three that serves half of the slots.
fn view(source: NodeAddr, port: u16) -> View {
    let slots = |port| match port {
        1 => SlotRange::new(0, SLOTS as i64 / 2).into_iter().collect(),
        _ => Vec::new(),
    };
    let node = |port| ViewNode {
        id: format!("id-{port}").into(),
        addr: addr(port),
        role: Role::Primary,
        epoch: u64::from(port),
        health: Health::Online,
        slots: slots(port),
    };
    View {
        source,
        state: ClusterState::Fail,
        current_epoch: 3,
        myself: Some(usize::from(port) - 1),
        nodes: (1..=3).map(node).collect(),
        unaddressed: Vec::new(),
        migrating: Vec::new(),
    }
}

/// A refresh that asked these, and what came of it.
fn round(task: &mut Task, asked: &[NodeAddr], views: Vec<View>, now: Instant) {
    task.flight = Some(Flight::new(Trigger::Start, asked.to_vec(), now));
    let silent = asked
        .iter()
        .filter(|&a| views.iter().all(|v| v.source != *a));
    let silent: Vec<_> = silent.cloned().collect();
    let heard = views
        .into_iter()
        .map(|view| (view.source.clone(), Ok(Said::Cluster(view))));
    let unheard = silent
        .into_iter()
        .map(|addr| (addr, Err(AskError::NoCluster)));
    for (addr, said) in heard.chain(unheard) {
        let link = None;
        task.answered(Answer { addr, link, said }, now);
    }
    task.finish_when_due(now);
}

/// Longer than anything is remembered that nobody names.
#[tokio::test]
async fn a_server_without_a_cluster_keeps_its_slots_while_it_is_away() {
    let mut task = task();
    let begin = Instant::now();
    let say = |task: &mut Task, said, now| {
        task.flight = Some(Flight::new(Trigger::Start, vec![addr(1)], now));
        let answer = Answer {
            addr: addr(1),
            link: None,
            said,
        };
        task.answered(answer, now);
        task.finish_when_due(now);
    };
    let server = |part| {
        Ok(Said::Standalone(Server {
            source: addr(1),
            run_id: "run".into(),
            part,
        }))
    };
    let replicas = vec![(addr(2), true)];
    say(&mut task, server(Part::Primary { replicas }), begin);
    let owner = |task: &Task| {
        let map = task.shared.map.load();
        let owner = map.owner(Slot::new(0).unwrap()).unwrap();
        (map.covered(), map.node(owner).addr.clone())
    };
    assert_eq!(owner(&task), (SLOTS, addr(1)));
    assert_eq!(task.status.mood, Mood::Settled);
    for round in 1..200 {
        let now = begin + INTERVAL * round;
        let silent = match round % 2 {
            0 => Err(AskError::NoCluster),
            // It is a replica now, of nobody who answers.
            _ => server(Part::ReplicaOf(addr(2))),
        };
        say(&mut task, silent, now);
        assert_eq!(owner(&task), (SLOTS, addr(1)));
        assert_eq!(task.status.mood, Mood::Down);
    }
    let told = task.status.last_error.clone().unwrap();
    assert!(told.error.contains("is a replica of"), "{}", told.error);
}

#[tokio::test]
async fn a_node_that_answers_under_two_names_tells_of_its_migrations_once() {
    let mut task = task();
    let leaving = |source| View {
        migrating: vec![Migration {
            slot: Slot::new(5).unwrap(),
            direction: Direction::Leaving,
            peer: "id-2".into(),
        }],
        ..view(source, 1)
    };
    let views = vec![leaving(twin()), leaving(addr(1)), view(addr(2), 2)];
    let asked = [twin(), addr(1), addr(2)];
    round(&mut task, &asked, views, Instant::now());
    let status = &task.status;
    assert_eq!(status.sources, [addr(1), addr(2)].map(|a| a.to_string()));
    let [migration] = &status.migrations[..] else {
        panic!("{:?}", status.migrations);
    };
    assert_eq!(
        (&migration.from, &migration.to),
        (&addr(1).to_string(), &addr(2).to_string())
    );
}

/// Two of three have answered and name a third no more: they are most, though four were asked.
#[tokio::test]
async fn a_node_that_is_silent_under_two_names_is_silent_once() {
    let mut task = task();
    let begin = Instant::now();
    let asked = [twin(), addr(1), addr(2), addr(3)];
    let all = [(twin(), 1), (addr(1), 1), (addr(2), 2), (addr(3), 3)];
    let views = all.map(|(source, port)| view(source, port));
    round(&mut task, &asked, views.to_vec(), begin);
    let mut views = [2, 3].map(|port| view(addr(port), port));
    for view in &mut views {
        view.myself = view.myself.map(|at| at - 1);
        view.nodes.remove(0);
    }
    round(&mut task, &asked, views.to_vec(), begin + INTERVAL);
    let names: Vec<_> = task.belief.nodes().iter().map(|n| &n.addr).collect();
    assert_eq!(names, [&addr(2), &addr(3)]);
}

#[tokio::test]
async fn a_name_that_leads_to_a_node_that_is_known_is_dialled_as_seldom_as_a_dead_one() {
    const ROUNDS: u32 = 100;
    let mut task = task();
    let begin = Instant::now();
    let mut dialled = 0;
    for at in 0..ROUNDS {
        let now = begin + INTERVAL * at;
        let asked = task.choose(now);
        let port = |asked: &NodeAddr| if *asked == twin() { 1 } else { asked.port() };
        let views = asked.iter().map(|a| view(a.clone(), port(a))).collect();
        dialled += u32::from(asked.contains(&twin()));
        round(&mut task, &asked, views, now);
        assert_eq!(task.status.mood, Mood::Down);
    }
    // At first more often; then every second time.
    assert!(dialled > ROUNDS / 3, "{dialled}");
    assert!(dialled < ROUNDS / 3 * 2, "{dialled}");
}

/// Nodes that need longer than a refresh waits for them: the next one cannot ask them again, for they are busy. The first
/// that answers is heard, and another for a moment.
#[tokio::test]
async fn while_nobody_is_known_an_answer_is_heard_however_late() {
    let mut task = task();
    let begin = Instant::now();
    let asked = [twin(), addr(2)];
    for addr in &asked {
        let peer = task.peers.entry(addr.clone()).or_default();
        (peer.busy, peer.asked_at) = (true, Some(begin));
    }
    task.flight = Some(Flight::new(Trigger::Start, asked.to_vec(), begin));
    let late = begin + Duration::from_secs(2);
    task.finish_when_due(late);
    assert!(task.flight.is_none() && task.belief.nodes().is_empty());
    let answers = [view(twin(), 1), view(addr(2), 2)];
    for (at, view) in answers.into_iter().enumerate() {
        assert_eq!(task.flight.is_some(), at > 0);
        let answer = Answer {
            addr: view.source.clone(),
            link: None,
            said: Ok(Said::Cluster(view)),
        };
        task.answered(answer, late);
        task.finish_when_due(late);
    }
    assert!(task.flight.is_none());
    assert_eq!(task.status.sources.len(), 2);
    let rounds = *task.rounds.borrow();
    assert_eq!(
        (rounds.started, rounds.finished, rounds.answered),
        (1, 2, 2)
    );
}
