//! Where the reply through slotway is not compared with that of a plain server by the sequences of `tests/identity.rs`:
//! because another test compares it, or because it is not the same. Every other command and subcommand that a server lists
//! is compared there, and the test fails if one is not. The README has its table of differences from here.

/// Commands that are not compared like all others, and the reason.
pub struct Difference {
    /// Names as in the servers' COMMAND; subcommands as `config|set`. A container stands for all its subcommands that
    /// no other row names.
    pub commands: &'static [&'static str],
    /// The reason.
    pub why: &'static str,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a command that is not compared like all others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is compared with a plain server in this file under `tests/`.
    Same(&'static str),
    /// Its reply is another one; this file under `tests/` says which.
    Other(&'static str),
    /// It is refused: `others` tries each.
    Refused,
}

use Verdict::{Other, Refused, Same};

const fn row(commands: &'static [&'static str], why: &'static str, verdict: Verdict) -> Difference {
    Difference {
        commands,
        why,
        verdict,
    }
}

/// See the module.
#[rustfmt::skip]
pub const DIFFERENCES: &[Difference] = &[
    row(&["blpop", "brpop", "blmove", "brpoplpush", "blmpop", "bzpopmin", "bzpopmax", "bzmpop"],
        "waits for another client", Same("blocking/same.rs")),
    row(&["client|unblock"],
        "needs a client that waits", Same("blocking/unblock.rs")),
    row(&["subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"],
        "has several replies, and messages follow", Same("pubsub/illusion.rs")),
    row(&["spop", "srandmember", "hrandfield", "zrandmember", "sscan", "hscan", "zscan"],
        "drawn at random, or in the order of a hash table: asked so that the reply is determined", Same("identity/catalog.rs")),
    row(&["randomkey", "scan", "quit"],
        "needs a single key, a dialogue, or the end of a connection", Same("identity/source.rs")),
    row(&["client|id", "client|info", "client|list", "client|kill", "client|reply", "command", "command|info",
          "command|docs", "command|list", "config|get", "info", "time", "lolwut"],
        "describes the connection or the process, in part", Same("local_commands/requests.rs")),

    row(&["watch", "unwatch"],
        "keys of several slots are refused; the transaction runs on a connection of its own", Other("transactions/oracle.rs")),
    row(&["wait"],
        "counts the replicas of every primary that the client has written to, and answers the least", Other("wait.rs")),
    row(&["waitaof"],
        "counts the disks of every primary that the client has written to, and answers the least", Other("waitaof.rs")),
    row(&["lastsave"],
        "the oldest of all primaries' last saves", Other("identity/others.rs")),
    row(&["slowlog"],
        "of all nodes together, and of slotway itself (`observe.slow`)", Other("slow_log.rs")),
    row(&["commandlog", "latency|reset", "memory|purge"],
        "of all nodes together", Other("identity/others.rs")),
    row(&["function|dump", "memory|usage", "acl|genpass", "module|list"],
        "of one primary: bytes, orders and paths are its own", Other("identity/others.rs")),
    row(&["cluster|keyslot", "clusterscan"],
        "refused as by a server without cluster support, where a plain Valkey 9.1 answers", Other("identity/others.rs")),
    row(&["monitor"],
        "refused unless `policy.allow` names it; then it shows what slotway's clients send", Refused),
    row(&["acl", "config", "save", "bgsave", "bgrewriteaof"],
        "refused unless `policy.allow` names it; then all nodes get it", Refused),
    row(&["latency", "memory", "acl|log"],
        "describes one node", Refused),
    row(&["client|tracking", "client|trackinginfo", "client|caching", "client|getredir", "client|import-source",
          "client|pause"],
        "concerns a connection or the clients of a node", Refused),
    row(&["module|load", "module|loadex", "module|unload", "script|debug", "debug", "pfdebug", "pfselftest", "shutdown",
          "sync", "psync", "replconf", "replicaof", "slaveof", "failover", "migrate", "restore-asking"],
        "acts on one node, or on the cluster itself", Refused),
    row(&["move", "swapdb"],
        "a cluster has one database", Refused),
];

