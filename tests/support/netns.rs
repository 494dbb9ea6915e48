//! A network of a test's own: the test runs itself again in a network namespace, where servers, proxy and clients share
//! a loopback interface and nftables rules can cut them off from each other. Whatever becomes of the test, the
//! namespace ends with its last process, and its rules with it.
//!
//! Servers connect from 127.0.0.2, everybody else from 127.0.0.1: rules can tell the cluster's own traffic from that of
//! its clients. A packet is dropped where it arrives, so that its sender notices nothing.

use super::form::is_long;
use slotway::demo::{Cluster, ClusterOptions, Process, mortal};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names a file that the test says in that it ran; set for the test within the namespace.
const WITHIN: &str = "SLOTWAY_TEST_NETNS";

/// Which of its scenes runs there.
const SCENE: &str = "SLOTWAY_TEST_SCENE";

/// Where clients of the nodes connect from, the proxy among them.
const CLIENTS: &str = "127.0.0.1";

/// Where the nodes connect from.
const NODES: &str = "127.0.0.2";

/// Where a node connects from whose cluster bus is cut.
const ALONE: &str = "127.0.0.3";

/// A node's cluster bus listens this far above its client port.
const BUS_OFFSET: u16 = 10_000;

/// Ways into a network namespace, the first one that works is taken: as any user, as root, with sudo.
const WAYS: [&[&str]; 3] = [
    &["unshare", "-Urn"],
    &["unshare", "-n"],
    &["sudo", "-n", "-E", "unshare", "-n"],
];

/// Where the programs are that only root has on its PATH.
const ADMIN_PATH: &str = ":/usr/sbin:/sbin";

/// What a way has to allow.
const TRIAL: &str = "ip link set lo up && nft add table ip slotway";

/// The network of this test.
pub struct Net {
    _private: (),
}

/// What is done in a network, and its name.
pub type Scene<'a> = (&'a str, &'a (dyn Fn(&Net) + Sync));

