//! Servers without cluster support: one primary and its replicas are one shard with all slots. Decides which server is the
//! primary, of what several say, and makes of it the [`View`] that a cluster of one shard would give. Pure.
//!
//! - What a server says about its own part is so.
//! - The primary stays it for as long as it says so, whoever else does: after a promotion by hand until it was made a replica.
//! - In its place comes a server that was its replica, or that it has become a replica of; nobody else: another one
//!   has other data.
//! - A server is told by its run id, whatever names it goes by; a primary that was started anew is known by its address.

use super::view::{ClusterState, Health, Role, View, ViewNode};
use super::{NodeAddr, SLOTS, SlotRange};
use std::collections::HashMap;
use std::sync::Arc;

/// Addresses of replicas, and names of servers, that are remembered.
const KNOWN_MAX: usize = 1024;

/// What one server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The server that was asked, by the address it was asked at.
    pub source: NodeAddr,
    /// Of this process of it.
    pub run_id: Arc<str>,
    /// Its part.
    pub part: Part,
}

/// A server's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It takes writes.
    Primary {
        /// Its replicas, and whether they are in step.
        replicas: Vec<(NodeAddr, bool)>,
    },
    /// It copies the server there.
    ReplicaOf(NodeAddr),
}

/// Why nobody is the primary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPrimary {
    /// Only replicas have answered.
    #[error("{replica} is a replica of {primary}, which does not say that it is a primary")]
    Silent {
        /// One of them.
        replica: NodeAddr,
        /// Its primary.
        primary: NodeAddr,
    },
    /// Which of them is meant?
    #[error("{one} and {other} are both primaries, and no cluster")]
    Several {
        /// One of them.
        one: NodeAddr,
        /// Another one.
        other: NodeAddr,
    },
    /// It holds other data.
    #[error("{other} is a primary, but was no replica of {primary}, which does not answer as one")]
    Stranger {
        /// Who was the primary.
        primary: NodeAddr,
        /// Who says that it is one.
        other: NodeAddr,
    },
}

impl NoPrimary {
    /// What an operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Silent { .. } => {
                "bring the primary back, or make the replica one (REPLICAOF NO ONE): slotway follows"
            }
            Self::Several { .. } => {
                "name one of them in cluster.nodes, or make the other its replica (REPLICAOF)"
            }
            Self::Stranger { .. } => {
                "bring the primary or one of its replicas back; to work with the other server, name it alone in cluster.nodes and restart slotway"
            }
        }
    }
}

/// Which server is the primary. One writer: the topology task.
#[derive(Debug, Default)]
pub struct Standalone {
    primary: Option<NodeAddr>,
    /// Raised by one with each primary.
    epoch: u64,
    /// Who was a replica of it.
    replicas: Vec<NodeAddr>,
    /// By which address a server is known.
    names: HashMap<Arc<str>, NodeAddr>,
    /// Whom replicas call their primary.
    wanted: Vec<NodeAddr>,
}

impl Standalone {
    /// Whether one was found.
    pub fn is_found(&self) -> bool {
        self.primary.is_some()
    }

    /// Who is to be asked, too: whom replicas call their primary.
    pub fn wanted(&self) -> &[NodeAddr] {
        &self.wanted
    }

    /// Takes in the answers of a round: what a cluster would say that is made of them.
    pub fn fold(&mut self, servers: &[Server]) -> Result<View, NoPrimary> {
        self.name(servers);
        let servers = self.known_once(servers);
        self.wanted = servers
            .values()
            .filter_map(|s| s.primary())
            .cloned()
            .collect();
        self.wanted.sort();
        self.wanted.dedup();
        let mut primaries: Vec<&NodeAddr> = (servers.iter())
            .filter(|(_, server)| server.primary().is_none())
            .map(|(addr, _)| addr)
            .collect();
        primaries.sort();
        let stays = self.primary.as_ref().filter(|p| primaries.contains(p));
        let primary = match (stays, &self.primary) {
            (Some(stays), _) => stays.clone(),
            (None, None) => one_of(&primaries)?.ok_or_else(|| silent(&servers))?,
            (None, Some(before)) => {
                let now = servers.get(before).and_then(|s| s.primary());
                let now = now.map(|addr| self.name_of(addr, &servers));
                let follows = |addr: &&&NodeAddr| {
                    self.replicas.contains(addr) || now.is_some_and(|now| now == **addr)
                };
                let heirs: Vec<&NodeAddr> = primaries.iter().filter(follows).copied().collect();
                match (one_of(&heirs)?, primaries.first()) {
                    (Some(heir), _) => heir,
                    (None, Some(other)) => {
                        return Err(NoPrimary::Stranger {
                            primary: before.clone(),
                            other: (*other).clone(),
                        });
                    }
                    (None, None) => return Err(silent(&servers)),
                }
            }
        };
        if self.primary.as_ref() != Some(&primary) {
            self.epoch += 1;
            self.replicas.extend(self.primary.replace(primary.clone()));
        }
        let replicas = match servers.get(&primary).map(|server| &server.part) {
            Some(Part::Primary { replicas }) => replicas.clone(),
            _ => Vec::new(),
        };
        self.remember(&replicas);
        Ok(self.view(primary, &replicas))
    }

