//! The model of a cluster: nodes that know the truth sooner or later, slots that move key by key, and strict answers. A
//! node that does not own a slot executes nothing of it, and one that imports it wants ASKING, each time.

use crate::wire::{self, NIL, OK, array, bulk, integer};
use slotway::cluster::Slot;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// What is stored under a key.
#[derive(Clone, Debug)]
pub enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

/// What there is to know of the cluster, at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub number: u64,
    /// The shard of each segment.
    pub owner: Vec<usize>,
    /// The primary of each shard.
    pub primary: Vec<usize>,
    /// Of each shard.
    pub epoch: Vec<u64>,
    pub failed: Vec<bool>,
    pub current_epoch: u64,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Loading,
    /// Accepts, and does nothing.
    Stopped,
    Dead,
}

pub struct Node {
    pub addr: SocketAddr,
    pub shard: usize,
    pub state: State,
    pub view: Rc<View>,
}

/// State of a connection as its node has it.
#[derive(Default)]
pub struct Peer {
    asking: bool,
    queue: Option<Vec<Vec<Vec<u8>>>>,
    refused: bool,
}

/// What a node has done.
pub struct Executed {
    pub words: Vec<Vec<u8>>,
    pub reply: Vec<u8>,
    pub segment: usize,
}

pub struct Cluster {
    pub segments: Vec<(u16, u16)>,
    pub nodes: Vec<Node>,
    pub truth: View,
    /// Where a segment is moving to.
    pub moving: Vec<Option<usize>>,
    /// Of each shard.
    pub stores: Vec<BTreeMap<Vec<u8>, Value>>,
    /// The last command was carried out; drained by the world.
    pub executed: Vec<Executed>,
}

/// A node's answer to a command with keys, before it is executed.
enum Leave {
    Execute,
    Refuse(String),
}

impl Cluster {
    /// `hot` are the slots in use: each is a segment of its own.
    pub fn new(shards: usize, replicas: usize, hot: &[u16]) -> Self {
        let mut cuts: Vec<u16> = (0..shards).map(|s| (s * 16384 / shards) as u16).collect();
        for slot in hot {
            cuts.extend([*slot, slot + 1]);
        }
        cuts.sort();
        cuts.dedup();
        cuts.retain(|c| *c < 16384);
        let ends = cuts.iter().skip(1).map(|next| next - 1).chain([16383]);
        let segments: Vec<(u16, u16)> = cuts.iter().copied().zip(ends).collect();
        let home = |slot: u16| {
            (0..shards)
                .rev()
                .find(|s| slot as usize >= s * 16384 / shards)
        };
        let truth = View {
            number: 1,
            owner: segments.iter().filter_map(|s| home(s.0)).collect(),
            primary: (0..shards).map(|s| s * (replicas + 1)).collect(),
            epoch: (1..=shards as u64).collect(),
            failed: vec![false; shards * (replicas + 1)],
            current_epoch: shards as u64,
        };
        let view = Rc::new(truth.clone());
        let node = |i: usize| Node {
            addr: SocketAddr::from(([10, 0, 0, 1 + i as u8], 7000)),
            shard: i / (replicas + 1),
            state: State::Running,
            view: view.clone(),
        };
        Self {
            nodes: (0..shards * (replicas + 1)).map(node).collect(),
            moving: vec![None; segments.len()],
            stores: vec![BTreeMap::new(); shards],
            executed: Vec::new(),
            segments,
            truth,
        }
    }

    pub fn segment(&self, key: &[u8]) -> usize {
        let slot = Slot::of(key).number();
        self.segments.partition_point(|s| s.0 <= slot) - 1
    }

    /// The truth has changed: what is to be known of it.
    pub fn publish(&mut self) -> Rc<View> {
        self.truth.number += 1;
        Rc::new(self.truth.clone())
    }

    pub fn learn(&mut self, node: usize, view: &Rc<View>) {
        if self.nodes[node].view.number < view.number {
            self.nodes[node].view = view.clone();
        }
    }