/// Runs scenes, each of them in a network of its own: one after the other in the long form, which measures times, and
/// all at the same time in the short one. `test` is the name of the calling test, as `--exact` takes it.
pub fn within(test: &str, scenes: &[Scene<'_>]) {
    if let Some(said) = std::env::var_os(WITHIN) {
        let name = std::env::var(SCENE).unwrap();
        let (_, body) = scenes.iter().find(|(one, _)| *one == name).unwrap();
        std::fs::write(said, ran(test, &name)).unwrap();
        return body(&Net::set_up());
    }
    if is_long() {
        return scenes.iter().for_each(|(name, _)| run(test, name));
    }
    std::thread::scope(|scope| {
        for (name, _) in scenes {
            scope.spawn(|| run(test, name));
        }
    });
}

fn ran(test: &str, scene: &str) -> String {
    format!("{test}: {scene}")
}

/// Runs the test again, in a namespace, for one of its scenes.
fn run(test: &str, scene: &str) {
    let said = Said::new(&ran(test, scene));
    let way = WAYS.iter().find(|way| allows(way));
    let way = way.expect("no way into a network namespace (unshare, ip and nft are needed)");
    let exe = std::env::current_exe().unwrap();
    let mut command = mortal(Path::new(way[0]));
    // Within, too: what changes its credentials loses the signal.
    command
        .args(&way[1..])
        .args(["setpriv", "--pdeathsig", "KILL", "--"])
        .arg(exe)
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(WITHIN, &said.0)
        .env(SCENE, scene);
    let mut process = Process::start(command).unwrap();
    let status = process.child().wait().unwrap();
    let what = ran(test, scene);
    assert!(status.success(), "{what} failed in its network namespace");
    let said = std::fs::read_to_string(&said.0).unwrap_or_default();
    assert_eq!(said, what, "there is no test of this name");
}

/// A program for administrators, on the PATH of users or not.
fn admin(program: &str) -> Command {
    let mut command = Command::new("env");
    let path = std::env::var("PATH").unwrap_or_default() + ADMIN_PATH;
    command.arg(format!("PATH={path}")).arg(program);
    command
}

fn allows(way: &[&str]) -> bool {
    let mut command = admin(way[0]);
    command.args(&way[1..]).args(["sh", "-c", TRIAL]);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

struct Said(PathBuf);

impl Said {
    fn new(test: &str) -> Self {
        let test = test.replace([':', ' '], "-");
        let name = format!("slotway-{}-{test}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What becomes of packets to and from a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing arrives: a pulled cable, a blackhole route further on.
    Silence,
    /// What arrives at the node is answered with a reset: nobody listens there any more.
    Reset,
    /// What arrives is answered with "host unreachable".
    Unreachable,
    /// What the node sends is lost; what is sent to it arrives.
    Mute,
}

impl Net {
    fn set_up() -> Self {
        let up = admin("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success());
        let net = Self { _private: () };
        net.nft(
            "add table ip slotway\n\
             add counter ip slotway dials\n\
             add chain ip slotway cut { type filter hook input priority 0; policy accept; }\n",
        );
        net
    }

    /// Options for a cluster whose nodes connect from their own address.
    pub fn options(&self, mut options: ClusterOptions) -> ClusterOptions {
        for (name, value) in [
            ("bind", "127.0.0.1 127.0.0.2"),
            ("bind-source-addr", NODES),
            ("cluster-announce-ip", CLIENTS),
        ] {
            options.settings.push((name.into(), value.into()));
        }
        options
    }

    /// Cuts a node off from its clients. Connections that they dial to it from now on are counted. The cluster notices
    /// nothing of it; where it is to lose the node, the test stops the node's process as well.
    pub fn cut(&self, node: SocketAddr, fault: Fault) {
        let port = node.port();
        let arriving = format!("ip saddr {CLIENTS} tcp dport {port}");
        let leaving = format!("ip daddr {CLIENTS} tcp sport {port}");
        let rules = match fault {
            Fault::Silence => vec![format!("{arriving} drop"), format!("{leaving} drop")],
            Fault::Mute => vec![format!("{leaving} drop")],
            Fault::Reset => vec![format!("{arriving} reject with tcp reset")],
            Fault::Unreachable => {
                vec![format!("{arriving} reject with icmp type host-unreachable")]
            }
        };
        self.lift();
        self.count_dials(node);
        for rule in rules {
            self.nft(&format!("add rule ip slotway cut {rule}\n"));
        }
    }

    /// Drops what belongs to these connections, named by the clients' ports; new ones work.
    pub fn cut_connections(&self, node: SocketAddr, clients: &[u16]) {
        let list = clients.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (list, port) = (list.join(", "), node.port());
        self.lift();
        self.nft(&format!(
            "add rule ip slotway cut tcp sport {{ {list} }} tcp dport {port} drop\n\
             add rule ip slotway cut tcp sport {port} tcp dport {{ {list} }} drop\n"
        ));
    }

    /// Cuts what a node and the other nodes tell each other. Its clients notice nothing.
    pub fn cut_bus(&self, cluster: &Cluster, node: usize) {
        let ask = |words: &[&str]| drop(cluster.ask(node, words).unwrap());
        // Its connections to them are known by their address; those that it has are dialled again.
        ask(&["CONFIG", "SET", "bind-source-addr", ALONE]);
        for other in (0..cluster.len()).filter(|other| *other != node) {
            ask(&["DEBUG", "CLUSTERLINK", "KILL", "ALL", cluster.id(other)]);
        }
        let bus = cluster.addr(node).port() + BUS_OFFSET;
        self.lift();
        for packets in [
            format!("tcp dport {bus}"),
            format!("tcp sport {bus}"),
            format!("ip saddr {ALONE}"),
            format!("ip daddr {ALONE}"),
        ] {
            self.nft(&format!("add rule ip slotway cut {packets} drop\n"));
        }
    }

    /// Counts what clients dial to a node, in SYNs: one that is not answered is repeated by the kernel after a second.
    pub fn count_dials(&self, node: SocketAddr) {
        let port = node.port();
        self.nft(&format!(
            "add rule ip slotway cut ip saddr {CLIENTS} tcp dport {port} tcp flags & (syn | ack) == syn \
             counter name dials\n"
        ));
    }

    /// Lifts every cut; the counters go on from 0.
    pub fn lift(&self) {
        self.nft("flush chain ip slotway cut\nreset counters table ip slotway\n");
    }

    /// SYNs since the last cut.
    pub fn dials(&self) -> u64 {
        let output = admin("nft")
            .args(["list", "counter", "ip", "slotway", "dials"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_ascii_whitespace();
        words.find(|word| *word == "packets").expect("a counter");
        words.next().unwrap().parse().unwrap()
    }

    /// How many sockets of clients have something for `node` that it has not acknowledged, those included that no process
    /// has any more.
    pub fn unacknowledged(&self, node: SocketAddr) -> usize {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!("0100007F:{:04X}", node.port());
        let sockets = table.lines().skip(1).filter(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            fields[2] == remote && !fields[4].starts_with("00000000:")
        });
        sockets.count()
    }

    #[track_caller]
    fn nft(&self, text: &str) {
        let mut nft = admin("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = nft.stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        assert!(nft.wait().unwrap().success(), "nft refuses:\n{text}");
    }
}
