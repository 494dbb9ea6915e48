//! Scripted nodes for byte-exact faults: one or several of them look like a cluster of primaries to slotway, and
//! answer what the test's script says, byte for byte.
//!
//! They are strict. Questions about the cluster and of a handshake are answered as a server does (`answers`).
//! Everything else is data: a command for a slot that the node does not serve gets `-MOVED`, a key of a slot
//! that it only imports gets `-MOVED` too unless `ASKING` came right before it, keys of two slots are a
//! failure, and so is a command that the script does not expect next. Failures, and steps that never came, are
//! reported by [`FakeCluster::finish`], at the latest when the cluster is dropped.

mod answers;
mod serve;
mod stage;

pub use stage::{Stage, assert_reply};

use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use slotway::cluster::SLOTS;
use slotway::demo::{Reservation, Stop, wait_until};

use super::raw::show;

/// How long [`FakeCluster::wait_played`] and closed gates wait.
const PLAY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a node does with one command, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends these bytes, whatever they are.
    Send(Vec<u8>),
    /// Waits until the test opens the gate; the connection's later commands wait behind it.
    Wait(Gate),
    /// Waits until that moment: a node of a certain speed.
    Until(Instant),
    /// Closes the connection in good order.
    Close,
    /// Closes the connection with a reset.
    Reset,
}

/// So many sips may be sent before they are taken.
const SIPS_MAX: usize = 16;

/// A gate that a test opens, once.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets through whoever waits, and whoever comes later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let closed = |open: &mut bool| !*open;
        drop(
            self.0
                .1
                .wait_timeout_while(open, PLAY_TIMEOUT, closed)
                .unwrap(),
        );
    }
}

/// One expected command, and what is done with it.
#[derive(Clone, Debug)]
pub struct Step {
    command: Vec<Vec<u8>>,
    asking: Option<bool>,
    actions: Vec<Action>,
}

impl Step {
    /// Expects the words of this line.
    pub fn expect(line: &str) -> Self {
        let words = line.split_ascii_whitespace();
        Self {
            command: words.map(|word| word.as_bytes().to_vec()).collect(),
            asking: None,
            actions: Vec::new(),
        }
    }

    /// Expects `ASKING` right before it (or, with `false`, expects that there was none).
    pub fn asking(mut self, asked: bool) -> Self {
        self.asking = Some(asked);
        self
    }

    /// Answers with these bytes.
    pub fn send(self, bytes: &[u8]) -> Self {
        self.then(Action::Send(bytes.to_vec()))
    }

    /// Does this too, after what was said before.
    pub fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }
}

/// A command as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The node.
    pub node: usize,
    /// Which of all accepted connections, counted from 0 over the whole cluster.
    pub connection: usize,
    /// The connection's protocol version.
    pub proto: u8,
    /// Whether `ASKING` came right before it.
    pub asking: bool,
    /// Name and arguments.
    pub args: Vec<Vec<u8>>,
}

impl Call {
    /// The command's name in upper case.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.args[0]).to_ascii_uppercase()
    }
}

/// What a node believes about a slot that is being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It serves the slot still, and the script answers `-ASK` for keys that have left.
    Migrating,
    /// It takes the slot's keys after `ASKING` only.
    Importing,
}

/// A test's own way to answer; it is asked before everything else, HELLO and CLUSTER included. `None`: the node
/// answers as usual.
pub type Handler = Box<dyn Fn(&Call) -> Option<Vec<Action>> + Send>;

/// Several scripted nodes that look like one cluster of primaries.
#[derive(Debug)]
pub struct FakeCluster {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    finished: bool,
}

#[derive(Debug)]
struct Shared {
    ports: Vec<Reservation>,
    state: Mutex<State>,
    stop: Stop,
}

