//! `slotway check --probe`: contacts every seed node as the proxy would and says what it finds.

use slotway::cluster::{AddressMap, NodeAddr, Part};
use slotway::config::Config;
use slotway::explain::{Conversation, error_text};
use slotway::resp::bulk;
use std::process::ExitCode;

/// Prints a line for each seed node; success if all of them serve.
pub(crate) fn probe(config: &Config) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for node in &config.cluster.nodes {
        match probe_node(node, config) {
            // On stderr, as printed options may go to stdout.
            Ok(found) => eprintln!("{node}: ok, {found}"),
            Err(problem) => {
                eprintln!("{node}: {problem}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// What the node says about itself and its cluster, or what is wrong with it.
fn probe_node(node: &NodeAddr, config: &Config) -> Result<String, String> {
    let mut conversation = Conversation::open(node, config)?;
    let pong = conversation.ask(&["PING"])?;
    if let Some(error) = error_text(&pong) {
        let hint = match error.starts_with("NOAUTH") {
            true => "; set upstream.password_file",
            false => "",
        };
        return Err(format!("it answers PING with: {error}{hint}"));
    }
    let reply = conversation.ask(&["CLUSTER", "INFO"])?;
    if conversation.is_standalone(&reply, config)? {
        let addresses = AddressMap::new(config.cluster.address_map.iter().cloned());
        let found = match conversation.replication(node, &addresses)?.part {
            Part::Primary { replicas } => format!("a primary with {} replicas", replicas.len()),
            Part::ReplicaOf(primary) => format!("a replica of {primary}"),
        };
        return Ok(format!("{found}, without cluster support"));
    }
    let info = bulk(&reply)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map_or("?", str::trim)
    };
    let found = format!(
        "cluster_state {}, {} of 16384 slots assigned, {} nodes, {} primaries with slots",
        field("cluster_state"),
        field("cluster_slots_assigned"),
        field("cluster_known_nodes"),
        field("cluster_size"),
    );
    match field("cluster_state") {
        "ok" => Ok(found),
        _ => Err(found),
    }
}
