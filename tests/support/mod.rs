//! What the integration tests stand on: server programs, clusters, the proxy under test, a client that speaks
//! bytes, and scripted nodes. Each test file says `mod support;`.
//!
//! A test boots what it needs and drops it: nothing is shared between tests, and nothing is left when one
//! fails. Clusters come from `slotway::demo`.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test file compiles all of it and uses a part"
)]
#![allow(
    clippy::unwrap_used,
    reason = "in the harness, too, to fail is to panic"
)]

mod form;
mod left;
mod metrics;
pub mod netns;
pub mod node;
mod proxy;
mod raw;
mod scenario;
mod servers;
mod writes;

pub use form::{is_long, rounds, seed};
pub use left::{Kept, wait_empty};
pub use metrics::{Metrics, Sample};
pub use proxy::Proxy;
pub use raw::{RawClient, encode, encode_line, reply_end, show};
pub use scenario::Scenario;
pub use servers::{ServerKind, on_each, one_or_all, redis, servers, valkey};
pub use writes::{a_lost_connection_proves_nothing, key_of, lose_connections};

use slotway::demo::{Cluster, ClusterOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long anything may take that a test waits for, on a busy machine, too.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// A cluster of 3 primaries and 3 replicas that tells of its failures fast, and in which the shards that are
/// left go on serving when one is lost.
pub fn boot_cluster(kind: &ServerKind) -> Cluster {
    Cluster::boot(&cluster_options(kind)).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

/// The same, but nobody takes the place of a silent node: a test may pause one for as long as it needs to.
pub fn boot_steady_cluster(kind: &ServerKind) -> Cluster {
    let options = ClusterOptions {
        node_timeout: Duration::from_secs(60),
        ..cluster_options(kind)
    };
    Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

/// The options of [`boot_cluster`], to be changed.
pub fn cluster_options(kind: &ServerKind) -> ClusterOptions {
    let settings = [
        ("enable-debug-command", "yes"),
        ("cluster-require-full-coverage", "no"),
    ];
    ClusterOptions {
        server: Some(kind.path.clone()),
        settings: settings.map(|(n, v)| (n.into(), v.into())).to_vec(),
        ..ClusterOptions::default()
    }
}

/// Tells threads to stop when it is dropped, so that a test that fails does not wait for them for ever.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
