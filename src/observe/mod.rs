//! What operators see: metrics, summed over workers when scraped, and the log. Sessions and lanes count through
//! [`WorkerMetrics`] and [`NodeMetrics`] with plain stores and no lock; names, labels and help texts are in one
//! table ([`METRICS`]).

mod big_values;
mod cell;
mod error_log;
#[cfg(test)]
mod exposition;
mod families;
mod glob;
mod histogram;
mod history;
mod hot_keys;
mod key_groups;
mod labels;
pub mod log;
mod lookups;
mod metrics;
mod node;
mod prefixes;
mod process;
mod remedies;
#[cfg(test)]
mod scrape_tests;
mod slow_log;
mod table;
mod topology;
mod topology_source;
mod totals;
mod worker;
mod workers;

pub use big_values::{BIG_FOR, BIG_MAX, BigValue, Direction};
pub use error_log::{ERRORS_MAX, RecentError};
pub use families::{Families, Source};
pub use histogram::{BOUNDS_MICROS, BUCKETS};
pub use history::{Figures, History, NodeFigures, SAMPLED_EVERY, SAMPLES_MAX};
pub use hot_keys::{HALF_LIFE, HotKey, Hottest, KEY_BYTES_MAX, SAMPLED};
pub use key_groups::KeyGroup;
pub use labels::{
    CrossSlot, ErrorSource, Exec, Limit, NodeError, Redirection, Rejected, RetryReason,
};
pub use metrics::Metrics;
pub use node::{NODES_MAX, NodeMetrics};
pub use prefixes::PREFIXES_MAX;
pub use process::resident_bytes;
pub use remedies::Remedy;
pub use slow_log::{Cause, SLOW_MAX, SlowCommand, Spent};
pub use table::{Definition, Kind, METRICS, Metric};
pub use topology::{RefreshResult, TopologyMetrics, Trigger};
pub use totals::{Durations, NodeTotals, Totals};
pub use worker::WorkerMetrics;
pub use workers::CommandNames;
