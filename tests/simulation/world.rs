//! Makes a plan happen: carries bytes between the proxy and the model's clients and nodes, as late and in such pieces as
//! chance has it, and lets happen what goes wrong.

mod calm;
mod clients;
mod faults;
mod nodes;
mod wires;

use crate::cluster::{Cluster, State, View};
use crate::history::History;
use crate::network::{Agenda, Net};
use crate::oracle::Oracle;
use crate::peer::Peer;
use crate::plan::{End, Kind, Plan, Room};
use crate::rng::Rng;
use crate::trace::Trace;
use slotway::server::simulated::Proxy;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wires::{Conn, Far, Way};

/// A connection that lost its other end is given up after so long (TCP_USER_TIMEOUT of lanes), in milliseconds.
const UNACKED_MS: u64 = 4_000;

/// After the last fault everything is answered within so long, in milliseconds.
const PATIENCE_MS: u64 = 20_000;

/// Where memory is short, values are longer by so many bytes.
const PADDING: usize = 3_000;

/// A failed primary is noticed by its cluster after so long, in milliseconds.
const NODE_TIMEOUT_MS: (u64, u64) = (200, 1_000);

/// In one millisecond no more happens than so many things; it is never more than 1,000 where all is well. Time stands still
/// while anybody has something to do: of bytes that go round for ever there would be no end.
const EVENTS_MAX: usize = 20_000;

/// Dials to one node within a second: lanes and leases of all workers, probes, and the topology task. Each lease takes two
/// while a node loads its data.
const DIALS_PER_SECOND_MAX: usize = 24;

enum Event {
    /// Bytes arrive at the node or the client.
    Far(usize, Vec<u8>),
    /// So does the end of the stream.
    FarEnd(usize),
    Near(usize, Vec<u8>),
    NearEnd(usize),
    NearReset(usize),
    Dialled(usize, usize),
    Batch(usize),
    HangUp(usize),
    Fault(usize),
    Lift(usize),
    Learn(usize, Rc<View>),
    /// A narrow connection is none any more.
    Widen(usize),
    MoveKey(usize),
    EndMove(usize),
    Fail(usize),
    Restart(usize),
    Loaded(usize),
    /// A command of that connection has waited long enough.
    GiveUp(usize),
    Drain,
}

struct Client {
    conn: usize,
    rng: Rng,
    next: usize,
    /// Commands, and how many replies they still have.
    pending: VecDeque<(usize, usize)>,
    gone: bool,
    /// The proxy has closed it, and it can only have been for its memory.
    shed: bool,
    /// Commands that the proxy had not answered when it closed the connection.
    unanswered: Vec<usize>,
}

/// Whether the proxy was told to end.
enum Ending {
    No,
    Asked(tokio::task::JoinHandle<()>),
}

/// Faults that change how a node talks to the proxy.
#[derive(Default, Clone)]
struct Trouble {
    unreachable: usize,
    refuses: usize,
    slow: usize,
    deaf_until: u64,
    dials: VecDeque<u64>,
}

pub struct World<'a> {
    plan: &'a Plan,
    net: Arc<Net>,
    proxy: Proxy,
    cluster: Cluster,
    pub oracle: Oracle,
    pub trace: Trace,
    agenda: Agenda<Event>,
    conns: Vec<Conn>,
    by_number: BTreeMap<u64, usize>,
    clients: Vec<Client>,
    trouble: Vec<Trouble>,
    /// Connections to nodes that may be told something without having asked.
    attentive: BTreeSet<usize>,
    history: History,
    ending: Ending,
    rng: Rng,
    start: Instant,
    now: u64,
    /// So many since the time last moved on.
    events: usize,
    /// What each kind of fault did, by kind.
    pub happened: BTreeMap<Kind, usize>,
    pub problem: Option<String>,
}

