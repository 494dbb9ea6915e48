//! What is in `dashboards/` fits what slotway says: Prometheus' own tools accept the rules, the alerts fire when they
//! should, a scrape is as they want it, and every metric and label that a rule names is in the scrape of a proxy that
//! has had traffic of all kinds. Every alert has its section in the runbook.

#[path = "dashboards/board.rs"]
mod board;
#[path = "dashboards/prometheus.rs"]
mod prometheus;
#[path = "dashboards/promql.rs"]
mod promql;
mod support;

use board::{Query, check_form, queries};
use prometheus::{Prometheus, promtool};
use promql::{groupings, selectors};
use serde_json::Value;
use slotway::demo::Cluster;
use slotway::observe::{Kind, METRICS};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::{Metrics, Proxy, boot_cluster, valkey};

/// What Prometheus adds to every series.
const ADDED: &[&str] = &["job", "instance"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("it is there")
}

/// A cluster behind a proxy that has seen hits and misses, errors of nodes and of its own, commands for one slot and
/// for several, slow ones and large ones. All other series are there from the start, with 0.
fn with_traffic() -> (Cluster, Proxy) {
    let cluster = boot_cluster(&valkey());
    let options = [
        "observe.slow=1ms",
        "observe.big_value=1KB",
        "observe.groups=letters=[a-z]",
    ];
    let args = options.map(|option| ["--set", option]);
    let proxy = Proxy::start(&cluster, args.as_flattened());
    let mut client = proxy.client();
    traffic(&mut client);
    (cluster, proxy)
}

fn traffic(client: &mut support::RawClient) {
    client.expect("SET a 1", b"+OK\r\n");
    client.expect("GET a", b"$1\r\n1\r\n");
    client.expect("GET missing", b"$-1\r\n");
    client.command(&["SET", "big", &"v".repeat(2_000)]);
    // Longer than a millisecond, anywhere.
    client.command(&["EVAL", "for i = 1, 3000000 do end", "1", "a"]);
    client.expect("MGET a b c", b"*3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n");
    for line in ["LPUSH a 1", "MSETNX a 1 b 2", "RENAME a b", "GET"] {
        assert_eq!(client.line(line)[0], b'-', "{line}");
    }
}

/// The labels of every name in a scrape.
fn scraped(metrics: &Metrics) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut names = BTreeMap::<&str, BTreeSet<&str>>::new();
    for sample in &metrics.samples {
        let labels = sample.labels.iter().map(|(name, _)| name.as_str());
        names.entry(&sample.name).or_default().extend(labels);
    }
    names
}

/// The values that a matcher asks for are among those that the label can have, where these are known beforehand.
fn check_value(metric: &str, (label, operator, value): &(String, String, String)) {
    let row = METRICS.iter().find(|row| row.name == metric);
    let known = row.map_or(Vec::new(), |row| row.label_values(label));
    if known.is_empty() || value.contains('$') {
        return;
    }
    let values = value.split(if operator.ends_with('~') { '|' } else { '\0' });
    for value in values {
        assert!(known.contains(&value), "{metric}: no {label}={value}");
    }
}

/// Whatever an expression names is scraped, or recorded by a rule.
fn check_names(expr: &str, live: &BTreeMap<&str, BTreeSet<&str>>, recorded: &BTreeSet<&str>) {
    let mut labels = BTreeSet::from_iter(ADDED.iter().copied());
    for selector in &selectors(expr) {
        let metric = selector.metric.as_str();
        let own = match live.get(metric) {
            Some(own) => own.clone(),
            None => {
                assert!(
                    metric == "up" || recorded.contains(metric),
                    "{metric}: {expr}"
                );
                BTreeSet::new()
            }
        };
        labels.extend(&own);
        for matcher in &selector.matchers {
            let label = matcher.0.as_str();
            let has = own.contains(label) || ADDED.contains(&label);
            assert!(has, "{metric} has no {label}: {expr}");
            check_value(metric, matcher);
        }
    }
    for label in groupings(expr) {
        assert!(labels.contains(label.as_str()), "no {label}: {expr}");
    }
}

