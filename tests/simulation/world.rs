//! Makes a plan happen: carries bytes between the proxy and the model's clients and nodes, as late and in such pieces as
//! chance has it, and lets happen what goes wrong.

use crate::cluster::{Cluster, Peer, State, View, requests};
use crate::network::{Agenda, Net, When};
use crate::oracle::Oracle;
use crate::plan::{End, Kind, Plan};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::wire::reply_len;
use slotway::io::simulated::{ProxyEnd, Socket};
use slotway::server::simulated::Proxy;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A connection that lost its other end is given up after so long (TCP_USER_TIMEOUT of lanes), in milliseconds.
const UNACKED_MS: u64 = 4_000;

/// After the last fault everything is answered within so long, in milliseconds.
const PATIENCE_MS: u64 = 20_000;

/// A failed primary is noticed by its cluster after so long, in milliseconds.
const NODE_TIMEOUT_MS: (u64, u64) = (200, 1_000);

/// Dials to one node within a second: lanes and leases of all workers, probes, and the topology task.
const DIALS_PER_SECOND_MAX: usize = 16;

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
    MoveKey(usize),
    EndMove(usize),
    Fail(usize),
    Restart(usize),
    Loaded(usize),
}

enum Far {
    Node(usize, Peer),
    Client(usize),
}

struct Conn {
    socket: Socket,
    far: Far,
    rng: Rng,
    inbox: Vec<u8>,
    /// The last of what was sent in each direction.
    to_far: When,
    to_near: When,
    /// Nothing goes through, and nobody is told.
    dark: bool,
    /// It is no more.
    over: bool,
    told_end: bool,
    narrow: bool,
}

