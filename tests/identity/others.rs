//! What is not compared because it is not the same: commands that are refused, always or with keys in several slots, and
//! those whose answer comes from all nodes or from one of them.

use slotway::demo::Server;

use super::differences::{Verdict, difference};
use crate::support::{Proxy, boot_cluster, servers, show};
use crate::{Listed, listed};

/// What a request is answered with, at its beginning.
const ANSWERS: &[(&str, &str)] = &[
    ("LASTSAVE", ":1"),
    ("SLOWLOG RESET", "+OK\r\n"),
    ("SLOWLOG LEN", ":"),
    ("SLOWLOG GET", "*"),
    ("COMMANDLOG RESET slow", "+OK\r\n"),
    ("COMMANDLOG LEN slow", ":"),
    ("COMMANDLOG GET 1 slow", "*"),
    ("LATENCY RESET", ":0\r\n"),
    ("MEMORY PURGE", "+OK\r\n"),
    ("MEMORY USAGE nosuchkey", "$-1\r\n"),
    ("FUNCTION DUMP", "$"),
    ("ACL GENPASS", "$64\r\n"),
    ("MODULE LIST", "*"),
    (
        "CLUSTER KEYSLOT key",
        "-ERR This instance has cluster support disabled\r\n",
    ),
    (
        "CLUSTERSCAN 0",
        "-ERR This instance has cluster support disabled\r\n",
    ),
    (
        "SORT a BY w_*",
        "-ERR BY option of SORT denied in Cluster mode",
    ),
    (
        "SORT_RO a GET w_*",
        "-ERR GET option of SORT denied in Cluster mode",
    ),
];

/// A script that touches a key of another shard, which it does not declare.
const UNDECLARED: &str = "EVAL return(redis.call('GET','b')) 1 a";

/// Commands whose keys are in several slots.
const ACROSS_SLOTS: &[&str] = &[
    "SINTER a b",
    "SUNIONSTORE a b c",
    "RENAME a b",
    "COPY a b",
    "MSETNX a 1 b 2",
    "LMOVE a b LEFT RIGHT",
    "BLMOVE a b LEFT RIGHT 1",
    "PFCOUNT a b",
    "BITOP AND a b c",
    "ZUNIONSTORE a 2 b c",
    "XREAD STREAMS a b 0 0",
    "SORT a STORE b",
    "GEOSEARCHSTORE a b FROMLONLAT 1 1 BYRADIUS 1 m",
    "EVAL return 2 a b",
    "FCALL f 2 a b",
];

#[test]
fn what_is_refused_is_refused_in_slotways_words() {
    for kind in servers() {
        let plain = Server::boot(&kind.path, &[]).expect("a plain server");
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        let mut refused = 0;
        for Listed {
            name,
            arity,
            container,
        } in listed(&plain)
        {
            let row = difference(&name);
            if container || row.is_none_or(|row| row.verdict != Verdict::Refused) {
                continue;
            }
            let mut words: Vec<&str> = name.split('|').collect();
            while words.len() < arity {
                words.push("1");
            }
            let reply = client.command(&words);
            assert!(
                reply.starts_with(b"-ERR slotway: '"),
                "{}: {words:?}: {}",
                kind.name,
                show(&reply)
            );
            refused += 1;
        }
        assert!(refused > 30, "{}: {refused}", kind.name);
        for line in ACROSS_SLOTS {
            let reply = client.line(line);
            let start = b"-CROSSSLOT Keys in request don't hash to the same slot (slotway: '";
            assert!(
                reply.starts_with(start),
                "{}: {line}: {}",
                kind.name,
                show(&reply)
            );
            client.expect("PING", b"+PONG\r\n");
        }
        for (line, start) in ANSWERS {
            if kind.name == "redis" && (line.starts_with("COMMANDLOG") || *line == "CLUSTERSCAN 0")
            {
                continue;
            }
            let reply = client.line(line);
            assert!(
                reply.starts_with(start.as_bytes()),
                "{}: {line}: {}",
                kind.name,
                show(&reply)
            );
        }
        let reply = show(&client.line(UNDECLARED));
        let denied = "ttempted to access a non local key in a cluster node";
        assert!(reply.contains(denied), "{}: {reply}", kind.name);
    }
}
