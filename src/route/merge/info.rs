//! INFO of all primaries, merged and presented as that of one standalone server. Called by `merge`.
//!
//! The first primary's text is the frame: its sections, fields and their order, so that a field no one here
//! has heard of still appears. What each field becomes is decided by one table, [`Rule::of`]. The sections
//! that list things (keyspace, commands, errors) get the things of all primaries.

use super::Facts;
use super::info_fields::Rule;
use crate::resp::{self, Proto, encode};
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// Appends the merged text as bulk string or, as the first reply has it, verbatim string. The error is the
/// number of the reply that is neither.
pub(super) fn merge<'a>(
    replies: impl Iterator<Item = &'a [u8]>,
    facts: &Facts,
    out: &mut Vec<u8>,
) -> Result<(), usize> {
    let mut texts = Vec::new();
    let mut proto = Proto::Resp2;
    for (part, reply) in replies.enumerate() {
        if part == 0 && reply.first() == Some(&b'=') {
            proto = Proto::Resp3;
        }
        texts.push(String::from_utf8_lossy(resp::bulk(reply).ok_or(part)?));
    }
    let merged = merge_texts(&texts, facts);
    encode::verbatim(out, &merged, proto);
    Ok(())
}

fn merge_texts(texts: &[Cow<'_, str>], facts: &Facts) -> String {
    let nodes: Vec<Fields<'_>> = texts.iter().map(|text| Fields::of(text)).collect();
    let Some(frame) = texts.first() else {
        return String::new();
    };
    let mut out = String::with_capacity(frame.len());
    let mut section = Section::Other;
    for line in frame.split("\r\n") {
        if let Some(title) = line.strip_prefix("# ") {
            section = Section::of(title);
            push_line(&mut out, line);
            section.list(&nodes, &mut out);
        } else if let Some((name, value)) = line.split_once(':') {
            if section.is_listed() || section == Section::Hidden {
                continue;
            }
            if let Some(value) = Rule::of(section, name).apply(name, value, &nodes, facts) {
                push_line(&mut out, &format!("{name}:{value}"));
            }
        } else {
            push_line(&mut out, line);
        }
    }
    // `split` has one piece more than there are line ends.
    out.truncate(out.len().saturating_sub(2));
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

/// One node's fields by name, and in order.
pub(super) struct Fields<'a> {
    by_name: FxHashMap<&'a str, &'a str>,
    in_order: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Self {
        let in_order: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        Self {
            by_name: in_order.iter().copied().collect(),
            in_order,
        }
    }
}

/// What the nodes have under a name; a node without it has nothing to add.
pub(super) fn values<'a>(nodes: &'a [Fields<'_>], name: &str) -> impl Iterator<Item = &'a str> {
    nodes
        .iter()
        .filter_map(move |node| node.by_name.get(name).copied())
}

pub(super) fn total(nodes: &[Fields<'_>], name: &str) -> u64 {
    let numbers = values(nodes, name).filter_map(|value| value.parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
}

/// Errors between the nodes and the proxy, which clients never see.
const REDIRECTIONS: [&str; 3] = ["errorstat_MOVED", "errorstat_ASK", "errorstat_TRYAGAIN"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Clients,
    Memory,
    Persistence,
    Stats,
    Cpu,
    /// `db0:keys=1,expires=0,avg_ttl=0`
    Keyspace,
    /// `cmdstat_get:calls=1,usec=2,usec_per_call=2.00,…`
    Commands,
    /// `errorstat_ERR:count=1`
    Errors,
    /// `latency_percentiles_usec_get:p50=1.003,…`
    Latencies,
    /// What only a cluster's node has: the title alone is also a standalone server's.
    Hidden,
    /// Fields of the first node, but for those that would give the cluster away.
    Other,
}

impl Section {
    fn of(title: &str) -> Self {
        match title {
            "Clients" => Self::Clients,
            "Memory" => Self::Memory,
            "Persistence" => Self::Persistence,
            "Stats" => Self::Stats,
            "CPU" => Self::Cpu,
            "Keyspace" => Self::Keyspace,
            "Commandstats" => Self::Commands,
            "Errorstats" => Self::Errors,
            "Latencystats" => Self::Latencies,
            "Cluster Info" => Self::Hidden,
            _ => Self::Other,
        }
    }

    /// What the lines begin with in a section that lists things.
    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Keyspace => Some("db"),
            Self::Commands => Some("cmdstat_"),
            Self::Errors => Some("errorstat_"),
            Self::Latencies => Some("latency_percentiles_usec_"),
            _ => None,
        }
    }

    fn is_listed(self) -> bool {
        self.prefix().is_some()
    }

    /// In a section that lists things: the lines of all nodes, those of one name made one.
    fn list(self, nodes: &[Fields<'_>], out: &mut String) {
        let Some(prefix) = self.prefix() else {
            return;
        };
        let mut names: Vec<&str> = Vec::new();
        let mut groups: FxHashMap<&str, Vec<&str>> = FxHashMap::default();
        for &(name, value) in nodes.iter().flat_map(|node| &node.in_order) {
            // `db0:keys=…`, but not the `db0_distrib_…` of newer servers' key size section.
            let listed =
                name.starts_with(prefix) && value.contains('=') && !name.starts_with("db0_");
            if listed && !REDIRECTIONS.contains(&name) {
                let group = groups.entry(name).or_default();
                if group.is_empty() {
                    names.push(name);
                }
                group.push(value);
            }
        }
        for name in names {
            let merged = self.merge_items(&groups[name]);
            push_line(out, &format!("{name}:{merged}"));
        }
    }

    /// `a=1,b=2` of several nodes as one; the first node's names and order.
    fn merge_items(self, lines: &[&str]) -> String {
        let items: Vec<Vec<(&str, f64)>> = lines.iter().map(|line| items(line)).collect();
        let sum = |name: &str| -> f64 { items.iter().map(|line| item(line, name)).sum() };
        let merged = lines[0].split(',').filter_map(|text| {
            let (name, value) = text.split_once('=')?;
            Some(match (self, name) {
                (Self::Latencies, _) => {
                    let worst = items
                        .iter()
                        .map(|line| item(line, name))
                        .fold(0.0, f64::max);
                    format!("{name}={worst:.3}")
                }
                (_, "usec_per_call") => format!("{name}={:.2}", ratio(sum("usec"), sum("calls"))),
                (_, "avg_ttl") => {
                    let weighted = items
                        .iter()
                        .map(|line| item(line, name) * item(line, "expires"));
                    format!("{name}={:.0}", ratio(weighted.sum(), sum("expires")))
                }
                _ if value.parse::<f64>().is_ok() => format!("{name}={:.0}", sum(name)),
                _ => text.to_owned(),
            })
        });
        merged.collect::<Vec<_>>().join(",")
    }
}

fn items(line: &str) -> Vec<(&str, f64)> {
    line.split(',')
        .filter_map(|text| text.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

fn item(items: &[(&str, f64)], name: &str) -> f64 {
    items
        .iter()
        .find(|(n, _)| *n == name)
        .map_or(0.0, |(_, value)| *value)
}

pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        clients: 7,
        clients_max: 10_000,
        port: 6379,
        random: 0,
    };

    fn merged(texts: &[&str]) -> String {
        let replies: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| {
                let mut reply = Vec::new();
                encode::verbatim(&mut reply, &text.replace('\n', "\r\n"), Proto::Resp2);
                reply
            })
            .collect();
        let mut out = Vec::new();
        merge(replies.iter().map(Vec::as_slice), &FACTS, &mut out).unwrap();
        String::from_utf8(resp::bulk(&out).unwrap().to_vec())
            .unwrap()
            .replace("\r\n", "\n")
    }

    #[test]
    fn one_standalone_server_is_presented() {
        let node = "# Server\nredis_version:7.0.15\nredis_mode:cluster\ntcp_port:7001\n\n\
                    # Clients\nconnected_clients:90\ncluster_connections:10\nmaxclients:500\nblocked_clients:2\n\n\
                    # Persistence\nloading:1\n\n\
                    # Replication\nrole:slave\nconnected_slaves:1\nslave0:ip=10.0.0.1,port=7002\n\n\
                    # Cluster\ncluster_enabled:1\n\n# Cluster Info\ncluster_state:ok\n\n# Keyspace\n";
        let shown = "# Server\nredis_version:7.0.15\nredis_mode:standalone\ntcp_port:6379\n\n\
                     # Clients\nconnected_clients:7\ncluster_connections:0\nmaxclients:10000\nblocked_clients:4\n\n\
                     # Persistence\nloading:0\n\n\
                     # Replication\nrole:master\nconnected_slaves:0\n\n\
                     # Cluster\ncluster_enabled:0\n\n# Cluster Info\n\n# Keyspace\n";
        assert_eq!(merged(&[node, node]), shown);
        assert_eq!(
            merged(&["# Server\nserver_mode:cluster\n"]),
            "# Server\nserver_mode:standalone\n"
        );
        assert_eq!(merged(&["", ""]), "");
    }

    #[test]
    fn memory_is_added_and_what_follows_from_it_recomputed() {
        let one = "# Memory\nused_memory:1048576\nused_memory_human:1.00M\nused_memory_rss:2097152\n\
                   used_memory_peak:2097152\nused_memory_peak_perc:50.00%\nused_memory_startup:524288\n\
                   used_memory_dataset:262144\nused_memory_dataset_perc:50.00%\nmaxmemory:1024\nmaxmemory_human:1.00K\n\
                   maxmemory_policy:noeviction\nmem_fragmentation_ratio:2.00\nmem_allocator:jemalloc-5.3.0\n";
        let other = one
            .replace("1048576", "3145728")
            .replace("used_memory_peak:2097152", "used_memory_peak:4194304");
        let shown = "# Memory\nused_memory:4194304\nused_memory_human:4.00M\nused_memory_rss:4194304\n\
                     used_memory_peak:6291456\nused_memory_peak_perc:66.67%\nused_memory_startup:1048576\n\
                     used_memory_dataset:524288\nused_memory_dataset_perc:16.67%\nmaxmemory:2048\nmaxmemory_human:2.00K\n\
                     maxmemory_policy:noeviction\nmem_fragmentation_ratio:1.00\nmem_allocator:jemalloc-5.3.0\n";
        assert_eq!(merged(&[one, &other]), shown);
        let unlimited = other.replace("maxmemory:1024", "maxmemory:0");
        assert!(merged(&[one, &unlimited]).contains("maxmemory:0\nmaxmemory_human:0B\n"));
    }

    #[test]
    fn counters_are_added_with_their_decimals() {
        let one = "# Stats\ntotal_commands_processed:10\ninstantaneous_input_kbps:0.25\nexpired_stale_perc:1.00\n# CPU\nused_cpu_sys:0.170824\n";
        let other = one.replace(":10\n", ":5\n").replace("1.00", "2.00");
        let shown = "# Stats\ntotal_commands_processed:15\ninstantaneous_input_kbps:0.50\nexpired_stale_perc:1.50\n# CPU\nused_cpu_sys:0.341648\n";
        assert_eq!(merged(&[one, &other]), shown);
    }

    #[test]
    fn the_keyspace_is_that_of_all_primaries() {
        let empty = "# Keyspace\n";
        let one = "# Keyspace\ndb0:keys=10,expires=1,avg_ttl=1000\n";
        let other = "# Keyspace\ndb0:keys=5,expires=3,avg_ttl=2000\n";
        let shown = "# Keyspace\ndb0:keys=15,expires=4,avg_ttl=1750\n";
        assert_eq!(merged(&[empty, one, other]), shown);
        assert_eq!(merged(&[empty, empty]), empty);
    }

    #[test]
    fn statistics_by_command_and_error_are_united() {
        let one = "# Commandstats\ncmdstat_get:calls=2,usec=10,usec_per_call=5.00,failed_calls=1\n# Errorstats\nerrorstat_ERR:count=1\n";
        let other = "# Commandstats\ncmdstat_set:calls=1,usec=3,usec_per_call=3.00,failed_calls=0\n\
                     cmdstat_get:calls=2,usec=2,usec_per_call=1.00,failed_calls=1\n# Errorstats\nerrorstat_OOM:count=4\nerrorstat_MOVED:count=9\n";
        let shown = "# Commandstats\ncmdstat_get:calls=4,usec=12,usec_per_call=3.00,failed_calls=2\n\
                     cmdstat_set:calls=1,usec=3,usec_per_call=3.00,failed_calls=0\n\
                     # Errorstats\nerrorstat_ERR:count=1\nerrorstat_OOM:count=4\n";
        assert_eq!(merged(&[one, other]), shown);
    }

    #[test]
    fn the_reply_has_the_type_of_the_first() {
        let mut out = Vec::new();
        merge([&b"=8\r\ntxt:# A\n\r\n"[..]].into_iter(), &FACTS, &mut out).unwrap();
        assert!(out.starts_with(b"="));
        let not_text = [&b"$0\r\n\r\n"[..], b":1\r\n"];
        assert_eq!(merge(not_text.into_iter(), &FACTS, &mut out), Err(1));
    }
}