impl<'a> World<'a> {
    pub fn new(plan: &'a Plan, net: Arc<Net>, proxy: Proxy, trace: Trace) -> Self {
        let cluster = Cluster::new(plan.shards, plan.replicas, &plan.hot());
        let mut world = Self {
            net,
            proxy,
            trouble: vec![Trouble::default(); cluster.nodes.len()],
            cluster,
            oracle: Oracle::default(),
            trace,
            agenda: Agenda::default(),
            conns: Vec::new(),
            by_number: BTreeMap::new(),
            clients: Vec::new(),
            attentive: BTreeSet::new(),
            history: History::default(),
            ending: Ending::No,
            rng: Rng::new(plan.seed, 2),
            start: Instant::now(),
            now: 0,
            events: 0,
            happened: BTreeMap::new(),
            problem: None,
            plan,
        };
        world.oracle.strict = plan.is_gentle();
        world.oracle.padding = if plan.room == Room::Memory {
            PADDING
        } else {
            0
        };
        world.oracle.hops_max = plan.hops;
        world.oracle.once = plan.is_harmless();
        world.oracle.slow = plan.is_slow();
        world.history.note(&world.cluster);
        if let Some(at) = plan.drain_at {
            world.at(at, Event::Drain);
        }
        for (i, fault) in plan.faults.iter().enumerate() {
            world.at(fault.at, Event::Fault(i));
        }
        world
    }

    /// Everything, to the end. What is wrong is in `problem`.
    pub async fn run(&mut self) {
        for client in 0..self.plan.clients.len() {
            self.join(client);
        }
        let until = self.plan.calm_at() + PATIENCE_MS;
        self.until(until, |world| world.is_settled()).await;
        if self.problem.is_none() && !self.is_settled() {
            self.problem = Some(self.what_hangs());
        }
        match self.plan.drain_at {
            None => self.check_recovery().await,
            Some(_) => self.check_end(),
        }
        self.check_left_over().await;
        if self.problem.is_none() {
            self.problem = self.oracle.at_the_end().err();
        }
        if self.problem.is_none() {
            self.problem = self.lost_element();
        }
    }

