//! The model of a cluster: nodes that know the truth sooner or later, slots that move key by key, and strict answers. A
//! node that does not own a slot executes nothing of it, and one that imports it wants ASKING, each time.

use crate::peer::{Blocked, Peer, Words};
use crate::plan::Reach;
use crate::wire::{OK, Proto, array, bulk, integer};
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

/// What a node has done.
pub struct Executed {
    pub words: Words,
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
    /// How often a key was changed: what WATCH goes by.
    versions: BTreeMap<Vec<u8>, u64>,
    /// The last command was carried out; drained by the world.
    pub executed: Vec<Executed>,
    /// Commands that published; drained by the world.
    pub published: Vec<Words>,
    /// What no node should have been asked for.
    pub odd: Option<String>,
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
            versions: BTreeMap::new(),
            executed: Vec::new(),
            published: Vec::new(),
            odd: None,
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
            // It is deleted where it was.
            self.touch(key);
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

    fn touch(&mut self, key: &[u8]) {
        *self.versions.entry(key.to_vec()).or_default() += 1;
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.versions.get(key).copied().unwrap_or_default()
    }

    /// One command of a connection. Without a reply if it waits now, or is answered by pushes.
    pub fn command(&mut self, at: usize, peer: &mut Peer, words: Words) -> Vec<u8> {
        let name = words[0].to_ascii_uppercase();
        let reply = self.dispatch(at, peer, &name, words);
        if peer.queue.is_none() && name != b"ASKING" {
            peer.asking = false;
        }
        reply
    }

