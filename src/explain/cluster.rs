//! What an explanation can stand on: the built-in commands and, when seed nodes are given, the cluster's own commands
//! and slots, asked once.

use super::ask::{Conversation, error_text};
use crate::cluster::{
    AddressMap, Answers, Belief, NodeAddr, SlotMap, SlotsAnswer, Standalone, View, parse_view,
};
use crate::command::CommandTable;
use crate::config::Config;
use std::time::Instant;

/// Commands and, perhaps, slots.
#[derive(Debug)]
pub struct Known {
    table: CommandTable,
    map: Option<SlotMap>,
}

impl Known {
    /// Without a cluster: what is built in, and the policy of the configuration.
    pub fn built_in(config: &Config) -> Self {
        let mut table = CommandTable::builtin();
        // Loading the configuration has reported what is wrong with these.
        let _ = table.apply(&config.policy.allow, &config.policy.deny);
        Self { table, map: None }
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
        self.map = Some(map);
        self
    }

    pub(super) fn table(&self) -> &CommandTable {
        &self.table
    }

    pub(super) fn map(&self) -> Option<&SlotMap> {
        self.map.as_ref()
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
        self.map = Some(belief.map(1));
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
        self.table = self
            .table
            .overlay(&[&reply])
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}
