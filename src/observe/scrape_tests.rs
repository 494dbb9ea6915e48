//! Tests of whole scrapes: what writers count arrives, summed, named and bounded.

use super::exposition::{Samples, parse};
use super::{
    CrossSlot, Direction, ErrorSource, Exec, KeyGroup, NODES_MAX, NodeError, PREFIXES_MAX,
    Redirection, Rejected, RetryReason,
};
use super::{METRICS, Metrics, RefreshResult, TopologyMetrics, Trigger, WorkerMetrics};
use crate::cluster::NodeAddr;
use crate::command::{CommandId, CommandTable};
use crate::config::Observe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn metrics() -> Metrics {
    let observe = Observe {
        slow: Some(Duration::from_micros(100)),
        ..Observe::NOTHING
    };
    Metrics::observing(
        vec!["127.0.0.1:6379".into(), "/run/a \"b\".sock".into()],
        observe,
    )
    .unwrap()
}

fn scrape(metrics: &Metrics) -> Samples {
    parse(&metrics.scrape().unwrap()).unwrap()
}

/// Uses everything a writer offers.
fn use_all(writer: &WorkerMetrics) {
    writer.command(CommandId::OTHER, 120);
    writer.command_untimed(CommandId::OTHER);
    writer.lookup(CommandId::OTHER, KeyGroup::OTHER, 2, 1);
    writer.cross_slot(CommandId::OTHER, CrossSlot::Split);
    writer.error(ErrorSource::Upstream, b"-WRONGTYPE Operation\r\n");
    writer.big_value(
        (CommandId::OTHER, &"get".into()),
        b"key",
        70_000,
        Direction::Read,
        Duration::ZERO,
    );
    writer.redirection(Redirection::Moved);
    writer.retry(RetryReason::Redirected);
    writer.unknown_outcome();
    writer.transaction(Exec::Nil);
    writer.received(100);
    writer.sent(50);
    writer.backpressure(1_500_000);
    writer.client_opened(0);
    writer.client_opened(1);
    writer.client_closed(1);
    writer.client_rejected(Rejected::Clients);
    let node = writer.node(&NodeAddr::new("::1", 7000));
    node.connected();
    node.sent(3);
    node.answered(70);
    node.released(1);
    node.error(NodeError::Timeout);
}

#[test]
fn what_two_workers_counted_is_summed() {
    let metrics = metrics();
    use_all(&metrics.writer());
    use_all(&metrics.writer());
    let samples = scrape(&metrics);
    for (series, expected) in [
        (
            "slotway_client_connections{listener=\"127.0.0.1:6379\"}",
            2.0,
        ),
        (
            "slotway_client_connections{listener=\"/run/a \\\"b\\\".sock\"}",
            0.0,
        ),
        (
            "slotway_client_connections_total{listener=\"/run/a \\\"b\\\".sock\"}",
            2.0,
        ),
        (
            "slotway_client_connections_rejected_total{reason=\"clients\"}",
            2.0,
        ),
        (
            "slotway_client_connections_rejected_total{reason=\"memory\"}",
            0.0,
        ),
        ("slotway_client_received_bytes_total", 200.0),
        ("slotway_client_sent_bytes_total", 100.0),
        ("slotway_commands_total{cmd=\"other\"}", 4.0),
        (
            "slotway_command_duration_seconds_bucket{cmd=\"other\",le=\"0.0001\"}",
            0.0,
        ),
        (
            "slotway_command_duration_seconds_bucket{cmd=\"other\",le=\"0.00025\"}",
            2.0,
        ),
        (
            "slotway_command_duration_seconds_sum{cmd=\"other\"}",
            0.00024,
        ),
        ("slotway_command_duration_seconds_count{cmd=\"other\"}", 2.0),
        (
            "slotway_command_errors_total{err=\"WRONGTYPE\",source=\"upstream\"}",
            2.0,
        ),
        ("slotway_lookups_total{cmd=\"other\",result=\"hit\"}", 4.0),
        ("slotway_lookups_total{cmd=\"other\",result=\"miss\"}", 2.0),
        (
            "slotway_cross_slot_total{cmd=\"other\",outcome=\"split\"}",
            2.0,
        ),
        (
            "slotway_cross_slot_total{cmd=\"other\",outcome=\"refused\"}",
            0.0,
        ),
        ("slotway_redirections_total{type=\"moved\"}", 2.0),
        ("slotway_retries_total{reason=\"redirected\"}", 2.0),
        ("slotway_unknown_outcomes_total", 2.0),
        ("slotway_backpressure_seconds_total", 3.0),
        ("slotway_upstream_connections{node=\"[::1]:7000\"}", 2.0),
        ("slotway_upstream_requests_total{node=\"[::1]:7000\"}", 6.0),
        ("slotway_upstream_in_flight{node=\"[::1]:7000\"}", 2.0),
        (
            "slotway_upstream_duration_seconds_count{node=\"[::1]:7000\"}",
            2.0,
        ),
        (
            "slotway_upstream_errors_total{node=\"[::1]:7000\",reason=\"timeout\"}",
            2.0,
        ),
        ("slotway_upstream_up{node=\"[::1]:7000\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series}");
    }
    assert!(samples["process_resident_memory_bytes"] > 1e6);
    assert!(samples.contains_key(concat!(
        "slotway_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\"}"
    )));
}