struct Client {
    conn: usize,
    rng: Rng,
    next: usize,
    /// Commands, and how many replies they still have.
    pending: VecDeque<(usize, usize)>,
    gone: bool,
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
    rng: Rng,
    start: Instant,
    now: u64,
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
            rng: Rng::new(plan.seed, 2),
            start: Instant::now(),
            now: 0,
            happened: BTreeMap::new(),
            problem: None,
            plan,
        };
        world.oracle.strict = plan.is_gentle();
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
        self.check_recovery().await;
        if self.problem.is_none() {
            self.problem = self.oracle.at_the_end().err();
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
        let quiet = self.now >= self.plan.calm_at() + NODE_TIMEOUT_MS.1;
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
            None => "a client that has half-closed is not let go".to_owned(),
        }
    }

    async fn until(&mut self, latest: u64, done: impl Fn(&Self) -> bool) {
        while self.problem.is_none() && self.now < latest && !done(self) {
            self.now = self.start.elapsed().as_millis() as u64;
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

    /// What the proxy has done.
    fn look(&mut self) {
        let doings = self.net.take();
        for (to, socket) in doings.dialled {
            let node = self.cluster.nodes.iter().position(|n| n.addr == to);
            let Some(node) = node else {
                return self.fail(format!("{to} was dialled, which no node has named"));
            };
            self.count_dial(node);
            let conn = self.add(socket, Far::Node(node, Peer::default()));
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

    fn add(&mut self, socket: Socket, far: Far) -> usize {
        let number = socket.number();
        let mut rng = Rng::new(self.plan.seed, 10_000 + number);
        let narrow = matches!(far, Far::Node(..)) && rng.percent(self.plan.narrow);
        if narrow {
            socket.set_room(rng.within(1, 200) as usize);
        }
        let index = self.conns.len();
        self.by_number.insert(number, index);
        self.conns.push(Conn {
            socket,
            far,
            rng,
            inbox: Vec::new(),
            to_far: (0, 0),
            to_near: (0, 0),
            dark: false,
            over: false,
            told_end: false,
            narrow,
        });
        index
    }

    fn latency(&mut self, conn: usize) -> u64 {
        let latency = self.plan.latency;
        let slow = match self.conns[conn].far {
            Far::Node(node, _) => self.trouble[node].slow > 0,
            Far::Client(_) => false,
        };
        let rng = &mut self.conns[conn].rng;
        let usual = match rng.percent(5) {
            true => rng.within(0, latency * 10),
            false => rng.within(0, latency),
        };
        usual + if slow { rng.within(0, 800) } else { 0 }
    }

    /// What the proxy wrote goes on its way.
    fn carry(&mut self, conn: usize) {
        let bytes = self.conns[conn].socket.take();
        if !bytes.is_empty() {
            for piece in self.cut(conn, &bytes) {
                let when = self.when(conn, Way::ToFar);
                self.agenda.add(when, Event::Far(conn, piece));
            }
        }
        let end = self.conns[conn].socket.proxy_end();
        if end != ProxyEnd::Open && !std::mem::replace(&mut self.conns[conn].told_end, true) {
            let when = self.when(conn, Way::ToFar);
            self.agenda.add(when, Event::FarEnd(conn));
        }
    }

    fn cut(&mut self, conn: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        let rng = &mut self.conns[conn].rng;
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while rest.len() > 1 && pieces.len() < 4 && rng.percent(self.plan.pieces) {
            let (piece, more) = rest.split_at(1 + rng.below(rest.len() - 1));
            pieces.push(piece.to_vec());
            rest = more;
        }
        pieces.push(rest.to_vec());
        pieces
    }

    /// When what is sent now arrives: never before what was sent earlier.
    fn when(&mut self, conn: usize, way: Way) -> When {
        let at = self.now + self.latency(conn);
        let tie = self.conns[conn].rng.next() >> 1;
        let conn = &mut self.conns[conn];
        let last = match way {
            Way::ToFar => &mut conn.to_far,
            Way::ToNear => &mut conn.to_near,
        };
        *last = (at, tie).max((last.0, last.1 + 1));
        *last
    }

    fn send_near(&mut self, conn: usize, bytes: &[u8]) {
        for piece in self.cut(conn, bytes) {
            let when = self.when(conn, Way::ToNear);
            self.agenda.add(when, Event::Near(conn, piece));
        }
    }

    fn happen(&mut self, event: Event) {
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
            Event::MoveKey(segment) => {
                let pick = self.rng.next() as usize >> 1;
                self.cluster.move_key(segment, pick);
            }
            Event::EndMove(segment) => self.end_move(segment),
            Event::Fail(node) => self.node_failed(node),
            Event::Restart(node) => self.restart(node),
            Event::Loaded(node) => {
                if self.cluster.nodes[node].state == State::Loading {
                    self.cluster.nodes[node].state = State::Running;
                }
            }
        }
    }

    fn dialled(&mut self, conn: usize, node: usize) {
        let trouble = &self.trouble[node];
        self.trace.note(self.now, 5, &[node as u8], || {
            format!("#{conn} dials node {node}")
        });
        if trouble.unreachable > 0 {
            // Neither accepted nor refused.
        } else if trouble.refuses > 0 || self.cluster.nodes[node].state == State::Dead {
            self.conns[conn].over = true;
            self.conns[conn].socket.refuse();
        } else {
            self.conns[conn].socket.accept();
        }
    }

    fn far_end(&mut self, conn: usize) {
        if self.conns[conn].over {
            return;
        }
        match self.conns[conn].far {
            Far::Node(..) => self.conns[conn].over = true,
            Far::Client(client) => {
                let end = self.plan.clients.get(client).map(|p| p.end);
                let one = &mut self.clients[client];
                let expected = end == Some(End::HalfCloses)
                    && one.next > self.plan.clients[client].batches.len();
                let open = one.pending.front().copied();
                let has_left = std::mem::replace(&mut one.gone, true);
                self.conns[conn].over = true;
                if has_left {
                    return;
                }
                if !expected || open.is_some() {
                    self.fail(format!(
                        "client {client} was closed by the proxy, with {open:?} unanswered"
                    ));
                }
            }
        }
    }

    /// The node or client at the far end looks at what has arrived.
    fn serve(&mut self, conn: usize) {
        match &mut self.conns[conn].far {
            Far::Client(client) => {
                let client = *client;
                self.read_replies(client);
            }
            Far::Node(node, peer) => {
                let node = *node;
                if matches!(self.cluster.nodes[node].state, State::Stopped | State::Dead) {
                    return;
                }
                let mut peer = std::mem::take(peer);
                let all = requests(&mut self.conns[conn].inbox);
                let mut replies = Vec::new();
                for words in all {
                    replies.extend(self.cluster.command(node, &mut peer, words));
                }
                self.conns[conn].far = Far::Node(node, peer);
                for done in std::mem::take(&mut self.cluster.executed) {
                    if let Err(problem) =
                        self.oracle.executed(&done.words, &done.reply, done.segment)
                    {
                        self.fail(problem);
                    }
                }
                if !replies.is_empty() {
                    self.send_near(conn, &replies);
                }
            }
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy)]
enum Way {
    ToFar,
    ToNear,
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], bytes.len()),
        None => text,
    }
}

