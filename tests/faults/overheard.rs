//! What a node hears, by its own MONITOR: whether ASKING is right in front of every command for a slot that the node
//! only imports. A command without it is refused with MOVED and not shown, so the test counts MOVED as well.

use crate::support::RawClient;
use slotway::demo::Cluster;
use std::collections::HashMap;
use std::thread::JoinHandle;

/// The last line that is listened to.
const END: &str = "the end of what is overheard";

/// Lines without ASKING that are kept.
const EXAMPLES_MAX: usize = 5;

/// See the module.
pub struct Overheard {
    node: RawClient,
    listener: JoinHandle<Asking>,
}

/// Commands with keys of the slot.
#[derive(Debug, Default)]
pub struct Asking {
    /// With ASKING right in front, on the same connection.
    pub behind: u64,
    /// Without, as the node showed them.
    pub without: Vec<String>,
}

impl Overheard {
    /// Listens to commands that name this tag.
    pub fn start(cluster: &Cluster, node: usize, tag: &str) -> Self {
        let mut monitor = RawClient::connect(cluster.addr(node));
        monitor.expect("MONITOR", b"+OK\r\n");
        let tag = tag.to_owned();
        Self {
            node: RawClient::connect(cluster.addr(node)),
            listener: std::thread::spawn(move || listen(monitor, &tag)),
        }
    }

    /// What was heard.
    pub fn finish(mut self) -> Asking {
        self.node.command(&["ECHO", END]);
        self.listener.join().expect("the listener")
    }
}

fn listen(mut monitor: RawClient, tag: &str) -> Asking {
    let mut asking = Asking::default();
    let mut last: HashMap<String, String> = HashMap::new();
    loop {
        let line = String::from_utf8_lossy(&monitor.reply()).into_owned();
        // `+1700000000.000001 [0 127.0.0.1:5] "GET" "{1}a"`
        let Some((from, command)) = line.split_once("] ") else {
            panic!("no address: {line}");
        };
        let from = from.rsplit(' ').next().unwrap_or_default();
        let command = command.trim_end();
        if command.contains(END) {
            return asking;
        }
        // What a script calls, and keys that arrive.
        let other = from == "lua" || command.to_ascii_uppercase().starts_with("\"RESTORE");
        if command.contains(tag) && !other {
            let before = last.get(from).map_or("", String::as_str);
            if before.eq_ignore_ascii_case("\"ASKING\"") {
                asking.behind += 1;
            } else if asking.without.len() < EXAMPLES_MAX {
                asking
                    .without
                    .push(format!("{from} {command} behind {before}"));
            }
        }
        last.insert(from.to_owned(), command.to_owned());
    }
}
