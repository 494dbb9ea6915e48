//! A local cluster: boots N primaries and M replicas of one server program on loopback ports and joins them,
//! without any other tool. It owns the processes and their files, and all of them are gone when it is
//! dropped. What can be done to a running one (failover, slot migration) is in `operate`, what "healthy"
//! means in `health`. Called by `slotway demo` and by the tests.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::{NodeAddr, SLOTS};

use super::Error;
use super::client::{Client, Reply};
use super::dir::Dir;
use super::node::{Server, find_server};
use super::ports::Reservation;
use super::wait::{Stop, wait_until};

/// How long the nodes may take to become one healthy cluster.
const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks for nodes that do not know each other: a handshake that came to nothing on a busy machine is forgotten
/// by them.
const MEET_AGAIN: Duration = Duration::from_secs(1);
/// Most nodes of one local cluster.
const NODES_MAX: usize = 400;

/// What kind of cluster to boot.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The server program; `None`: the one on PATH.
    pub server: Option<PathBuf>,
    /// How many primaries share the slots.
    pub primaries: usize,
    /// How many replicas in all; they are dealt out to the primaries in turn.
    pub replicas: usize,
    /// The first node's port, the others follow; `None`: free ones.
    pub base_port: Option<u16>,
    /// Where the nodes keep their files, which are removed afterwards, and so is the directory if it was made for
    /// this; `None`: a temporary directory.
    pub dir: Option<PathBuf>,
    /// Password of the cluster's default user.
    pub password: Option<String>,
    /// `cluster-node-timeout`.
    pub node_timeout: Duration,
    /// More settings for each server, on top of the usual ones.
    pub settings: Vec<(String, String)>,
    /// Lets another thread interrupt the boot.
    pub stop: Stop,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            server: None,
            primaries: 3,
            replicas: 3,
            base_port: None,
            dir: None,
            password: None,
            node_timeout: Duration::from_secs(2),
            settings: Vec::new(),
            stop: Stop::default(),
        }
    }
}

/// A running local cluster. Nodes are numbered from 0: first the nodes that were booted as primaries, then the
/// replicas; replica `i` was booted for primary `(i - primaries) % primaries`. Failovers do not renumber.
#[derive(Debug)]
pub struct Cluster {
    // Dropped before `dir`.
    nodes: Vec<Server>,
    pub(super) ids: Vec<String>,
    pub(super) primaries: usize,
    pub(super) password: Option<String>,
    _dir: Dir,
}

impl Cluster {
    /// Boots the nodes, joins them, and waits until every node calls the cluster healthy.
    pub fn boot(options: &ClusterOptions) -> Result<Self, Error> {
        let cluster = Self::start(options)?;
        cluster.form(&options.stop)?;
        Ok(cluster)
    }

