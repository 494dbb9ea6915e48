//! What a node of the model does with a command: strict answers. A node that does not own a slot executes nothing of it, and
//! one that imports it wants ASKING, each time.

use super::{Cluster, Executed, State, Value};
use crate::peer::{Blocked, Peer, Words};
use crate::plan::Reach;
use crate::wire::{OK, Proto, array, bulk, integer};
use slotway::cluster::Slot;

/// A node's answer to a command with keys, before it is executed.
enum Leave {
    Execute,
    Refuse(String),
}

impl Cluster {
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
            b"PING" => match words.get(1) {
                None => b"+PONG\r\n".to_vec(),
                Some(word) => bulk(word),
            },
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
        let refusal = match self.may(at, blocked.asking, &[&blocked.words]) {
            // A server does not redirect a waiting client before the slot is gone.
            Leave::Refuse(error) if error.starts_with("MOVED") => {
                self.sent_on.push(blocked.words.clone());
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

    /// Whether a node may execute commands. Where it refuses them, what it is asked for is looked at.
    fn leave(&mut self, at: usize, asking: bool, commands: &[&Words]) -> Leave {
        let leave = self.may(at, asking, commands);
        if let Leave::Refuse(error) = &leave
            && (error.starts_with("MOVED ") || error.starts_with("ASK "))
        {
            let first = commands.iter().flat_map(|words| keys_of(words)).next();
            let segment = self.segment(first.unwrap_or_default());
            let shard = self.nodes[at].shard;
            let imports = self.moving[segment] == Some(shard);
            if imports && !asking && !self.had[segment].contains(&shard) {
                self.odd = Some(format!("node {at} imports a slot, and was not told ASKING"));
            }
            if error.starts_with("ASK ")
                && let Some(to) = self.target(shard, segment)
            {
                self.asks.insert((segment, to));
            }
            self.sent_on.extend(commands.iter().map(|w| (*w).clone()));
        }
        leave
    }

    /// To whom a shard gives a segment, or has given it without knowing that this is over.
    fn target(&self, shard: usize, segment: usize) -> Option<usize> {
        match self.truth.owner[segment] == shard {
            true => self.moving[segment],
            false => self.given[segment].get(&shard).copied(),
        }
    }

    /// The same, and nothing else.
    fn may(&self, at: usize, asking: bool, commands: &[&Vec<Vec<u8>>]) -> Leave {
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
            return match (self.target(node.shard, segment), missing(node.shard)) {
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
            b"LPOP" => match store.get_mut(&key) {
                Some(Value::List(list)) => {
                    let element = list.remove(0);
                    if list.is_empty() {
                        store.remove(&key);
                    }
                    bulk(&element)
                }
                _ => proto.nil().to_vec(),
            },
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
}

fn try_again() -> Leave {
    Leave::Refuse("TRYAGAIN Multiple keys request during rehashing of slot".into())
}

fn keys_of(words: &[Vec<u8>]) -> Vec<&[u8]> {
    let rest = words[1..].iter().map(|w| &w[..]);
    match &*words[0].to_ascii_uppercase() {
        b"MGET" => rest.collect(),
        // The second key of WATCH and BLPOP only says which command it is: they are as those of one key, which a node that
        // imports the slot takes whether it has it or not.
        b"MSET" => rest.step_by(2).collect(),
        _ => rest.take(1).collect(),
    }
}
