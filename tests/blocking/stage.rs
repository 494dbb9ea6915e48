//! A cluster, a proxy in front of it, and what can be seen of blocked clients from outside.

use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, boot_steady_cluster,
};
use slotway::demo::Cluster;

pub struct Stage {
    pub cluster: Cluster,
    pub proxy: Proxy,
}

impl Stage {
    pub fn set(kind: &ServerKind, args: &[&str]) -> Self {
        Self::of(boot_cluster(kind), args)
    }

    /// For nodes that are silent for a while: nobody takes their place.
    pub fn set_steady(kind: &ServerKind, args: &[&str]) -> Self {
        Self::of(boot_steady_cluster(kind), args)
    }

    fn of(cluster: Cluster, args: &[&str]) -> Self {
        let workers: &[&str] = match args.contains(&"--workers") {
            true => &[],
            false => &["--workers", "1"],
        };
        let proxy = Proxy::start(&cluster, &[workers, args].concat());
        Self { cluster, proxy }
    }

    /// A client that has sent that line, after slotway counts it as blocked.
    pub fn blocked(&self, line: &str) -> RawClient {
        let before = self.gauge("slotway_blocked_clients");
        let mut client = self.proxy.client();
        send(&mut client, line);
        self.wait_gauge("slotway_blocked_clients", before + 1.0);
        client
    }

    /// The same, after a node counts it too.
    pub fn parked(&self, line: &str) -> RawClient {
        let before = self.blocked_at_nodes();
        let client = self.blocked(line);
        self.wait_at_nodes(before + 1);
        client
    }

    pub fn gauge(&self, name: &str) -> f64 {
        self.proxy.metrics().sum(name, &[])
    }

    #[track_caller]
    pub fn wait_gauge(&self, name: &str, value: f64) {
        self.proxy
            .wait_for(name, SHOWN_WITHIN, || match self.gauge(name) {
                got if got == value => Ok(()),
                got => Err(format!("{got}, not {value}")),
            });
    }

    /// Blocked clients as the nodes count them.
    pub fn blocked_at_nodes(&self) -> i64 {
        let running = (0..self.cluster.len()).filter(|&n| self.cluster.node(n).is_running());
        running
            .map(|node| info(&self.cluster, node, "blocked_clients:"))
            .sum()
    }

    #[track_caller]
    pub fn wait_at_nodes(&self, clients: i64) {
        self.proxy
            .wait_for("clients blocked at nodes", SHOWN_WITHIN, || {
                match self.blocked_at_nodes() {
                    got if got == clients => Ok(()),
                    got => Err(format!("{got}, not {clients}")),
                }
            });
    }

    /// No client is blocked, and nothing is held for one.
    #[track_caller]
    pub fn wait_clean(&self) {
        self.wait_gauge("slotway_blocked_clients", 0.0);
        self.wait_gauge("slotway_leases", 0.0);
        self.wait_at_nodes(0);
    }
}

pub fn send(client: &mut RawClient, line: &str) {
    client.send_lines(&[line]);
}

/// A number in a node's INFO.
pub fn info(cluster: &Cluster, node: usize, field: &str) -> i64 {
    let text = cluster.ask(node, &["INFO"]).unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap().trim().parse().unwrap()
}
