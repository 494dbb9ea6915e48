//! What `top` reads of `/topology`. Pure; what is missing or of another type is left at its default, since another
//! version may answer.

use serde_json::Value;

/// Nodes that are read.
const NODES_MAX: usize = 2000;

/// What the map looks like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// Slots with an owner.
    pub slots_covered: u64,
    /// Highest config epoch.
    pub epoch: u64,
    /// How settled the cluster looks.
    pub mood: String,
    /// Slots patched by MOVED that no answer has confirmed yet.
    pub unconfirmed: u64,
    /// Since nodes last gave a usable answer.
    pub age_ms: Option<u64>,
    /// What went wrong last, if it has not gone right since.
    pub error: Option<String>,
    /// Every node that was named.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Where it is reached.
    pub addr: String,
    /// `primary` or `replica`.
    pub role: String,
    /// Slots it owns.
    pub slots: u64,
    /// What the nodes think of it.
    pub health: String,
}

impl Topology {
    /// Reads the JSON; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        json.is_object().then(|| Self {
            slots_covered: number(&json["slots_covered"]),
            epoch: number(&json["epoch"]),
            mood: string(&json["mood"]),
            unconfirmed: number(&json["unconfirmed_slots"]),
            age_ms: json["age_ms"].as_u64(),
            error: json["last_error"]["error"].as_str().map(str::to_owned),
            nodes: nodes(&json["nodes"]),
        })
    }
}

fn nodes(list: &Value) -> Vec<Node> {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let nodes = list.iter().take(NODES_MAX).map(|node| Node {
        addr: string(&node["addr"]),
        role: string(&node["role"]),
        slots: number(&node["slots"]),
        health: string(&node["health"]),
    });
    nodes.collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_what_is_missing_is_left_out() {
        let text = r#"{"slots_covered": 16384, "epoch": 3, "mood": "settled", "unconfirmed_slots": "two", "age_ms": 5,
            "last_error": {"error": "gone"}, "nodes": [{"addr": "a:1", "role": "primary", "slots": 9}, 7]}"#;
        let topology = Topology::parse(text).unwrap();
        assert_eq!((topology.slots_covered, topology.unconfirmed), (16384, 0));
        assert_eq!(
            (topology.mood.as_str(), topology.age_ms, topology.error),
            ("settled", Some(5), Some("gone".to_owned()))
        );
        assert_eq!(topology.nodes.len(), 2);
        assert_eq!(
            (topology.nodes[0].slots, topology.nodes[0].health.as_str()),
            (9, "")
        );
        assert_eq!(topology.nodes[1], Node::default());
    }

    #[test]
    fn nonsense_is_none() {
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "7", "{\"nodes\": [", "<html>", &deep] {
            assert_eq!(Topology::parse(text), None);
        }
    }
}
