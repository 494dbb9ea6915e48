//! What operators are told about topology: the content of `/topology`, and whether the proxy is ready. A snapshot,
//! replaced after every refresh and every patch.

use super::Mood;
use crate::cluster::{Belief, Direction, Health, NodeAddr, Role, SlotMap, View};
use crate::observe::Trigger;
use serde::{Serialize, Serializer};
use std::time::Instant;

/// Slots in migration that are listed.
const MIGRATIONS_MAX: usize = 100;

/// A snapshot of what is known, since when, and from whom. Serialises to the JSON of `/topology`.
#[derive(Clone, Debug, Serialize)]
pub struct TopologyStatus {
    /// Version of the map that is described; 0 before the first.
    pub version: u64,
    /// Highest config epoch of a node in the map.
    pub epoch: u64,
    /// Whether it is no cluster, but one server without cluster support, perhaps with replicas.
    pub standalone: bool,
    /// Slots with an owner.
    pub slots_covered: usize,
    /// How settled the cluster looks.
    pub mood: Mood,
    /// Slots patched by MOVED that no answer has confirmed yet.
    pub unconfirmed_slots: usize,
    /// Finished refreshes, successful or not.
    pub refreshes: u64,
    /// What caused the last one.
    pub trigger: Option<Trigger>,
    /// When nodes last gave a usable answer; serialised as the milliseconds since then.
    #[serde(rename = "age_ms", serialize_with = "elapsed_ms")]
    pub last_success: Option<Instant>,
    /// The nodes whose answers were heard then.
    pub sources: Vec<String>,
    /// The last thing that went wrong, if it has not gone right since.
    pub last_error: Option<LastError>,
    /// Runs of slots and their owners.
    pub ranges: Vec<RangeStatus>,
    /// Every node that was named.
    pub nodes: Vec<NodeStatus>,
    /// Slots on their way, the first few.
    pub migrations: Vec<MigrationStatus>,
}

/// Something that went wrong, and what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    /// What happened, with the node's address.
    pub error: String,
    /// What an operator can do.
    pub hint: &'static str,
    /// When; serialised as the milliseconds since then.
    #[serde(rename = "age_ms", serialize_with = "elapsed_ms")]
    pub at: Option<Instant>,
}

/// A run of slots with one owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeStatus {
    /// First slot.
    pub first: u16,
    /// Last slot.
    pub last: u16,
    /// Address of the owner.
    pub owner: String,
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Where it is reached.
    pub addr: String,
    /// Its node id.
    pub id: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// The id of its primary, for a replica.
    pub primary: Option<String>,
    /// Its config epoch.
    pub epoch: u64,
    /// Slots it owns.
    pub slots: usize,
    /// What the nodes think of it.
    pub health: Health,
    /// Why the proxy's own last question to it failed.
    pub error: Option<String>,
}

/// A slot on its way.
#[derive(Clone, Debug, Serialize)]
pub struct MigrationStatus {
    /// The slot.
    pub slot: u16,
    /// Who hands it over.
    pub from: String,
    /// Who takes it in: address, or id if that is not known.
    pub to: String,
}

impl Default for TopologyStatus {
    fn default() -> Self {
        Self {
            version: 0,
            epoch: 0,
            standalone: false,
            slots_covered: 0,
            mood: Mood::Down,
            unconfirmed_slots: 0,
            refreshes: 0,
            trigger: None,
            last_success: None,
            sources: Vec::new(),
            last_error: None,
            ranges: Vec::new(),
            nodes: Vec::new(),
            migrations: Vec::new(),
        }
    }
}

impl TopologyStatus {
    /// Whether there is a map to route by. One failed shard does not make a proxy unready.
    pub fn is_ready(&self) -> bool {
        self.slots_covered > 0
    }

    /// Describes `map` in place of the one described so far.
    pub(super) fn describe(&mut self, map: &SlotMap) {
        self.version = map.version();
        self.epoch = map.nodes().iter().map(|n| n.epoch).max().unwrap_or(0);
        self.slots_covered = map.covered();
        self.ranges = map
            .ranges()
            .into_iter()
            .map(|(first, last, owner)| RangeStatus {
                first: first.number(),
                last: last.number(),
                owner: map.node(owner).addr.to_string(),
            })
            .collect();
    }

    /// Lists the nodes known; `error` gives what went wrong when one of them was last asked.
    pub(super) fn list(
        &mut self,
        map: &SlotMap,
        belief: &Belief,
        error: impl Fn(&NodeAddr) -> Option<String>,
    ) {
        let owned = slots_per_node(map);
        let nodes = belief.nodes().iter().map(|node| {
            let (role, primary) = match &node.role {
                Role::Primary => ("primary", None),
                Role::ReplicaOf(primary) => ("replica", primary.as_deref().map(str::to_owned)),
            };
            NodeStatus {
                addr: node.addr.to_string(),
                id: (*node.id).to_owned(),
                role,
                primary,
                epoch: node.epoch,
                slots: map.find(&node.addr).map_or(0, |i| owned[i.get()]),
                health: node.health,
                error: error(&node.addr),
            }
        });
        self.nodes = nodes.collect();
        self.nodes.sort_by(|a, b| a.addr.cmp(&b.addr));
    }

    /// Lists whose answers were heard, and the slots that they say are on their way.
    pub(super) fn heard(&mut self, views: &[View], belief: &Belief) {
        let voices = belief.voices(views);
        self.sources = voices.iter().map(|v| v.source.to_string()).collect();
        let addr = |id: &str| match belief.nodes().iter().find(|n| *n.id == *id) {
            Some(node) => node.addr.to_string(),
            None => id.to_owned(),
        };
        self.migrations.clear();
        for view in voices {
            let leaving = view
                .migrating
                .iter()
                .filter(|m| m.direction == Direction::Leaving);
            for migration in leaving.take(MIGRATIONS_MAX.saturating_sub(self.migrations.len())) {
                self.migrations.push(MigrationStatus {
                    slot: migration.slot.number(),
                    from: view.source.to_string(),
                    to: addr(&migration.peer),
                });
            }
        }
    }
}

/// How many slots each node of `map` owns.
fn slots_per_node(map: &SlotMap) -> Vec<usize> {
    let mut owned = vec![0; map.nodes().len()];
    for (first, last, owner) in map.ranges() {
        owned[owner.get()] += usize::from(last.number() - first.number()) + 1;
    }
    owned
}

fn elapsed_ms<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.elapsed().as_millis() as u64).serialize(to)
}
