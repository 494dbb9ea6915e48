//! The table of clients: libraries that people use run groups of scenarios (transactions, blocking, pub/sub …) through
//! slotway in front of a cluster of each kind of server, and against a plain server, which tells that the scenarios are
//! right. The README's table is what this run has shown: `SLOTWAY_WRITE_README=1` writes it anew, with the versions
//! that ran; a run checks all of it but the versions. The programs are in `client_table/`.
#![allow(
    clippy::unwrap_used,
    reason = "in the modules, too, to fail is to panic"
)]

#[path = "client_table/clients.rs"]
mod clients;
#[path = "client_table/conversation.rs"]
mod conversation;
#[path = "client_table/readme.rs"]
mod readme;
mod support;

use clients::{Client, clients};
use conversation::{Outcome, converse};
use slotway::demo::{Cluster, Server};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use support::{Proxy, ServerKind, boot_cluster, servers};

/// What each client is asked to do.
const GROUPS: &[&str] = &[
    "connect",
    "strings",
    "hashes",
    "lists",
    "sets",
    "sorted-sets",
    "streams",
    "pipelines",
    "transactions",
    "watch",
    "scripts",
    "blocking",
    "pubsub",
    "scan",
    "large",
    "reconnect",
];

/// What does not pass through slotway, and why: client (`*`: any), group, reason. What is not here must pass, and what is
/// here must not.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Programs that run side by side: most of what they do is waiting.
const SIDE_BY_SIDE: usize = 4;

/// One program against one server.
#[derive(Clone, Copy)]
struct Job<'a> {
    kind: &'a ServerKind,
    client: &'a Client,
    protocol: u8,
    target: Target<'a>,
}

#[derive(Clone, Copy)]
enum Target<'a> {
    /// A server without a cluster: what it answers is right.
    Plain,
    /// The proxy in front of this cluster.
    Proxy(&'a Cluster),
}

impl Job<'_> {
    fn run(&self) -> Outcome {
        let name = format!("{}-{}", self.client.short, self.protocol);
        match self.target {
            Target::Plain => {
                let mut server = Server::boot(&self.kind.path, &[]).unwrap();
                let addr = server.addr();
                converse(self.client, addr, self.protocol, &name, || {
                    server.restart().unwrap();
                })
            }
            Target::Proxy(cluster) => {
                let mut proxy = Proxy::start(cluster, &[]);
                let addr = proxy.addr();
                converse(self.client, addr, self.protocol, &name, || proxy.restart())
            }
        }
    }

    /// Everything that is wrong with an outcome.
    fn judge(&self, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let place = match self.target {
            Target::Plain => "a plain server",
            Target::Proxy(_) => "slotway",
        };
        for group in GROUPS {
            if self.client.does_without(self.protocol, group) {
                continue;
            }
            let result = outcome.groups.get(*group);
            let excused = match self.target {
                Target::Plain => None,
                Target::Proxy(_) => exception(self.client.name, group),
            };
            let why = match (result, excused) {
                (Some(Ok(())), None) | (Some(Err(_)) | None, Some(_)) => continue,
                (Some(Ok(())), Some(_)) => "passes, so it must be no exception",
                (Some(Err(why)), None) => why.as_str(),
                (None, None) => outcome.trouble.as_str(),
            };
            wrong.push(format!(
                "{} RESP{}, {} behind {place}: {group}: {why}",
                self.client.name, self.protocol, self.kind.name
            ));
        }
        wrong
    }
}

fn exception(client: &str, group: &str) -> Option<&'static str> {
    let matches = |(c, g, _): &&(&str, &str, &str)| (*c == "*" || *c == client) && *g == group;
    EXCEPTIONS
        .iter()
        .find(matches)
        .map(|(_, _, reason)| *reason)
}

#[test]
fn every_client_passes_its_groups() {
    let clients = clients();
    let kinds = servers();
    let clusters: Vec<Cluster> = kinds.iter().map(boot_cluster).collect();
    let mut jobs = Vec::new();
    for (kind, cluster) in kinds.iter().zip(&clusters) {
        for client in &clients {
            for &protocol in client.protocols {
                for target in [Target::Plain, Target::Proxy(cluster)] {
                    jobs.push(Job {
                        kind,
                        client,
                        protocol,
                        target,
                    });
                }
            }
        }
    }
    let jobs = Mutex::new(jobs);
    let wrong = Mutex::new(Vec::new());
    let versions = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let job = jobs.lock().unwrap().pop();
                    let Some(job) = job else { break };
                    let outcome = job.run();
                    wrong.lock().unwrap().extend(job.judge(&outcome));
                    let mut versions = versions.lock().unwrap();
                    versions.insert(job.client.name, outcome.version);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    readme::check(&clients, &versions.into_inner().unwrap());
}
