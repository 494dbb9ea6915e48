//! What becomes of each field of INFO when several nodes' are merged: one table. Called by `info`.

use super::Facts;
use super::info::{Fields, Section, ratio, total, values};

/// What becomes of a field.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// The first node's value: versions, the machine, settings.
    First,
    /// This value, whatever the nodes say.
    Fixed(&'static str),
    /// The field is not shown.
    Dropped,
    Sum,
    Max,
    Min,
    Mean,
    /// Sum, but 0 (no limit) if one node says 0.
    SumOfLimits,
    /// `ok` only if all say so.
    Ok,
    /// The sum of the field this one's name begins with, for people.
    Human,
    /// One sum divided by another, with two decimals.
    Quotient(&'static str, &'static str),
    /// One sum in percent of another.
    Percent(&'static str, &'static str),
    /// The data set in percent of what is used beyond an empty server's memory.
    PercentOfNet,
    /// Of the proxy.
    Clients,
    ClientsMax,
    Port,
}

impl Rule {
    pub(super) fn of(section: Section, name: &str) -> Self {
        match name {
            "redis_mode" | "server_mode" => Self::Fixed("standalone"),
            "cluster_enabled"
            | "loading"
            | "async_loading"
            | "connected_slaves"
            | "connected_replicas"
            | "cluster_connections"
            | "mem_cluster_links" => Self::Fixed("0"),
            "role" => Self::Fixed("master"),
            "tcp_port" => Self::Port,
            "connected_clients" => Self::Clients,
            "maxclients" => Self::ClientsMax,
            "config_file" | "executable" => Self::Fixed(""),
            "uptime_in_seconds" | "uptime_in_days" => Self::Max,
            _ if is_numbered(name, "slave")
                || is_numbered(name, "replica")
                || is_numbered(name, "listener") =>
            {
                Self::Dropped
            }
            _ if name.ends_with("_human") => Self::Human,
            _ => match section {
                Section::Memory => Self::of_memory(name),
                Section::Persistence => Self::of_persistence(name),
                Section::Clients | Section::Stats | Section::Cpu => Self::of_counters(name),
                _ => Self::First,
            },
        }
    }

    fn of_memory(name: &str) -> Self {
        match name {
            "used_memory_peak_perc" => Self::Percent("used_memory", "used_memory_peak"),
            "used_memory_dataset_perc" => Self::PercentOfNet,
            "mem_fragmentation_ratio" => Self::Quotient("used_memory_rss", "used_memory"),
            "allocator_frag_ratio" => Self::Quotient("allocator_active", "allocator_allocated"),
            "allocator_rss_ratio" => Self::Quotient("allocator_resident", "allocator_active"),
            "rss_overhead_ratio" => Self::Quotient("used_memory_rss", "allocator_resident"),
            "maxmemory" => Self::SumOfLimits,
            // Nodes may share a machine: a sum would count it again and again.
            "total_system_memory" | "active_defrag_running" => Self::Max,
            "maxmemory_policy" | "mem_allocator" => Self::First,
            _ => Self::Sum,
        }
    }

    fn of_persistence(name: &str) -> Self {
        match name {
            "rdb_last_save_time" => Self::Min,
            _ if name.ends_with("_status") => Self::Ok,
            _ if name.ends_with("_perc") => Self::Mean,
            _ if name.ends_with("_in_progress")
                || name.ends_with("_scheduled")
                || name.ends_with("_sec") =>
            {
                Self::Max
            }
            "aof_enabled" | "current_cow_size_age" => Self::Max,
            _ => Self::Sum,
        }
    }

    fn of_counters(name: &str) -> Self {
        match name {
            "client_recent_max_input_buffer"
            | "client_recent_max_output_buffer"
            | "latest_fork_usec"
            | "instantaneous_eventloop_duration_usec"
            | "paused_timeout_milliseconds" => Self::Max,
            _ if name.ends_with("_perc") => Self::Mean,
            _ => Self::Sum,
        }
    }

    pub(super) fn apply(
        self,
        name: &str,
        first: &str,
        nodes: &[Fields<'_>],
        facts: &Facts,
    ) -> Option<String> {
        let quotient = |part, whole| ratio(total(nodes, part) as f64, total(nodes, whole) as f64);
        Some(match self {
            Self::First => first.to_owned(),
            Self::Fixed(value) => value.to_owned(),
            Self::Dropped => return None,
            Self::Sum => combined(nodes, name, first, |a, b| a + b),
            Self::Max => combined(nodes, name, first, f64::max),
            Self::Min => combined(nodes, name, first, f64::min),
            Self::Mean => {
                let count = values(nodes, name).count().max(1) as f64;
                let sum: f64 = values(nodes, name)
                    .filter_map(|value| value.parse::<f64>().ok())
                    .sum();
                format!("{:.2}", sum / count)
            }
            Self::SumOfLimits if values(nodes, name).any(|value| value == "0") => "0".to_owned(),
            Self::SumOfLimits => total(nodes, name).to_string(),
            Self::Ok => values(nodes, name)
                .find(|value| *value != "ok")
                .unwrap_or(first)
                .to_owned(),
            Self::Human => {
                let base = name.trim_end_matches("_human");
                if base == "maxmemory" {
                    let sum = Self::SumOfLimits.apply(base, "0", nodes, facts)?;
                    human(sum.parse().unwrap_or(0))
                } else if base == "total_system_memory" {
                    first.to_owned()
                } else {
                    human(total(nodes, base))
                }
            }
            Self::Quotient(part, whole) => format!("{:.2}", quotient(part, whole)),
            Self::Percent(part, whole) => format!("{:.2}%", 100.0 * quotient(part, whole)),
            Self::PercentOfNet => {
                let net =
                    total(nodes, "used_memory").saturating_sub(total(nodes, "used_memory_startup"));
                let data = total(nodes, "used_memory_dataset");
                format!("{:.2}%", 100.0 * ratio(data as f64, net as f64))
            }
            Self::Clients => facts.clients.to_string(),
            Self::ClientsMax => facts.clients_max.to_string(),
            Self::Port => facts.port.to_string(),
        })
    }
}

/// `slave0`, `slave1` …
fn is_numbered(name: &str, prefix: &str) -> bool {
    let digits = name.strip_prefix(prefix).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The nodes' numbers as one, written with as many decimals as the first has; what is not a number stays
/// the first node's.
fn combined(
    nodes: &[Fields<'_>],
    name: &str,
    first: &str,
    combine: impl Fn(f64, f64) -> f64,
) -> String {
    let integers: Option<Vec<i64>> = values(nodes, name)
        .map(|value| value.parse().ok())
        .collect();
    let numbers: Option<Vec<f64>> = values(nodes, name)
        .map(|value| value.parse().ok())
        .collect();
    match (integers, numbers) {
        // Exact while the result is: beyond 2^53 a sum of counters is off by a few.
        (Some(all), _) => {
            let merged = all.into_iter().map(|n| n as f64).reduce(combine);
            format!("{:.0}", merged.unwrap_or(0.0))
        }
        (None, Some(all)) => {
            let decimals = first.split_once('.').map_or(0, |(_, digits)| digits.len());
            let merged = all.into_iter().reduce(combine).unwrap_or(0.0);
            format!("{merged:.decimals$}")
        }
        (None, None) => first.to_owned(),
    }
}

/// Bytes as servers write them for people: `900B`, `1.50K`, `12.00G`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_servers_do() {
        let sizes = [0, 200, 32_768, 12_041_960, 25_276_510_208].map(human);
        assert_eq!(sizes, ["0B", "200B", "32.00K", "11.48M", "23.54G"]);
    }
}