#[rustfmt::skip]
/// Subcommands that are compared although their container is in a row.
pub const COMPARED: &[&str] = &[
    "acl|cat", "acl|help", "acl|whoami", "command|count", "command|getkeys", "command|getkeysandflags", "command|help", "config|help", "latency|help", "memory|help", "slowlog|help", "commandlog|help",
];

/// Commands of a row that one kind of server does not have.
pub const MISSING: &[(&str, &[&str])] = &[(
    "redis",
    &[
        "waitaof",
        "commandlog",
        "clusterscan",
        "commandlog|help",
        "client|import-source",
    ],
)];

/// What is not a matter of one command: what is different, and the file under `tests/` that says how.
pub const BEYOND: &[(&str, &str, &str)] = &[
    (
        "keys in several slots (`SINTER`, `RENAME`, `MSETNX`, `EVAL` …)",
        "`CROSSSLOT`, with the two keys and what would help; `MGET MSET DEL UNLINK EXISTS TOUCH` are split instead, and \
      `MSET` is then not atomic",
        "identity/others.rs",
    ),
    (
        "`MULTI` over several slots",
        "the command with the second slot gets `CROSSSLOT` when it is queued, `EXEC` gets `EXECABORT`",
        "transactions.rs",
    ),
    (
        "inside `MULTI`: `SUBSCRIBE` and its family, `MONITOR`, `CLIENT LIST KILL UNBLOCK REPLY`, `HELLO` with the other \
      version, commands for all shards (`KEYS SCAN DBSIZE FLUSHALL` …)",
        "refused when queued, `EXEC` gets `EXECABORT`",
        "transactions.rs",
    ),
    (
        "a user of the nodes who may not `MULTI` or `EXEC`",
        "`EXEC` gets `EXECABORT` with the node's words, and nothing was executed; a server executes the commands one by one",
        "transactions/permitted.rs",
    ),
    (
        "`SORT …` and `SORT_RO …` with `BY` or `GET` and a pattern",
        "the node's error `BY option of SORT denied in Cluster mode`, or `GET option …`",
        "identity/others.rs",
    ),
    (
        "a script that touches keys which it does not declare",
        "where another node has them, the node's error `… attempted to access a non local key in a cluster node`",
        "identity/others.rs",
    ),
    (
        "the order of one client's commands for different slots",
        "replies come in order, execution may not",
        "slot_order.rs",
    ),
];

/// Commands of which no broken variants of templates are made: with other arguments the reply is drawn at random, or in
/// the order of a hash table, or concerns several slots. (Of several mistakes in one HELLO, Redis 7.0 tells of another one
/// than Valkey and the proxy do.)
pub const NOT_SPOILT: &[&str] = &[
    "spop",
    "srandmember",
    "hrandfield",
    "zrandmember",
    "scan",
    "sscan",
    "hscan",
    "zscan",
    "command",
    "pfcount",
    "xread",
    "xreadgroup",
    "hello",
    "msetex",
];

/// Subcommands that the proxy has in front of every server, because clients send them at connect; Redis has them
/// since 7.2.
const SINCE_7_2: &[&str] = &["setinfo", "no-touch"];

/// Whether one plain server of this name answers otherwise than a cluster, or than itself another time.
pub fn is_peculiar(args: &[Vec<u8>], server: &str) -> bool {
    let word = |i: usize| {
        args.get(i)
            .map(|arg| arg.to_ascii_lowercase())
            .unwrap_or_default()
    };
    if server != "redis" {
        return false;
    }
    match word(0).as_slice() {
        // Answered here, with the arity that it has in Valkey.
        b"cluster" if word(1) == b"replicate" => args.len() != 3,
        b"client" => SINCE_7_2.iter().any(|name| name.as_bytes() == word(1)),
        // 7.0 does not clear `errno`: after a number that was out of range anywhere, SORT may call -5 one as well.
        b"sort" | b"sort_ro" => !args.iter().any(|arg| arg.eq_ignore_ascii_case(b"alpha")),
        _ => false,
    }
}

/// The row of a command.
pub fn difference(name: &str) -> Option<&'static Difference> {
    if COMPARED.contains(&name) {
        return None;
    }
    let row = |name: &str| {
        DIFFERENCES
            .iter()
            .find(|difference| difference.commands.contains(&name))
    };
    row(name).or_else(|| row(name.split_once('|')?.0))
}