/// The clients.
impl World<'_> {
    fn join(&mut self, number: usize) {
        let socket = self.proxy.connect();
        let conn = self.add(socket, Far::Client(number));
        self.clients.push(Client {
            conn,
            rng: Rng::new(self.plan.seed, 500 + number as u64),
            next: 0,
            pending: VecDeque::new(),
            gone: false,
        });
        self.schedule_batch(number);
    }

    fn schedule_batch(&mut self, client: usize) {
        let plan = &self.plan.clients[client];
        let one = &mut self.clients[client];
        match plan.batches.get(one.next) {
            Some((pause, _)) => {
                let at = self.now + pause;
                self.at(at, Event::Batch(client));
            }
            None if plan.end == End::HalfCloses => {
                one.next += 1;
                let conn = one.conn;
                let when = self.when(conn, Way::ToNear);
                self.agenda.add(when, Event::NearEnd(conn));
            }
            None if plan.end == End::HangsUp => {
                let at = self.now + one.rng.within(0, 30);
                self.at(at, Event::HangUp(client));
            }
            None => {}
        }
    }

    fn send_batch(&mut self, client: usize) {
        let plan = self.plan;
        let one = &self.clients[client];
        // It is scheduled both when replies are there and when it does not wait for them.
        let Some((_, ops)) = plan.clients[client].batches.get(one.next) else {
            return;
        };
        if one.gone {
            return;
        }
        let mut out = Vec::new();
        for op in ops {
            let (number, bytes, replies) = self.oracle.ask(client, op.clone(), &plan.tags);
            out.extend(bytes);
            self.clients[client].pending.push_back((number, replies));
        }
        let conn = self.clients[client].conn;
        self.send_near(conn, &out);
        let one = &mut self.clients[client];
        one.next += 1;
        if one.rng.percent(40) || plan.clients[client].end != End::Patient {
            self.schedule_batch(client);
        }
    }

    fn hang_up(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        self.clients[client].gone = true;
        let when = self.when(conn, Way::ToNear);
        match self.clients[client].rng.percent(50) {
            true => self.agenda.add((self.now, 0), Event::NearReset(conn)),
            false => {
                // What was sent still arrives.
                self.agenda.add(when, Event::NearEnd(conn));
            }
        }
    }

    fn read_replies(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        if self.clients[client].gone {
            return self.conns[conn].inbox.clear();
        }
        let inbox = std::mem::take(&mut self.conns[conn].inbox);
        let mut used = 0;
        while used < inbox.len()
            && let Some(len) = reply_len(&inbox[used..])
        {
            let reply = &inbox[used..used + len];
            used += len;
            if let Err(problem) = self.take_reply(client, reply) {
                return self.fail(problem);
            }
        }
        self.conns[conn].inbox = inbox[used..].to_vec();
        let one = &self.clients[client];
        let more = self
            .plan
            .clients
            .get(client)
            .is_some_and(|p| p.end == End::Patient && one.next < p.batches.len());
        if one.pending.is_empty() && more {
            self.schedule_batch(client);
        }
    }

    fn take_reply(&mut self, client: usize, reply: &[u8]) -> Result<(), String> {
        let one = &mut self.clients[client];
        let Some((number, left)) = one.pending.front_mut() else {
            return Err(format!(
                "client {client} got a reply that it did not ask for: {}",
                shown(reply)
            ));
        };
        let number = *number;
        if *left > 1 {
            let expected: &[u8] = if *left == 4 {
                b"+OK\r\n"
            } else {
                b"+QUEUED\r\n"
            };
            *left -= 1;
            return match reply == expected {
                true => Ok(()),
                false => Err(format!(
                    "{} got {} inside of MULTI",
                    self.oracle.describe(number),
                    shown(reply)
                )),
            };
        }
        one.pending.pop_front();
        self.oracle.answered(number, reply)
    }

    /// Once the faults are over all slots are served again, for an old client and a new one; and when all clients have
    /// left, nothing is left of them.
    async fn check_recovery(&mut self) {
        if self.problem.is_some() {
            return;
        }
        let settled = self.now + 5_000;
        self.until(settled, |_| false).await;
        let errors = self.oracle.errors;
        let last = self.clients.len();
        let socket = self.proxy.connect();
        let conn = self.add(socket, Far::Client(last));
        self.clients.push(Client {
            conn,
            rng: Rng::new(self.plan.seed, 499),
            next: 0,
            pending: VecDeque::new(),
            gone: false,
        });
        let mut out = Vec::new();
        for tag in 0..self.plan.tags.len() {
            for op in [
                crate::plan::Op::Set(tag),
                crate::plan::Op::Read(tag),
                crate::plan::Op::Incr(tag),
            ] {
                let (number, bytes, replies) = self.oracle.ask(last, op, &self.plan.tags);
                out.extend(bytes);
                self.clients[last].pending.push_back((number, replies));
            }
        }
        self.send_near(conn, &out);
        let latest = self.now + PATIENCE_MS;
        self.until(latest, |world| world.clients[last].pending.is_empty())
            .await;
        if self.problem.is_some() {
            return;
        }
        if !self.clients[last].pending.is_empty() || self.oracle.errors > errors {
            let errors = self.oracle.errors - errors;
            return self.fail(format!(
                "not all is served again when the faults are over: {errors} errors"
            ));
        }
        for client in 0..self.clients.len() {
            self.hang_up(client);
        }
        let latest = self.now + 10_000;
        self.until(latest, |world| world.proxy.clients() == 0).await;
        let left = self.proxy.clients();
        if left > 0 {
            return self.fail(format!(
                "{left} clients are still served after all have left"
            ));
        }
        let rounds = self.proxy.topology().rounds().started;
        let most = 8 + 2 * (self.now / 1_000);
        if rounds > most {
            self.fail(format!(
                "{rounds} topology refreshes within {} ms",
                self.now
            ));
        }
    }
}