    fn dispatch(&mut self, at: usize, peer: &mut Peer, name: &[u8], words: Words) -> Vec<u8> {
        match name {
            b"PING" => b"+PONG\r\n".to_vec(),
            b"HELLO" => peer.hello(&words[1]),
            b"CLIENT" if words[1].eq_ignore_ascii_case(b"ID") => integer(peer.number as i64),
            b"CLIENT" => OK.to_vec(),
            b"SUBSCRIBE" | b"UNSUBSCRIBE" | b"SUNSUBSCRIBE" => peer.subscription(name, &words[1..]),
            b"SSUBSCRIBE" | b"SPUBLISH" => match self.away(at, &words[1]) {
                Some(error) => format!("-{error}\r\n").into_bytes(),
                None if name == b"SSUBSCRIBE" => peer.subscription(name, &words[1..]),
                None => self.message(words),
            },
            b"PUBLISH" => self.message(words),
            b"UNWATCH" => {
                peer.watched.clear();
                OK.to_vec()
            }
            b"WATCH" => match self.leave(at, peer.asking, &[&words]) {
                Leave::Refuse(error) => format!("-{error}\r\n").into_bytes(),
                Leave::Execute => {
                    if !peer.watched.is_empty() {
                        self.odd = Some("WATCH where another client's watch was left".into());
                    }
                    let watch = |key: &Vec<u8>| (key.clone(), self.version(key));
                    peer.watched = words[1..].iter().map(watch).collect();
                    self.done(words, OK)
                }
            },
            b"CONFIG" => array(&[bulk(b"cluster-node-timeout"), bulk(b"1000")]),
            b"INFO" => bulk(b"redis_version:7.0.15\r\n"),
            b"COMMAND" => b"-NOPERM no\r\n".to_vec(),
            b"CLUSTER" => self.about(at, &words[1].to_ascii_uppercase()),
            b"ASKING" => {
                peer.asking = true;
                OK.to_vec()
            }
            b"DISCARD" => match peer.queue.take() {
                Some(_) => {
                    peer.watched.clear();
                    OK.to_vec()
                }
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
                    None if name == b"BLPOP" => self.pop(at, peer, words),
                    None => self.execute(at, words, peer.proto),
                },
            },
        }
    }

    fn message(&mut self, words: Words) -> Vec<u8> {
        self.published.push(words.clone());
        self.done(words, &integer(0))
    }

    /// Pops from the first key, or waits.
    fn pop(&mut self, at: usize, peer: &mut Peer, words: Words) -> Vec<u8> {
        if !peer.watched.is_empty() {
            self.odd = Some("BLPOP where another client's watch was left".into());
        }
        let shard = self.nodes[at].shard;
        let Some(Value::List(list)) = self.stores[shard].get_mut(&words[1]) else {
            peer.blocked = Some(Blocked::new(words, peer.asking));
            return Vec::new();
        };
        let element = list.remove(0);
        if list.is_empty() {
            self.stores[shard].remove(&words[1]);
        }
        self.touch(&words[1]);
        let reply = array(&[bulk(&words[1]), bulk(&element)]);
        self.done(words, &reply)
    }

    /// A waiting command is looked at again: its reply, if it has one now.
    pub fn wake(&mut self, at: usize, peer: &mut Peer) -> Option<Vec<u8>> {
        let blocked = peer.blocked.take()?;
        let refusal = match self.leave(at, blocked.asking, &[&blocked.words]) {
            // A server does not redirect a waiting client before the slot is gone.
            Leave::Refuse(error) if error.starts_with("MOVED") => {
                match self.nodes[at].view.primary[self.nodes[at].shard] == at {
                    true => error,
                    false => "UNBLOCKED force unblock from blocking operation, instance state \
                              changed (master -> replica?)"
                        .into(),
                }
            }
            Leave::Refuse(error) if error.starts_with("CLUSTERDOWN") => error,
            _ => {
                let shard = self.nodes[at].shard;
                if self.stores[shard].contains_key(&blocked.words[1]) {
                    return Some(self.pop(at, peer, blocked.words));
                }
                peer.blocked = Some(blocked);
                return None;
            }
        };
        Some(format!("-{refusal}\r\n").into_bytes())
    }

    /// Sharded channels that a node does not serve any more.
    pub fn lost_channels(&self, at: usize, peer: &Peer) -> Words {
        let sharded = peer
            .channels
            .iter()
            .filter(|(reach, _)| *reach == Reach::Shard);
        let gone = |name: &&Vec<u8>| self.away(at, name).is_some();
        sharded
            .map(|(_, name)| name)
            .filter(gone)
            .cloned()
            .collect()
    }

    /// Why a node does not serve a sharded channel.
    fn away(&self, at: usize, name: &[u8]) -> Option<String> {
        let node = &self.nodes[at];
        let view = &node.view;
        if node.state == State::Loading {
            return Some("LOADING Redis is loading the dataset in memory".into());
        }
        let owner = view.owner[self.segment(name)];
        if owner == node.shard && view.primary[owner] == at {
            return None;
        }
        let slot = Slot::of(name).number();
        Some(format!(
            "MOVED {slot} {}",
            self.nodes[view.primary[owner]].addr
        ))
    }

    fn done(&mut self, words: Words, reply: &[u8]) -> Vec<u8> {
        self.executed.push(Executed {
            segment: self.segment(&words[1]),
            words,
            reply: reply.to_vec(),
        });
        reply.to_vec()
    }

    fn exec(&mut self, at: usize, peer: &mut Peer) -> Vec<u8> {
        let Some(queue) = peer.queue.take() else {
            return b"-ERR EXEC without MULTI\r\n".to_vec();
        };
        if peer.refused {
            peer.watched.clear();
            return b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec();
        }
        let all: Vec<&Vec<Vec<u8>>> = queue.iter().collect();
        let watched = std::mem::take(&mut peer.watched);
        if let Leave::Refuse(error) = self.leave(at, peer.asking, &all) {
            return format!("-{error}\r\n").into_bytes();
        }
        if watched.iter().any(|(key, seen)| self.version(key) != *seen) {
            return peer.proto.nil_array().to_vec();
        }
        let proto = peer.proto;
        let each = queue.into_iter().map(|w| self.execute(at, w, proto));
        let replies: Vec<Vec<u8>> = each.collect();
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

    fn execute(&mut self, at: usize, words: Words, proto: Proto) -> Vec<u8> {
        let shard = self.nodes[at].shard;
        let key = words.get(1).cloned().unwrap_or_default();
        if !matches!(&*words[0], b"GET" | b"GETRANGE" | b"MGET") {
            self.touch(&key);
        }
        let store = &mut self.stores[shard];
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) => bulk(text),
            Some(Value::List(_)) => b"-WRONGTYPE\r\n".to_vec(),
            None => proto.nil().to_vec(),
        };
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
            // slotway's own: an element that it has no client for any more.
            b"LPUSH" => {
                let empty = Value::List(Vec::new());
                if let Value::List(list) = store.entry(key).or_insert(empty) {
                    list.insert(0, words[2].clone());
                }
                integer(1)
            }
            odd => panic!("the model has no {:?}", String::from_utf8_lossy(odd)),
        };
        self.done(words, &reply)
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
        b"MGET" | b"WATCH" => rest.collect(),
        b"BLPOP" => rest.take(2).collect(),
        b"MSET" => rest.step_by(2).collect(),
        _ => rest.take(1).collect(),
    }
}