    pub fn move_key(&mut self, segment: usize, pick: usize) {
        let Some(to) = self.moving[segment] else {
            return;
        };
        let from = self.truth.owner[segment];
        let keys: Vec<Vec<u8>> = self.keys_of(from, segment);
        if let Some(key) = keys.get(pick % keys.len().max(1))
            && let Some(value) = self.stores[from].remove(key)
        {
            self.stores[to].insert(key.clone(), value);
        }
    }

    fn keys_of(&self, shard: usize, segment: usize) -> Vec<Vec<u8>> {
        let keys = self.stores[shard].keys();
        keys.filter(|k| self.segment(k) == segment)
            .cloned()
            .collect()
    }

    /// The move is over: all keys are there, and the target knows that it owns them.
    pub fn end_move(&mut self, segment: usize) -> Option<(usize, usize)> {
        while self.moving[segment].is_some()
            && !self.keys_of(self.truth.owner[segment], segment).is_empty()
        {
            self.move_key(segment, 0);
        }
        let to = self.moving[segment].take()?;
        let from = std::mem::replace(&mut self.truth.owner[segment], to);
        self.truth.current_epoch += 1;
        self.truth.epoch[to] = self.truth.current_epoch;
        Some((from, to))
    }

    /// One command of a connection.
    pub fn command(&mut self, at: usize, peer: &mut Peer, words: Vec<Vec<u8>>) -> Vec<u8> {
        let name = words[0].to_ascii_uppercase();
        let reply = self.dispatch(at, peer, &name, words);
        if peer.queue.is_none() && name != b"ASKING" {
            peer.asking = false;
        }
        reply
    }

    fn dispatch(
        &mut self,
        at: usize,
        peer: &mut Peer,
        name: &[u8],
        words: Vec<Vec<u8>>,
    ) -> Vec<u8> {
        match name {
            b"PING" => b"+PONG\r\n".to_vec(),
            b"HELLO" => b"*6\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$7\r\nmodules\r\n*0\r\n".to_vec(),
            b"CLIENT" => OK.to_vec(),
            b"CONFIG" => array(&[bulk(b"cluster-node-timeout"), bulk(b"1000")]),
            b"INFO" => bulk(b"redis_version:7.0.15\r\n"),
            b"COMMAND" => b"-NOPERM no\r\n".to_vec(),
            b"CLUSTER" => self.about(at, &words[1].to_ascii_uppercase()),
            b"ASKING" => {
                peer.asking = true;
                OK.to_vec()
            }
            b"DISCARD" => match peer.queue.take() {
                Some(_) => OK.to_vec(),
                None => b"-ERR DISCARD without MULTI\r\n".to_vec(),
            },
            b"MULTI" => {
                peer.queue = Some(Vec::new());
                peer.refused = false;
                OK.to_vec()
            }
            b"EXEC" => self.exec(at, peer),
            _ => match self.leave(at, peer.asking, &[&words]) {
                Leave::Refuse(error) => {
                    peer.refused = true;
                    format!("-{error}\r\n").into_bytes()
                }
                Leave::Execute => match &mut peer.queue {
                    Some(queue) => {
                        queue.push(words);
                        b"+QUEUED\r\n".to_vec()
                    }
                    None => self.execute(at, words),
                },
            },
        }
    }

    fn exec(&mut self, at: usize, peer: &mut Peer) -> Vec<u8> {
        let Some(queue) = peer.queue.take() else {
            return b"-ERR EXEC without MULTI\r\n".to_vec();
        };
        if peer.refused {
            return b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec();
        }
        let all: Vec<&Vec<Vec<u8>>> = queue.iter().collect();
        if let Leave::Refuse(error) = self.leave(at, peer.asking, &all) {
            return format!("-{error}\r\n").into_bytes();
        }
        let replies: Vec<Vec<u8>> = queue.into_iter().map(|w| self.execute(at, w)).collect();
        array(&replies)
    }