#[derive(Default)]
struct State {
    /// Which node serves each slot.
    owners: Vec<usize>,
    /// Config epoch of each node.
    epochs: Vec<u64>,
    marks: HashMap<(usize, u16), Mark>,
    scripts: Vec<VecDeque<Step>>,
    handlers: Vec<Option<Handler>>,
    /// What nodes say to MULTI, EXEC and DISCARD whose user may use none of them.
    no_multi: HashMap<usize, Vec<u8>>,
    calls: Vec<Call>,
    /// The next long argument is read so many bytes at a time, after each of these.
    sips: Option<(usize, Receiver<()>)>,
    connections: Vec<(usize, TcpStream)>,
    refusals: Vec<Call>,
    failures: Vec<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} calls, {:?})", self.calls.len(), self.failures)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no node panics")
    }

    fn addr(&self, node: usize) -> SocketAddr {
        self.ports[node].addr()
    }

    fn id(&self, node: usize) -> String {
        format!("{:040x}", 0xfa4e_0000 + node)
    }
}

impl FakeCluster {
    /// Starts `nodes` primaries that share the slots evenly, with empty scripts.
    pub fn start(nodes: usize) -> Self {
        let port = |_| Reservation::any_node().expect("a free port");
        let shared = Arc::new(Shared {
            ports: (0..nodes).map(port).collect(),
            state: Mutex::new(State {
                owners: (0..SLOTS).map(|slot| slot * nodes / SLOTS).collect(),
                epochs: (1..=nodes as u64).collect(),
                scripts: vec![VecDeque::new(); nodes],
                handlers: (0..nodes).map(|_| None).collect(),
                ..State::default()
            }),
            stop: Stop::default(),
        });
        let threads = (0..nodes)
            .map(|node| {
                let listener = TcpListener::bind(shared.addr(node)).expect("a reserved port");
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve::accept(&shared, node, &listener))
            })
            .collect();
        Self {
            shared,
            threads,
            finished: false,
        }
    }

    /// Where the nodes listen.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let all = 0..self.shared.ports.len();
        all.map(|node| self.shared.addr(node)).collect()
    }

    /// Where a node listens.
    pub fn addr(&self, node: usize) -> SocketAddr {
        self.shared.addr(node)
    }

    /// The node that serves a slot.
    pub fn owner(&self, slot: u16) -> usize {
        self.shared.state().owners[usize::from(slot)]
    }

    /// Adds steps to a node's script.
    pub fn script(&self, node: usize, steps: impl IntoIterator<Item = Step>) {
        self.shared.state().scripts[node].extend(steps);
    }

    /// Sets a test's own way to answer for a node.
    pub fn on(&self, node: usize, handler: impl Fn(&Call) -> Option<Vec<Action>> + Send + 'static) {
        self.shared.state().handlers[node] = Some(Box::new(handler));
    }

    /// The first argument longer than that is read so many bytes at a time, one time for each that is sent.
    pub fn read_in_sips(&self, len: usize) -> SyncSender<()> {
        let (sip, sips) = sync_channel(SIPS_MAX);
        self.shared.state().sips = Some((len, sips));
        sip
    }

    /// From now on a node refuses, with these words, the transaction that a lane tries out first.
    pub fn refuse_transactions(&self, node: usize, refusal: &[u8]) {
        let mut state = self.shared.state();
        state.no_multi.insert(node, refusal.to_vec());
    }

    /// Marks a slot as moving from its owner to another node.
    pub fn begin_migration(&self, slot: u16, to: usize) {
        let mut state = self.shared.state();
        let from = state.owners[usize::from(slot)];
        state.marks.insert((from, slot), Mark::Migrating);
        state.marks.insert((to, slot), Mark::Importing);
    }

    /// Marks a slot as moving to the next node; all keys of this command are there already, so its owner answers it with
    /// ASK. Gives the owner and the next node.
    pub fn ask_for(&self, slot: u16, command: &'static str) -> (usize, usize) {
        let from = self.owner(slot);
        let to = (from + 1) % self.addrs().len();
        self.begin_migration(slot, to);
        let ask = format!("-ASK {slot} {}\r\n", self.addr(to)).into_bytes();
        self.on(from, move |call| {
            (call.name() == command).then(|| vec![Action::Send(ask.clone())])
        });
        (from, to)
    }

    /// Gives a slot to a node, with a higher config epoch. Nobody is told: whoever sends a command for it to
    /// the old owner gets `-MOVED`.
    pub fn give_slot(&self, slot: u16, to: usize) {
        let mut state = self.shared.state();
        state.marks.retain(|(_, marked), _| *marked != slot);
        state.owners[usize::from(slot)] = to;
        state.epochs[to] = state.epochs.iter().max().expect("a node") + 1;
    }

    /// Every command a node has received so far, in order.
    pub fn calls(&self, node: usize) -> Vec<Call> {
        let state = self.shared.state();
        let its = state.calls.iter().filter(|call| call.node == node);
        its.cloned().collect()
    }

    /// How many commands of this name a node has received.
    pub fn count(&self, node: usize, name: &str) -> usize {
        let calls = self.calls(node);
        calls.iter().filter(|call| call.name() == name).count()
    }

    /// Commands that were refused with `-MOVED`, on all nodes.
    pub fn refusals(&self) -> Vec<Call> {
        self.shared.state().refusals.clone()
    }

    /// How many connections the nodes have accepted so far.
    pub fn accepted(&self, node: usize) -> usize {
        let state = self.shared.state();
        state.connections.iter().filter(|(n, _)| *n == node).count()
    }

    /// Sends bytes that nobody asked for on a connection.
    pub fn inject(&self, connection: usize, bytes: &[u8]) {
        use std::io::Write;
        let (_, stream) = &self.shared.state().connections[connection];
        let _ = (&*stream).write_all(bytes);
    }

    /// Closes all connections of a node; it goes on listening.
    pub fn disconnect(&self, node: usize) {
        for (n, stream) in &self.shared.state().connections {
            if *n == node {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Waits until the scripts have been played to their ends.
    #[track_caller]
    pub fn wait_played(&self) {
        wait_until(
            "the script is played",
            PLAY_TIMEOUT,
            &Stop::default(),
            || {
                let state = self.shared.state();
                let left = state.scripts.iter().flatten().next();
                match (left, state.failures.first()) {
                    (_, Some(failure)) => Err(failure.clone()),
                    (Some(step), None) => Err(format!("not yet: {}", describe(&step.command))),
                    (None, None) => Ok(()),
                }
            },
        )
        .unwrap();
    }

    /// Stops the nodes and fails if anything happened that the script did not expect, or did not happen.
    #[track_caller]
    pub fn finish(mut self) {
        self.stop();
        let problems = self.problems();
        assert!(
            problems.is_empty(),
            "scripted nodes:\n{}",
            problems.join("\n")
        );
    }

    fn problems(&mut self) -> Vec<String> {
        self.finished = true;
        let state = self.shared.state();
        let mut problems = state.failures.clone();
        for (node, script) in state.scripts.iter().enumerate() {
            for step in script {
                problems.push(format!(
                    "node {node}: never came: {}",
                    describe(&step.command)
                ));
            }
        }
        problems
    }

    fn stop(&mut self) {
        self.shared.stop.request();
        for node in 0..self.shared.ports.len() {
            // Wakes the thread that accepts.
            drop(TcpStream::connect(self.shared.addr(node)));
            self.disconnect(node);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.stop();
        if !self.finished {
            let problems = self.problems();
            if std::thread::panicking() {
                eprintln!("--- scripted nodes ---\n{}", problems.join("\n"));
            } else {
                assert!(
                    problems.is_empty(),
                    "scripted nodes:\n{}",
                    problems.join("\n")
                );
            }
        }
    }
}

fn describe(args: &[Vec<u8>]) -> String {
    let shown: Vec<String> = args.iter().map(|arg| show(arg)).collect();
    shown.join(" ")
}