/// What goes wrong.
impl World<'_> {
    fn count(&mut self, kind: Kind) {
        *self.happened.entry(kind).or_default() += 1;
    }

    fn begin(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let (kind, lasts) = (fault.kind, fault.lasts);
        let node = fault.which % self.cluster.nodes.len();
        let done = match kind {
            Kind::MoveSlot => self.begin_move(fault.which, lasts),
            Kind::Failover => self.fail_over(fault.which % self.plan.shards),
            Kind::Kill => self.kill(node, lasts),
            Kind::Stop => self.stop(node, lasts),
            Kind::CutConnection => self.cut_connection(fault.which),
            Kind::HalfOpen => self.darken(fault.which),
            Kind::CutNode => {
                self.reset_all(node);
                true
            }
            Kind::Unreachable => {
                self.trouble[node].unreachable += 1;
                for conn in self.conns_of(node) {
                    self.go_dark(conn);
                }
                true
            }
            Kind::Refuse => {
                self.trouble[node].refuses += 1;
                self.reset_all(node);
                true
            }
            Kind::StaleView => {
                let until = self.now + lasts;
                let deaf = &mut self.trouble[node].deaf_until;
                *deaf = until.max(*deaf);
                true
            }
            Kind::SlowNode => {
                self.trouble[node].slow += 1;
                true
            }
        };
        if done {
            self.count(kind);
            self.trace
                .note(self.now, 6, &[index as u8], || format!("=== {fault:?}"));
            self.at(self.now + lasts, Event::Lift(index));
        }
    }

    fn lift(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let node = fault.which % self.cluster.nodes.len();
        self.trace.note(self.now, 7, &[index as u8], || {
            format!("=== over: {fault:?}")
        });
        match fault.kind {
            Kind::Unreachable => self.trouble[node].unreachable -= 1,
            Kind::Refuse => self.trouble[node].refuses -= 1,
            Kind::SlowNode => self.trouble[node].slow -= 1,
            _ => {}
        }
    }

    /// The truth has changed: `informed` know at once, the others later.
    fn spread(&mut self, informed: &[usize]) {
        let view = self.cluster.publish();
        for node in 0..self.cluster.nodes.len() {
            if informed.contains(&node) {
                self.cluster.learn(node, &view);
            } else {
                let at = self.now + self.rng.within(0, 200);
                self.at(at, Event::Learn(node, view.clone()));
            }
        }
    }

    fn is_moving(&self, shard: usize) -> bool {
        let mut all = self.cluster.moving.iter().enumerate();
        all.any(|(segment, to)| {
            *to == Some(shard) || (to.is_some() && self.cluster.truth.owner[segment] == shard)
        })
    }

    fn begin_move(&mut self, which: usize, lasts: u64) -> bool {
        let tag = &self.plan.tags[which % self.plan.tags.len()];
        let segment = self.cluster.segment(tag.as_bytes());
        let from = self.cluster.truth.owner[segment];
        let to = (from + 1 + which / 64 % (self.plan.shards - 1)) % self.plan.shards;
        let is_up = |shard: usize| {
            self.cluster.nodes[self.cluster.truth.primary[shard]].state == State::Running
        };
        if self.cluster.moving[segment].is_some() || !is_up(from) || !is_up(to) {
            return false;
        }
        self.cluster.moving[segment] = Some(to);
        for _ in 0..8 {
            let at = self.now + self.rng.within(0, lasts);
            self.at(at, Event::MoveKey(segment));
        }
        self.at(self.now + lasts, Event::EndMove(segment));
        true
    }

    fn end_move(&mut self, segment: usize) {
        if let Some((_, to)) = self.cluster.end_move(segment) {
            let informed = self.cluster.truth.primary[to];
            self.spread(&[informed]);
        }
    }

    fn heir(&self, shard: usize) -> Option<usize> {
        let nodes = &self.cluster.nodes;
        let primary = self.cluster.truth.primary[shard];
        (0..nodes.len()).find(|n| {
            nodes[*n].shard == shard && *n != primary && nodes[*n].state == State::Running
        })
    }

    /// The replica takes over while the primary lives.
    fn fail_over(&mut self, shard: usize) -> bool {
        let old = self.cluster.truth.primary[shard];
        let Some(heir) = self.heir(shard) else {
            return false;
        };
        if self.is_moving(shard) || self.cluster.nodes[old].state != State::Running {
            return false;
        }
        self.promote(shard, heir);
        self.spread(&[old, heir]);
        true
    }

    fn promote(&mut self, shard: usize, heir: usize) {
        let truth = &mut self.cluster.truth;
        truth.current_epoch += 1;
        truth.epoch[shard] = truth.current_epoch;
        truth.primary[shard] = heir;
    }

    fn kill(&mut self, node: usize, lasts: u64) -> bool {
        if self.cluster.nodes[node].state != State::Running
            || self.is_moving(self.cluster.nodes[node].shard)
        {
            return false;
        }
        self.cluster.nodes[node].state = State::Dead;
        self.reset_all(node);
        self.at(self.now + lasts, Event::Restart(node));
        let notice = self.rng.within(NODE_TIMEOUT_MS.0, NODE_TIMEOUT_MS.1);
        self.at(self.now + notice, Event::Fail(node));
        true
    }

    fn stop(&mut self, node: usize, lasts: u64) -> bool {
        if self.cluster.nodes[node].state != State::Running
            || self.is_moving(self.cluster.nodes[node].shard)
        {
            return false;
        }
        self.cluster.nodes[node].state = State::Stopped;
        self.at(self.now + lasts, Event::Restart(node));
        let notice = self.rng.within(NODE_TIMEOUT_MS.0, NODE_TIMEOUT_MS.1);
        self.at(self.now + notice, Event::Fail(node));
        true
    }

    /// The cluster has noticed that a node does not answer.
    fn node_failed(&mut self, node: usize) {
        if !matches!(self.cluster.nodes[node].state, State::Stopped | State::Dead) {
            return;
        }
        self.cluster.truth.failed[node] = true;
        self.spread(&[]);
        let shard = self.cluster.nodes[node].shard;
        if self.cluster.truth.primary[shard] == node
            && let Some(heir) = self.heir(shard)
        {
            self.promote(shard, heir);
            self.spread(&[heir]);
        }
    }

    /// A node that was dead or stopped is back, and knows how things are.
    fn restart(&mut self, node: usize) {
        let was = self.cluster.nodes[node].state;
        if !matches!(was, State::Stopped | State::Dead) {
            return;
        }
        self.cluster.truth.failed[node] = false;
        self.cluster.nodes[node].state = State::Running;
        self.spread(&[node]);
        if was == State::Dead {
            self.cluster.nodes[node].state = State::Loading;
            let at = self.now + self.rng.within(0, 300);
            self.at(at, Event::Loaded(node));
            return;
        }
        for conn in self.conns_of(node) {
            self.serve(conn);
        }
    }

    fn conns_of(&self, node: usize) -> Vec<usize> {
        let is_its = |c: &Conn| !c.over && matches!(c.far, Far::Node(n, _) if n == node);
        (0..self.conns.len())
            .filter(|c| is_its(&self.conns[*c]))
            .collect()
    }

    fn reset_all(&mut self, node: usize) {
        for conn in self.conns_of(node) {
            self.reset(conn);
        }
    }

    /// What is under way is lost, in both directions; the proxy hears of it.
    fn reset(&mut self, conn: usize) {
        self.conns[conn].over = true;
        let at = self.now + self.latency(conn);
        self.at(at, Event::NearReset(conn));
    }

    fn some_conn(&self, which: usize) -> Option<usize> {
        let open: Vec<usize> = (0..self.conns.len())
            .filter(|c| !self.conns[*c].over && matches!(self.conns[*c].far, Far::Node(..)))
            .collect();
        open.get(which % open.len().max(1)).copied()
    }

    fn cut_connection(&mut self, which: usize) -> bool {
        let conn = self.some_conn(which);
        conn.into_iter().for_each(|conn| self.reset(conn));
        conn.is_some()
    }

    fn darken(&mut self, which: usize) -> bool {
        let conn = self.some_conn(which);
        conn.into_iter().for_each(|conn| self.go_dark(conn));
        conn.is_some()
    }

    /// Packets vanish; the system gives the connection up after a while.
    fn go_dark(&mut self, conn: usize) {
        self.conns[conn].dark = true;
        self.at(self.now + UNACKED_MS, Event::NearReset(conn));
    }
}