    /// Whether a node may execute commands.
    fn leave(&self, at: usize, asking: bool, commands: &[&Vec<Vec<u8>>]) -> Leave {
        let node = &self.nodes[at];
        let view = &node.view;
        if node.state == State::Loading {
            return Leave::Refuse("LOADING Redis is loading the dataset in memory".into());
        }
        let keys: Vec<&[u8]> = commands.iter().flat_map(|words| keys_of(words)).collect();
        let Some(first) = keys.first() else {
            return Leave::Execute;
        };
        let segment = self.segment(first);
        if keys.iter().any(|k| Slot::of(k) != Slot::of(first)) {
            return Leave::Refuse("CROSSSLOT Keys in request don't hash to the same slot".into());
        }
        let down = |shard: usize| view.failed[view.primary[shard]];
        if view.owner.iter().any(|&shard| down(shard)) {
            return Leave::Refuse("CLUSTERDOWN The cluster is down".into());
        }
        let slot = Slot::of(first).number();
        let owner = view.owner[segment];
        let is_primary = view.primary[node.shard] == at;
        let missing = |shard: usize| {
            let has = |k: &&&[u8]| self.stores[shard].contains_key(**k);
            keys.len() - keys.iter().filter(has).count()
        };
        let to = |shard: usize| self.nodes[view.primary[shard]].addr;
        if owner == node.shard && is_primary {
            let gone = self.truth.owner[segment];
            let target = self.moving[segment].or((gone != node.shard).then_some(gone));
            return match (target, missing(node.shard)) {
                (None, _) | (Some(_), 0) => Leave::Execute,
                (Some(target), all) if all == keys.len() => {
                    Leave::Refuse(format!("ASK {slot} {}", to(target)))
                }
                _ => try_again(),
            };
        }
        if is_primary && asking && self.moving[segment] == Some(node.shard) {
            return match missing(node.shard) {
                some if some > 0 && keys.len() > 1 => try_again(),
                _ => Leave::Execute,
            };
        }
        Leave::Refuse(format!("MOVED {slot} {}", to(owner)))
    }