/// All rules, as Prometheus has read them.
fn rules_of(prometheus: &Prometheus) -> Result<Vec<Value>, String> {
    let data = prometheus.get("/api/v1/rules")?;
    let groups = data["groups"].as_array().ok_or("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    Ok(rules.flatten().cloned().collect())
}

fn board() -> Value {
    serde_json::from_str(&text("slotway.json")).expect("JSON")
}

/// Every selector is of the instances that were chosen, and rates span what Grafana takes for right.
#[test]
fn the_dashboard_has_the_form_that_grafana_wants_and_every_query_its_variables() {
    let board = board();
    check_form(&board);
    let queries = queries(&board);
    assert!(queries.len() > 40, "{}", queries.len());
    for Query { whose, expr } in &queries {
        let chosen = [("job", "$job"), ("instance", "$instance")];
        for selector in selectors(expr) {
            for (label, variable) in chosen {
                let asked = (label.to_owned(), "=~".to_owned(), variable.to_owned());
                assert!(selector.matchers.contains(&asked), "{whose}: {expr}");
            }
        }
        assert!(!selectors(expr).is_empty(), "{whose}: {expr}");
        let ranges = expr.matches("}[").count() + expr.matches(")[").count();
        assert_eq!(
            ranges,
            expr.matches("[$__rate_interval]").count(),
            "{whose}: {expr}"
        );
    }
    let shown: BTreeSet<String> = queries
        .iter()
        .flat_map(|query| selectors(&query.expr))
        .map(|s| s.metric)
        .collect();
    for row in METRICS {
        let is_shown = shown.iter().any(|name| name.starts_with(row.name));
        assert!(is_shown, "{} is in no panel", row.name);
    }
}

/// One client that waits in a BLPOP would be what the percentiles show.
#[test]
fn percentiles_over_all_commands_leave_out_those_that_the_alert_leaves_out() {
    let rules = text("rules.yaml");
    let (_, meant_to_wait) = rules.split_once("cmd!~\"").expect("the record has it");
    let (meant_to_wait, _) = meant_to_wait.split_once('"').expect("it closes");
    let left_out = ["cmd", "!~", meant_to_wait].map(str::to_owned).into();
    let mut seen = 0;
    for Query { whose, expr } in queries(&board()) {
        if groupings(&expr).contains(&"cmd".to_owned()) {
            continue;
        }
        for selector in selectors(&expr) {
            if selector.metric == "slotway_command_duration_seconds_bucket" {
                assert!(selector.matchers.contains(&left_out), "{whose}: {expr}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no percentiles");
}

#[test]
fn the_rules_do_what_their_tests_say() {
    for args in [
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules_test.yaml"],
    ] {
        let (content, said) = promtool(&args, "");
        assert!(content, "{args:?}: {said}");
    }
}

/// Lines that begin so, without that.
fn after<'a>(text: &'a str, mark: &str) -> BTreeSet<&'a str> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix(mark))
        .collect()
}

#[test]
fn every_alert_has_a_test_and_a_section_in_the_runbook() {
    let rules = text("rules.yaml");
    let alerts = after(&rules, "- alert: ");
    assert!(alerts.len() >= 10, "{alerts:?}");
    assert_eq!(
        alerts,
        after(&text("RUNBOOK.md"), "## "),
        "sections of the runbook"
    );
    assert_eq!(
        alerts,
        after(&text("rules_test.yaml"), "alertname: "),
        "tests"
    );
    let anchors: BTreeSet<String> = after(&rules, "runbook: dashboards/RUNBOOK.md#")
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        anchors,
        alerts.iter().map(|alert| alert.to_lowercase()).collect()
    );
}

#[test]
fn rules_and_panels_work_on_what_is_scraped() {
    let (_cluster, proxy) = with_traffic();
    let (_, page) = proxy.get("/metrics").expect("it answers");
    let (content, said) = promtool(&["check", "metrics"], &page);
    assert!(content, "{said}");
    let metrics = Metrics::parse(&page);
    let live = scraped(&metrics);
    for row in METRICS {
        let name = match row.kind {
            Kind::Histogram => format!("{}_bucket", row.name),
            Kind::Counter | Kind::Gauge => row.name.to_owned(),
        };
        assert!(
            live.contains_key(name.as_str()),
            "{name} is not in the scrape"
        );
    }

    let board = board();
    let queries = queries(&board);
    let prometheus = Prometheus::start("slotway", proxy.admin_addr(), &folder().join("rules.yaml"));
    let mut client = proxy.client();
    // A rate takes two scrapes that differ.
    prometheus.wait(
        "rules are evaluated; records and panels have values",
        || {
            traffic(&mut client);
            for query in &queries {
                if prometheus.query(&query.tried())?.is_empty() {
                    return Err(format!("{}: nothing for {}", query.whose, query.expr));
                }
            }
            for rule in rules_of(&prometheus)? {
                let name = rule["name"].as_str().expect("a name");
                if rule["health"] != "ok" {
                    return Err(rule.to_string());
                }
                if rule["type"] == "recording" && prometheus.query(name)?.is_empty() {
                    return Err(format!("{name}: nothing"));
                }
            }
            Ok(())
        },
    );
    let rules = rules_of(&prometheus).expect("it answers");
    let recorded = rules.iter().filter(|rule| rule["type"] == "recording");
    let recorded: BTreeSet<&str> = recorded.filter_map(|rule| rule["name"].as_str()).collect();
    for query in &queries {
        check_names(&query.expr, &live, &recorded);
    }
    for rule in &rules {
        let name = &rule["name"];
        let expr = rule["query"].as_str().expect("an expression");
        check_names(expr, &live, &recorded);
        if rule["type"] == "alerting" {
            assert!(
                ["critical", "warning"]
                    .iter()
                    .any(|s| rule["labels"]["severity"] == *s),
                "{name}"
            );
            for field in ["summary", "description", "runbook"] {
                assert!(
                    rule["annotations"][field].is_string(),
                    "{name} has no {field}"
                );
            }
        }
    }
}