    /// A server with several names goes by one: that of the primary, or of a replica, or the first it had.
    fn name(&mut self, servers: &[Server]) {
        if self.names.len() > KNOWN_MAX {
            self.names.clear();
        }
        for Server { source, run_id, .. } in servers {
            let better = self.primary.as_ref() == Some(source) || self.replicas.contains(source);
            let name = self
                .names
                .entry(run_id.clone())
                .or_insert_with(|| source.clone());
            if better && self.primary.as_ref() != Some(name) {
                name.clone_from(source);
            }
        }
    }

    fn known_once<'a>(&self, servers: &'a [Server]) -> HashMap<NodeAddr, &'a Server> {
        let name = |server: &Server| {
            self.names
                .get(&server.run_id)
                .unwrap_or(&server.source)
                .clone()
        };
        servers
            .iter()
            .map(|server| (name(server), server))
            .collect()
    }

    /// How the server there is called, if it has answered there.
    fn name_of<'a>(
        &'a self,
        addr: &'a NodeAddr,
        servers: &HashMap<NodeAddr, &Server>,
    ) -> &'a NodeAddr {
        let server = servers.values().find(|server| server.source == *addr);
        server
            .and_then(|s| self.names.get(&s.run_id))
            .unwrap_or(addr)
    }

    fn remember(&mut self, replicas: &[(NodeAddr, bool)]) {
        for (addr, _) in replicas {
            if !self.replicas.contains(addr) {
                self.replicas.push(addr.clone());
            }
        }
        let primary = self.primary.as_ref();
        self.replicas.retain(|addr| Some(addr) != primary);
        let more = self.replicas.len().saturating_sub(KNOWN_MAX);
        self.replicas.drain(..more);
    }

    fn view(&self, primary: NodeAddr, replicas: &[(NodeAddr, bool)]) -> View {
        let node = |addr: &NodeAddr| ViewNode {
            // Its run id is another one after each start.
            id: addr.to_string().into(),
            addr: addr.clone(),
            role: Role::Primary,
            epoch: self.epoch,
            health: Health::Online,
            slots: Vec::new(),
        };
        let mut nodes = vec![ViewNode {
            slots: SlotRange::new(0, SLOTS as i64 - 1).into_iter().collect(),
            ..node(&primary)
        }];
        for (addr, is_online) in replicas {
            if nodes.iter().any(|node| node.addr == *addr) {
                continue;
            }
            let health = match is_online {
                true => Health::Online,
                false => Health::Loading,
            };
            let role = Role::ReplicaOf(Some(nodes[0].id.clone()));
            nodes.push(ViewNode {
                role,
                health,
                ..node(addr)
            });
        }
        View {
            source: primary,
            state: ClusterState::Ok,
            current_epoch: self.epoch,
            myself: Some(0),
            nodes,
            unaddressed: Vec::new(),
            migrating: Vec::new(),
        }
    }
}

impl Server {
    fn primary(&self) -> Option<&NodeAddr> {
        match &self.part {
            Part::Primary { .. } => None,
            Part::ReplicaOf(primary) => Some(primary),
        }
    }
}

fn one_of(primaries: &[&NodeAddr]) -> Result<Option<NodeAddr>, NoPrimary> {
    match primaries {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        [one, other, ..] => Err(NoPrimary::Several {
            one: (*one).clone(),
            other: (*other).clone(),
        }),
    }
}