    /// Only boots the nodes: each one is alone and has no slots, until [`Cluster::form`] joins them.
    pub fn start(options: &ClusterOptions) -> Result<Self, Error> {
        check_shape(options)?;
        let program = match &options.server {
            Some(path) => path.clone(),
            None => find_server()?,
        };
        let dir = match &options.dir {
            Some(path) => Dir::use_or_create(path)?,
            None => Dir::temporary()?,
        };
        let timeout_ms = options.node_timeout.as_millis().to_string();
        let mut settings = vec![
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", timeout_ms.as_str()),
            ("cluster-allow-replica-migration", "no"),
        ];
        if let Some(password) = &options.password {
            settings.push(("requirepass", password));
            settings.push(("masterauth", password));
        }
        settings.extend(
            options
                .settings
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str())),
        );

        let mut nodes = Vec::new();
        for index in 0..options.primaries + options.replicas {
            let port = reserve_port(options.base_port, index)?;
            let node_dir = Dir::create(dir.path().join(port.port().to_string()))?;
            let mut node = Server::new(&program, port, node_dir);
            node.set(&settings);
            nodes.push(node);
        }
        // All are started before the first is waited for.
        for node in &mut nodes {
            node.start()?;
        }
        for node in &mut nodes {
            node.wait_for_answer(&options.stop)?;
        }
        let mut cluster = Self {
            nodes,
            ids: Vec::new(),
            primaries: options.primaries,
            password: options.password.clone(),
            _dir: dir,
        };
        for node in 0..cluster.len() {
            let id = cluster.ask(node, &["CLUSTER", "MYID"])?.text();
            cluster.ids.push(id);
        }
        Ok(cluster)
    }

    /// Deals out the slots, joins the nodes, and waits until every node calls the cluster healthy.
    pub fn form(&self, stop: &Stop) -> Result<(), Error> {
        self.deal_out()?;
        self.join(stop)
    }

    /// Gives each node an epoch of its own, and the primaries their slots.
    pub fn deal_out(&self) -> Result<(), Error> {
        for node in 0..self.len() {
            let epoch = (node + 1).to_string();
            self.expect_ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch])?;
        }
        for primary in 0..self.primaries {
            let (first, last) = self.booted_slots(primary);
            let (first, last) = (first.to_string(), last.to_string());
            self.expect_ok(primary, &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        }
        Ok(())
    }

    /// Joins the nodes, and waits until every node calls the cluster healthy.
    pub fn join(&self, stop: &Stop) -> Result<(), Error> {
        // Every pair at once: through gossip alone it would take seconds.
        for node in 0..self.len() {
            for other in node + 1..self.len() {
                self.meet(node, other)?;
            }
        }
        for replica in self.primaries..self.len() {
            self.replicate(replica, self.booted_primary(replica), stop)?;
        }
        let mut met = Instant::now();
        wait_until("the cluster is healthy", FORM_TIMEOUT, stop, || {
            let healthy = self.check_healthy();
            if healthy.is_err() && met.elapsed() >= MEET_AGAIN {
                self.meet_strangers();
                met = Instant::now();
            }
            healthy
        })
    }

    fn meet(&self, node: usize, other: usize) -> Result<(), Error> {
        let port = self.addr(other).port().to_string();
        self.expect_ok(node, &["CLUSTER", "MEET", "127.0.0.1", &port])
    }

    /// Has nodes meet again that do not know each other. Whoever does not answer now is asked the next time.
    fn meet_strangers(&self) {
        for node in 0..self.len() {
            // Those with whom it shakes hands are listed, too, by names that are not theirs.
            let lines = match self.nodes_seen_by(node) {
                Ok(lines) if lines.len() < self.len() => lines,
                Ok(_) | Err(_) => continue,
            };
            let is_known = |other: usize| lines.iter().any(|line| line.id == self.id(other));
            for other in (0..self.len()).filter(|&other| !is_known(other)) {
                let _ = self.meet(node, other);
            }
        }
    }

    /// Makes `replica` a replica of `primary`, as soon as it knows it.
    fn replicate(&self, replica: usize, primary: usize, stop: &Stop) -> Result<(), Error> {
        let what = format!("node {replica} becomes a replica of node {primary}");
        let id = self.ids[primary].as_str();
        wait_until(&what, FORM_TIMEOUT, stop, || {
            match self.command(replica, &["CLUSTER", "REPLICATE", id]) {
                Ok(Reply::Simple(_)) => Ok(()),
                Ok(other) => {
                    let met = self.meet(replica, primary);
                    Err(format!("{other:?}; told to meet: {met:?}"))
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }

    /// How many nodes it was booted with.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: a cluster has a primary.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many of the nodes were booted as primaries: nodes `0..primaries()`.
    pub fn primaries(&self) -> usize {
        self.primaries
    }

    /// First and last slot of the node that was booted as primary number `primary`.
    pub fn booted_slots(&self, primary: usize) -> (u16, u16) {
        let start = |i: usize| u16::try_from(i * SLOTS / self.primaries).expect("at most 16384");
        (start(primary), start(primary + 1) - 1)
    }

    /// The primary that a replica was booted for.
    pub fn booted_primary(&self, replica: usize) -> usize {
        (replica - self.primaries) % self.primaries
    }

    /// Where a node listens.
    pub fn addr(&self, node: usize) -> SocketAddr {
        self.nodes[node].addr()
    }

    /// Where all nodes listen.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Server::addr).collect()
    }

    /// The same as seed nodes for a configuration.
    pub fn seeds(&self) -> Vec<NodeAddr> {
        let seed = |addr: SocketAddr| NodeAddr::new(addr.ip().to_string(), addr.port());
        self.addrs().into_iter().map(seed).collect()
    }

    /// The node that listens there.
    pub fn node_at(&self, addr: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addr() == addr)
    }

    /// A node's 40-character id.
    pub fn id(&self, node: usize) -> &str {
        &self.ids[node]
    }

    /// One node's server: its log, its process id.
    pub fn node(&self, node: usize) -> &Server {
        &self.nodes[node]
    }

    /// A new connection to a node, authenticated.
    pub fn connect(&self, node: usize) -> io::Result<Client> {
        self.nodes[node].connect()
    }

    /// Asks a node one question on a connection of its own.
    pub fn command<A: AsRef<[u8]>>(&self, node: usize, args: &[A]) -> io::Result<Reply> {
        self.nodes[node].command(args)
    }

    /// The same, where an error reply is an error.
    pub fn ask(&self, node: usize, args: &[&str]) -> Result<Reply, Error> {
        let reply = self.command(node, args).map_err(|error| {
            Error::io(format!("{} on {}", args.join(" "), self.addr(node)), error)
        })?;
        if reply.is_error() {
            return Err(self.refused(node, args, &reply));
        }
        Ok(reply)
    }

    /// The same, where everything but `+OK` is an error.
    pub(super) fn expect_ok(&self, node: usize, args: &[&str]) -> Result<(), Error> {
        match self.ask(node, args)? {
            Reply::Simple(text) if text == "OK" => Ok(()),
            other => Err(self.refused(node, args, &other)),
        }
    }

    pub(super) fn refused(&self, node: usize, args: &[&str], reply: &Reply) -> Error {
        Error::Refused {
            node: self.addr(node),
            command: args.join(" "),
            reply: format!("{reply:?}"),
        }
    }

    /// SIGKILL for a node; it is gone when this returns.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node again, on its port and with what it knew of the cluster.
    pub fn restart(&mut self, node: usize) -> Result<(), Error> {
        self.nodes[node].restart()
    }

    /// Starts a node again with what it knew, but on another port, as if its machine had been replaced. The port that
    /// it had stays reserved while the result lives.
    pub fn restart_elsewhere(&mut self, node: usize) -> Result<Reservation, Error> {
        self.nodes[node].restart_elsewhere()
    }

    /// SIGSTOP for a node: it holds its connections and answers nothing.
    pub fn pause(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].pause()
    }

    /// SIGCONT for a node.
    pub fn resume(&self, node: usize) -> Result<(), Error> {
        self.nodes[node].resume()
    }
}

fn check_shape(options: &ClusterOptions) -> Result<(), Error> {
    let nodes = options.primaries + options.replicas;
    let wrong = if options.primaries == 0 {
        "a cluster needs at least one primary".to_owned()
    } else if nodes > NODES_MAX {
        format!("{nodes} nodes are more than the {NODES_MAX} that a local cluster may have")
    } else {
        return Ok(());
    };
    Err(Error::Shape(wrong))
}

pub(super) fn reserve_port(base: Option<u16>, index: usize) -> Result<Reservation, Error> {
    let Some(base) = base else {
        return Reservation::any_node();
    };
    let port = u16::try_from(usize::from(base) + index)
        .map_err(|_| Error::Shape(format!("base port {base} leaves no room for node {index}")))?;
    Reservation::node(port, &format!("node {index}"))
}