    fn fail(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    fn at(&mut self, at: u64, event: Event) {
        let tie = self.rng.next() >> 1;
        self.agenda.add((at, tie), event);
    }

    fn is_settled(&self) -> bool {
        let quiet = match &self.ending {
            Ending::Asked(task) => task.is_finished(),
            Ending::No => {
                let calm = self.now >= self.plan.calm_at() + NODE_TIMEOUT_MS.1;
                calm && self.plan.drain_at.is_none()
            }
        };
        let planned = self.clients.iter().enumerate().all(|(i, c)| {
            let batches = self.plan.clients.get(i).map_or(0, |p| p.batches.len());
            c.gone || (c.next >= batches && c.pending.is_empty() && !self.waits_for_end(i))
        });
        quiet && planned
    }

    fn waits_for_end(&self, client: usize) -> bool {
        let ends = self
            .plan
            .clients
            .get(client)
            .is_some_and(|p| p.end != End::Patient);
        ends && !self.clients[client].gone
    }

    fn what_hangs(&self) -> String {
        let waiting = self.clients.iter().find_map(|c| c.pending.front());
        match waiting {
            Some((command, _)) => format!("{} is not answered", self.oracle.describe(*command)),
            None if self.plan.drain_at.is_some() => "the proxy does not end".to_owned(),
            None => "a client that has half-closed is not let go".to_owned(),
        }
    }

    async fn until(&mut self, latest: u64, done: impl Fn(&Self) -> bool) {
        while self.problem.is_none() && self.now < latest && !done(self) {
            self.look_at_clock();
            self.look();
            if let Some(event) = self.agenda.pop(self.now) {
                self.happen(event);
                // How far the proxy gets before the next event is chance, too.
                for _ in 0..self.rng.below(4) {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let next = self.agenda.next_at().unwrap_or(latest).min(latest);
            let net = self.net.clone();
            tokio::select! {
                biased;
                () = net.notify.notified() => {}
                () = tokio::time::sleep_until(self.start + Duration::from_millis(next)) => {}
            }
        }
    }

    /// Time goes on as soon as nobody has anything to do.
    fn look_at_clock(&mut self) {
        let was = std::mem::replace(&mut self.now, self.start.elapsed().as_millis() as u64);
        self.oracle.now = self.now;
        if self.now != was {
            self.events = 0;
        }
    }

    /// A connection that takes few bytes at a time makes many events of one request, but the answers are not more for that.
    fn count_event(&mut self, event: &Event) {
        let is_crumb = matches!(event, Event::Far(conn, _) if self.conns[*conn].narrow);
        self.events += usize::from(!is_crumb);
        if self.events > EVENTS_MAX {
            self.fail(format!(
                "{EVENTS_MAX} things have happened in millisecond {}, and it does not end",
                self.now
            ));
        }
    }

    /// What the proxy has done.
    fn look(&mut self) {
        if let Err(problem) = self
            .history
            .look(&self.proxy.topology().map(), &self.cluster)
        {
            self.fail(problem);
        }
        let doings = self.net.take();
        for (to, socket) in doings.dialled {
            let node = self.cluster.nodes.iter().position(|n| n.addr == to);
            let Some(node) = node else {
                return self.fail(format!("{to} was dialled, which no node has named"));
            };
            self.count_dial(node);
            let peer = Peer::new(self.conns.len());
            let conn = self.add(socket, Far::Node(node, peer));
            let wait = self.latency(conn);
            self.at(self.now + wait, Event::Dialled(conn, node));
        }
        for number in doings.touched {
            if let Some(&conn) = self.by_number.get(&number) {
                self.carry(conn);
            }
        }
    }

    fn count_dial(&mut self, node: usize) {
        let now = self.now;
        let is_up = self.cluster.nodes[node].state == State::Running;
        let dials = &mut self.trouble[node].dials;
        dials.push_back(now);
        while dials.front().is_some_and(|at| at + 1_000 <= now) {
            dials.pop_front();
        }
        let most = DIALS_PER_SECOND_MAX * self.plan.workers * self.plan.connections;
        if dials.len() > most && !is_up {
            let dials = dials.len();
            self.fail(format!(
                "node {node} was dialled {dials} times within a second"
            ));
        }
    }

    fn happen(&mut self, event: Event) {
        self.count_event(&event);
        self.take_place(event);
        self.tell_attentive();
    }

    fn take_place(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Far(conn, bytes) => {
                let one = &mut self.conns[conn];
                if one.over || one.dark {
                    return;
                }
                self.trace.note(now, 1 + conn as u64, &bytes, || {
                    format!("#{conn} → {}: {}", self.plan.seed, shown(&bytes))
                });
                if one.narrow {
                    one.socket.grant(bytes.len());
                }
                one.inbox.extend(bytes);
                self.serve(conn);
            }
            Event::Near(conn, bytes) => {
                let one = &self.conns[conn];
                if one.over || one.dark {
                    return;
                }
                self.trace.note(now, 1_000 + conn as u64, &bytes, || {
                    format!("#{conn} ←: {}", shown(&bytes))
                });
                one.socket.arrive(&bytes);
            }
            Event::FarEnd(conn) => self.far_end(conn),
            Event::NearEnd(conn) if !self.conns[conn].over => self.conns[conn].socket.end(),
            Event::NearEnd(_) => {}
            Event::NearReset(conn) => {
                self.trace.note(now, 4, &[], || format!("#{conn} is reset"));
                self.conns[conn].over = true;
                self.conns[conn].socket.reset();
            }
            Event::Dialled(conn, node) => self.dialled(conn, node),
            Event::Batch(client) => self.send_batch(client),
            Event::HangUp(client) => self.hang_up(client),
            Event::Fault(fault) => self.begin(fault),
            Event::Lift(fault) => self.lift(fault),
            Event::Learn(node, view) if self.trouble[node].deaf_until > now => {
                let until = self.trouble[node].deaf_until;
                self.at(until, Event::Learn(node, view));
            }
            Event::Learn(node, view) => self.cluster.learn(node, &view),
            Event::Widen(conn) => {
                self.conns[conn].narrow = false;
                self.conns[conn].socket.grant(usize::MAX);
            }
            Event::MoveKey(segment) => {
                let pick = self.rng.next() as usize >> 1;
                self.cluster.move_key(segment, pick);
            }
            Event::EndMove(segment) => self.end_move(segment),
            Event::Fail(node) => self.node_failed(node),
            Event::Restart(node) => self.restart(node),
            Event::GiveUp(conn) => self.give_up(conn),
            Event::Drain => {
                self.trace
                    .note(now, 8, &[], || "=== the proxy is told to end");
                let drained = self.proxy.drain();
                self.ending = Ending::Asked(tokio::task::spawn_local(drained));
            }
            Event::Loaded(node) => {
                if self.cluster.nodes[node].state == State::Loading {
                    self.cluster.nodes[node].state = State::Running;
                }
            }
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], bytes.len()),
        None => text,
    }
}