/// Somebody has answered, and only replicas.
fn silent(servers: &HashMap<NodeAddr, &Server>) -> NoPrimary {
    let replicas = servers
        .iter()
        .filter_map(|(addr, s)| Some((addr, s.primary()?)));
    let (replica, primary) = replicas.min().map_or_else(
        || (NodeAddr::new("?", 0), NodeAddr::new("?", 0)),
        |(replica, primary)| (replica.clone(), primary.clone()),
    );
    NoPrimary::Silent { replica, primary }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(name: &str) -> NodeAddr {
        NodeAddr::new(name, 6379)
    }

    /// `a` is a server's run id, and its name if it has no other.
    fn primary(name: &str, id: &str, replicas: &[&str]) -> Server {
        let replicas = replicas.iter().map(|name| (addr(name), true)).collect();
        Server {
            source: addr(name),
            run_id: id.into(),
            part: Part::Primary { replicas },
        }
    }

    fn replica(name: &str, id: &str, of: &str) -> Server {
        Server {
            source: addr(name),
            run_id: id.into(),
            part: Part::ReplicaOf(addr(of)),
        }
    }

    /// The primary, its epoch, and the replicas.
    fn folded(of: &mut Standalone, servers: &[Server]) -> Result<String, NoPrimary> {
        let view = of.fold(servers)?;
        let names: Vec<&str> = view.nodes.iter().map(|node| node.addr.host()).collect();
        assert_eq!(view.nodes[0].slots.len(), 1);
        assert!(view.nodes[1..].iter().all(|node| node.slots.is_empty()));
        Ok(format!("{} {}", view.current_epoch, names.join(" ")))
    }

    #[test]
    fn a_primary_stays_it_until_it_says_otherwise() {
        let mut of = Standalone::default();
        let (a, b) = (primary("a", "a", &["b"]), replica("b", "b", "a"));
        assert_eq!(folded(&mut of, &[a.clone(), b]).unwrap(), "1 a b");
        // Promoted by hand, in two steps.
        let b = primary("b", "b", &[]);
        assert_eq!(folded(&mut of, &[a, b.clone()]).unwrap(), "1 a b");
        assert_eq!(
            folded(&mut of, &[b, replica("a", "a", "b")]).unwrap(),
            "2 b"
        );
        // And back, while b is away, having told of its replica.
        assert_eq!(
            folded(&mut of, &[primary("b", "b", &["a"])]).unwrap(),
            "2 b a"
        );
        assert_eq!(folded(&mut of, &[primary("a", "a", &[])]).unwrap(), "3 a");
        // Started anew, with another run id.
        assert_eq!(folded(&mut of, &[primary("a", "a2", &[])]).unwrap(), "3 a");
    }

    #[test]
    fn whoever_was_no_replica_does_not_take_its_place() {
        let mut of = Standalone::default();
        let (a, x) = (primary("a", "a", &["b"]), primary("x", "x", &[]));
        folded(&mut of, std::slice::from_ref(&a)).unwrap();
        let stranger = NoPrimary::Stranger {
            primary: addr("a"),
            other: addr("x"),
        };
        assert_eq!(
            folded(&mut of, &[x.clone(), replica("b", "b", "a")]),
            Err(stranger)
        );
        assert_eq!(of.wanted(), [addr("a")]);
        assert_eq!(folded(&mut of, &[x.clone(), a]).unwrap(), "1 a b");
        // But if the primary was made a replica of it.
        assert_eq!(
            folded(&mut of, &[replica("a", "a", "x"), x]).unwrap(),
            "2 x"
        );
    }

    #[test]
    fn two_primaries_are_one_too_many() {
        let mut of = Standalone::default();
        let (a, b) = (primary("a", "a", &[]), primary("b", "b", &[]));
        let several = NoPrimary::Several {
            one: addr("a"),
            other: addr("b"),
        };
        assert_eq!(
            folded(&mut of, &[b.clone(), a.clone()]),
            Err(several.clone())
        );
        assert!(!of.is_found());
        // Two replicas were promoted.
        folded(&mut of, &[primary("c", "c", &["a", "b"])]).unwrap();
        assert_eq!(folded(&mut of, &[b, a.clone()]), Err(several));
        assert_eq!(folded(&mut of, &[a]).unwrap(), "2 a");
    }

    #[test]
    fn a_server_with_two_names_is_one() {
        let mut of = Standalone::default();
        let both = [
            primary("seed", "a", &["10.0.0.2"]),
            primary("10.0.0.1", "a", &["10.0.0.2"]),
        ];
        assert_eq!(folded(&mut of, &both).unwrap(), "1 seed 10.0.0.2");
        assert_eq!(folded(&mut of, &both[1..]).unwrap(), "1 seed 10.0.0.2");
        // Its replica is known by one name, and promoted under another.
        let twins = ["10.0.0.2", "second"].map(|name| replica(name, "b", "10.0.0.1"));
        folded(
            &mut of,
            &[both[0].clone(), twins[0].clone(), twins[1].clone()],
        )
        .unwrap();
        assert_eq!(
            folded(&mut of, &[primary("second", "b", &[])]).unwrap(),
            "2 10.0.0.2"
        );
    }

    #[test]
    fn a_replica_alone_tells_whom_to_ask() {
        let mut of = Standalone::default();
        let silent = NoPrimary::Silent {
            replica: addr("b"),
            primary: addr("a"),
        };
        assert_eq!(folded(&mut of, &[replica("b", "b", "a")]), Err(silent));
        assert_eq!(of.wanted(), [addr("a")]);
        let servers = [replica("b", "b", "a"), primary("a", "a", &["b"])];
        assert_eq!(folded(&mut of, &servers).unwrap(), "1 a b");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut of = Standalone::default();
        for round in 0..3 * KNOWN_MAX {
            let (id, replica) = (format!("run{round}"), format!("r{round}"));
            folded(&mut of, &[primary("a", &id, &[&replica])]).unwrap();
        }
        assert!(of.names.len() <= KNOWN_MAX + 1 && of.replicas.len() <= KNOWN_MAX);
    }
}
