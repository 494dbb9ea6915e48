//! What an explanation can stand on: the built-in commands and, when seed nodes are given, the cluster's own commands
//! and slots, asked once.

use super::ask::{Conversation, error_text};
use crate::cluster::{
    AddressMap, Answers, Belief, Health, NodeAddr, SlotMap, SlotsAnswer, Standalone, View,
    parse_view,
};
use crate::command::CommandTable;
use crate::config::Config;
use crate::topology::{ServerInfo, TopologyStatus};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Commands and, perhaps, slots.
#[derive(Debug)]
pub struct Known {
    table: Arc<CommandTable>,
    map: Option<Arc<SlotMap>>,
    server: Arc<ServerInfo>,
    /// What is wrong with nodes.
    wrong: HashMap<String, String>,
}

impl Known {
    /// Without a cluster: what is built in, and the policy of the configuration.
    pub fn built_in(config: &Config) -> Self {
        let mut table = CommandTable::builtin();
        // Loading the configuration has reported what is wrong with these.
        let _ = table.apply(&config.policy.allow, &config.policy.deny);
        Self {
            table: Arc::new(table),
            map: None,
            server: Arc::default(),
            wrong: HashMap::new(),
        }
    }

    /// What a running proxy knows.
    pub fn running(
        table: Arc<CommandTable>,
        map: Arc<SlotMap>,
        server: Arc<ServerInfo>,
        status: &TopologyStatus,
    ) -> Self {
        let wrong = status.nodes.iter().filter_map(|node| {
            let what = match (node.health, &node.error) {
                (Health::Failed, _) => "failed, says the cluster".to_owned(),
                (Health::Suspected, _) => "suspected to have failed".to_owned(),
                (Health::Loading, _) => "loading its data".to_owned(),
                (Health::Online, Some(error)) => error.clone(),
                (Health::Online, None) => return None,
            };
            Some((node.addr.clone(), what))
        });
        Self {
            table,
            map: Some(map).filter(|map| !map.nodes().is_empty()),
            server,
            wrong: wrong.collect(),
        }
    }

    /// With what the first seed node says that can be asked; and what was wrong with those before it.
    pub fn ask(config: &Config) -> (Self, Vec<String>) {
        let mut known = Self::built_in(config);
        let mut problems = Vec::new();
        for node in &config.cluster.nodes {
            match known.learn(node, config) {
                Ok(()) => break,
                Err(problem) => problems.push(format!("{node}: {problem}")),
            }
        }
        (known, problems)
    }

    /// The same with this map.
    #[cfg(test)]
    pub(super) fn with_map(mut self, map: SlotMap) -> Self {
        self.map = Some(Arc::new(map));
        self
    }

    pub(super) fn table(&self) -> &CommandTable {
        &self.table
    }

    pub(super) fn map(&self) -> Option<&SlotMap> {
        self.map.as_deref()
    }

    pub(super) fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// Behind the address of a node with which something is wrong.
    pub(super) fn state_of(&self, node: &NodeAddr) -> String {
        match self.wrong.get(&node.to_string()) {
            Some(what) => format!(" ({what})"),
            None => String::new(),
        }
    }

    fn learn(&mut self, node: &NodeAddr, config: &Config) -> Result<(), String> {
        let mut conversation = Conversation::open(node, config)?;
        let info = conversation.ask(&["CLUSTER", "INFO"])?;
        let addresses = AddressMap::new(config.cluster.address_map.iter().cloned());
        let view = match conversation.is_standalone(&info, config)? {
            true => {
                let server = conversation.replication(node, &addresses)?;
                Standalone::default()
                    .fold(&[server])
                    .map_err(|error| error.to_string())?
            }
            false => Self::view(&mut conversation, node, &info, &addresses)?,
        };
        let now = Instant::now();
        let mut belief = Belief::new();
        belief.believe(&[view], 1, now, now);
        self.map = Some(Arc::new(belief.map(1)));
        self.learn_commands(&mut conversation)
    }

    fn view(
        conversation: &mut Conversation,
        node: &NodeAddr,
        info: &[u8],
        addresses: &AddressMap,
    ) -> Result<View, String> {
        let nodes = conversation.ask(&["CLUSTER", "NODES"])?;
        let shards = conversation.ask(&["CLUSTER", "SHARDS"])?;
        let slots;
        let answer = match error_text(&shards) {
            None => SlotsAnswer::Shards(&shards),
            Some(_) => {
                slots = conversation.ask(&["CLUSTER", "SLOTS"])?;
                SlotsAnswer::Slots(&slots)
            }
        };
        let answers = Answers {
            info,
            nodes: &nodes,
            slots: answer,
        };
        parse_view(node, &answers, addresses).map_err(|error| error.to_string())
    }

    /// The cluster's own commands, those of modules included.
    fn learn_commands(&mut self, conversation: &mut Conversation) -> Result<(), String> {
        let reply = conversation.ask(&["COMMAND"])?;
        if error_text(&reply).is_some() {
            // A user who may not ask: the built-in commands have to do.
            return Ok(());
        }
        let table = self.table.overlay(&[&reply]);
        self.table = Arc::new(table.map_err(|error| error.to_string())?);
        let about = conversation.ask(&["INFO", "server"])?;
        self.server = Arc::new(ServerInfo::told(&about));
        Ok(())
    }
}