/// Ids of commands that have one of their own.
fn ids() -> [CommandId; 2] {
    let table = CommandTable::builtin();
    ["get", "config|set"].map(|name| table.by_name(name).unwrap().metric)
}

#[test]
fn only_commands_that_were_used_appear_under_their_name() {
    let metrics = metrics();
    let [get, set] = ids();
    let names = [
        (get, "get"),
        (set, "config|set"),
        (CommandId::OTHER, "flood"),
    ];
    metrics.name_commands(Box::new(move || {
        names.map(|(id, name)| (id, name.into())).to_vec()
    }));
    assert!(!metrics.scrape().unwrap().contains("cmd="));
    let writer = metrics.writer();
    writer.command(set, 1);
    writer.command_untimed(set);
    writer.command(CommandId::OTHER, 1);
    let samples = scrape(&metrics);
    let commands: Vec<_> = samples
        .iter()
        .filter(|(k, _)| k.contains("commands_total"))
        .collect();
    assert_eq!(
        commands,
        [
            (
                &"slotway_commands_total{cmd=\"config|set\"}".to_owned(),
                &2.0
            ),
            (&"slotway_commands_total{cmd=\"other\"}".to_owned(), &1.0),
        ]
    );
}

#[test]
fn a_command_keeps_its_name_after_it_left_the_table() {
    let metrics = metrics();
    let [id, _] = ids();
    let table = Arc::new(Mutex::new(vec![(id, Arc::from("json.get"))]));
    let current = Arc::clone(&table);
    metrics.name_commands(Box::new(move || current.lock().unwrap().clone()));
    metrics.writer().command(id, 1);
    scrape(&metrics);
    table.lock().unwrap().clear();
    assert_eq!(
        scrape(&metrics)["slotway_commands_total{cmd=\"json.get\"}"],
        1.0
    );
}

#[test]
fn labels_stay_bounded() {
    let metrics = metrics();
    let writers = [metrics.writer(), metrics.writer()];
    for i in 0..NODES_MAX * 2 {
        let node = writers[i % 2].node(&NodeAddr::new(format!("node-{i}"), 6379));
        node.sent(1);
    }
    for i in 0..500u32 {
        let name: String = (0..2)
            .map(|d| (b'A' + (i / 26u32.pow(d) % 26) as u8) as char)
            .collect();
        writers[i as usize % 2].error(ErrorSource::Upstream, format!("-{name}X y\r\n").as_bytes());
    }
    let samples = scrape(&metrics);
    let of = |name: &'static str| {
        samples
            .iter()
            .filter(move |(k, _)| k.starts_with(name))
            .map(|(_, v)| *v)
    };
    assert_eq!(of("slotway_upstream_requests_total").count(), NODES_MAX + 1);
    assert_eq!(
        of("slotway_upstream_requests_total").sum::<f64>(),
        NODES_MAX as f64 * 2.0,
        "nothing is lost"
    );
    assert!(of("slotway_command_errors_total").count() <= PREFIXES_MAX + 1);
    assert_eq!(of("slotway_command_errors_total").sum::<f64>(), 500.0);
}

#[test]
fn a_forgotten_node_leaves_the_scrape() {
    let metrics = metrics();
    let addr = NodeAddr::new("gone", 1);
    let lane = metrics.writer().node(&addr);
    lane.connected();
    assert_eq!(
        scrape(&metrics)["slotway_upstream_up{node=\"gone:1\"}"],
        1.0
    );
    metrics.forget(&addr);
    assert!(
        metrics.scrape().unwrap().contains("gone:1"),
        "a connection is left"
    );
    lane.disconnected();
    assert!(!metrics.scrape().unwrap().contains("gone:1"));
}

#[test]
fn the_topology_is_part_of_the_scrape_and_every_row_of_the_table_can_appear() {
    let metrics = metrics();
    use_all(&metrics.writer());
    let topology = Arc::new(TopologyMetrics::new());
    topology.refreshed(Trigger::Moved, RefreshResult::Changed);
    topology.map(9, 16384, 3, 2);
    metrics.add_source(topology);
    let samples = scrape(&metrics);
    for (series, expected) in [
        (
            "slotway_topology_refreshes_total{trigger=\"moved\",result=\"changed\"}",
            1.0,
        ),
        (
            "slotway_topology_refreshes_total{trigger=\"start\",result=\"failed\"}",
            0.0,
        ),
        ("slotway_topology_epoch", 9.0),
        ("slotway_slots_covered", 16384.0),
        ("slotway_nodes{role=\"replica\"}", 2.0),
    ] {
        assert_eq!(samples.get(series), Some(&expected), "{series}");
    }
    let text = metrics.scrape().unwrap();
    for row in METRICS {
        assert!(
            text.contains(&format!("# TYPE {} ", row.name)),
            "{} never appears",
            row.name
        );
    }
}