    fn execute(&mut self, at: usize, words: Vec<Vec<u8>>) -> Vec<u8> {
        let shard = self.nodes[at].shard;
        let store = &mut self.stores[shard];
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) => bulk(text),
            Some(Value::List(_)) => b"-WRONGTYPE\r\n".to_vec(),
            None => NIL.to_vec(),
        };
        let key = words.get(1).cloned().unwrap_or_default();
        let reply = match &*words[0].to_ascii_uppercase() {
            b"GET" => text(store.get(&key)),
            b"GETRANGE" => match store.get(&key) {
                None => bulk(b""),
                there => text(there),
            },
            b"MGET" => array(
                &words[1..]
                    .iter()
                    .map(|k| text(store.get(k)))
                    .collect::<Vec<_>>(),
            ),
            b"SET" | b"MSET" => {
                for pair in words[1..].chunks(2) {
                    store.insert(pair[0].clone(), Value::Text(pair[1].clone()));
                }
                OK.to_vec()
            }
            b"INCR" => {
                let old = match store.get(&key) {
                    Some(Value::Text(text)) => String::from_utf8_lossy(text).parse().unwrap_or(0),
                    _ => 0,
                };
                store.insert(key.clone(), Value::Text((old + 1).to_string().into_bytes()));
                integer(old + 1)
            }
            b"RPUSH" => {
                let empty = Value::List(Vec::new());
                match store.entry(key.clone()).or_insert(empty) {
                    Value::List(list) => {
                        list.extend(words[2..].iter().cloned());
                        integer(list.len() as i64)
                    }
                    Value::Text(_) => b"-WRONGTYPE\r\n".to_vec(),
                }
            }
            odd => panic!("the model has no {:?}", String::from_utf8_lossy(odd)),
        };
        self.executed.push(Executed {
            segment: self.segment(&key),
            words,
            reply: reply.clone(),
        });
        reply
    }

    fn about(&self, at: usize, what: &[u8]) -> Vec<u8> {
        let view = &*self.nodes[at].view;
        let down = view
            .owner
            .iter()
            .any(|&shard| view.failed[view.primary[shard]]);
        match what {
            b"INFO" => {
                let state = if down { "fail" } else { "ok" };
                let epoch = view.current_epoch;
                bulk(
                    format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n")
                        .as_bytes(),
                )
            }
            b"NODES" => {
                let lines: String = (0..self.nodes.len()).map(|n| self.line(at, n)).collect();
                bulk(lines.as_bytes())
            }
            _ => {
                let shards = 0..view.primary.len();
                array(&shards.map(|s| self.shard(at, s)).collect::<Vec<_>>())
            }
        }
    }

    fn ranges(&self, view: &View, shard: usize) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (segment, &(first, last)) in self.segments.iter().enumerate() {
            if view.owner[segment] != shard {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if range.1 + 1 == first => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
        ranges
    }

    fn line(&self, at: usize, n: usize) -> String {
        let (node, view) = (&self.nodes[n], &*self.nodes[at].view);
        let primary = view.primary[node.shard];
        let mut flags = String::from(if n == at { "myself," } else { "" });
        flags += if n == primary { "master" } else { "slave" };
        flags += if view.failed[n] { ",fail" } else { "" };
        let of = if n == primary {
            "-".into()
        } else {
            id(primary)
        };
        let epoch = view.epoch[node.shard];
        let addr = node.addr;
        let mut line = format!("{} {addr}@17000 {flags} {of} 0 0 {epoch} connected", id(n));
        if n == primary {
            for (first, last) in self.ranges(view, node.shard) {
                line += &format!(" {first}-{last}");
            }
        }
        line + "\n"
    }

    fn shard(&self, at: usize, shard: usize) -> Vec<u8> {
        let view = &*self.nodes[at].view;
        let slots: Vec<Vec<u8>> = self
            .ranges(view, shard)
            .iter()
            .flat_map(|r| [integer(r.0.into()), integer(r.1.into())])
            .collect();
        let nodes: Vec<Vec<u8>> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].shard == shard)
            .map(|n| {
                let node = &self.nodes[n];
                let ip = node.addr.ip().to_string();
                let role = if view.primary[shard] == n {
                    "master"
                } else {
                    "replica"
                };
                let health = if view.failed[n] { "fail" } else { "online" };
                array(&[
                    bulk(b"id"),
                    bulk(id(n).as_bytes()),
                    bulk(b"port"),
                    integer(node.addr.port().into()),
                    bulk(b"ip"),
                    bulk(ip.as_bytes()),
                    bulk(b"endpoint"),
                    bulk(ip.as_bytes()),
                    bulk(b"role"),
                    bulk(role.as_bytes()),
                    bulk(b"replication-offset"),
                    integer(1),
                    bulk(b"health"),
                    bulk(health.as_bytes()),
                ])
            })
            .collect();
        array(&[bulk(b"slots"), array(&slots), bulk(b"nodes"), array(&nodes)])
    }
}

fn try_again() -> Leave {
    Leave::Refuse("TRYAGAIN Multiple keys request during rehashing of slot".into())
}

fn id(node: usize) -> String {
    format!("{:040x}", node + 1)
}

fn keys_of(words: &[Vec<u8>]) -> Vec<&[u8]> {
    let rest = words[1..].iter().map(|w| &w[..]);
    match &*words[0].to_ascii_uppercase() {
        b"MGET" => rest.collect(),
        b"MSET" => rest.step_by(2).collect(),
        _ => rest.take(1).collect(),
    }
}

/// The requests at the front of what a connection brought.
pub fn requests(inbox: &mut Vec<u8>) -> Vec<Vec<Vec<u8>>> {
    let (mut all, mut used) = (Vec::new(), 0);
    while used < inbox.len()
        && let Some((words, len)) = wire::request(&inbox[used..])
    {
        all.push(words);
        used += len;
    }
    inbox.drain(..used);
    all
}
