//! The policy table: one row per command or subcommand that is not simply "route by key", with the reason where it
//! is refused. The only place where slotway's opinion about a command is written down.

use super::facts::Facts;
use super::policy::{Gather, Local, Merge, Mode, Over, Policy, Split, Targets};
use Policy::{AnyNode, Home, Refused, Route, Scan};

/// All subcommands of a container, or one subcommand of all containers, at once.
pub(super) struct Family {
    container: Option<&'static str>,
    subcommand: Option<&'static str>,
    pub(super) policy: Policy,
}

impl Family {
    pub(super) fn has(&self, facts: &Facts) -> bool {
        let Some((container, subcommand)) = facts.name.split_once('|') else {
            return false;
        };
        self.container.is_none_or(|own| own == container)
            && self.subcommand.is_none_or(|own| own == subcommand)
    }
}

pub(super) const FAMILIES: [Family; 3] = [
    // A standalone server answers every subcommand, HELP included, with the same error. Some clients switch to
    // cluster mode, and dial nodes past the proxy, when one of them succeeds.
    Family {
        container: Some("cluster"),
        subcommand: None,
        policy: Policy::Local(Local::ClusterAny),
    },
    Family {
        container: None,
        subcommand: Some("help"),
        policy: AnyNode,
    },
    Family {
        container: Some("command"),
        subcommand: None,
        policy: AnyNode,
    },
];

const fn to_primaries(merge: Merge) -> Policy {
    gather(Targets::Primaries, merge, Over::Lanes)
}

const fn to_all(merge: Merge) -> Policy {
    gather(Targets::AllNodes, merge, Over::Lanes)
}

const fn to_reachable(merge: Merge) -> Policy {
    gather(Targets::ReachableNodes, merge, Over::Lanes)
}

/// What a node does while a script keeps it busy.
const fn past_scripts(merge: Merge) -> Policy {
    gather(Targets::ReachableNodes, merge, Over::OwnConnections)
}

const fn gather(to: Targets, merge: Merge, over: Over) -> Policy {
    Policy::AllShards(Gather { to, merge, over })
}

pub(super) const DENIED: &str = "is denied by policy.deny";
/// Why a script or function is refused that is called without keys, where `policy.keyless_scripts` says so.
pub const SCRIPT_WITHOUT_KEYS: &str = "without keys is refused by policy.keyless_scripts = \"error\"; name the keys \
     that the script uses, or set it to \"any\"";
pub(super) const BLOCKING: &str =
    "may block without naming a key, so its node cannot be told; connect to the node";
const TRACKING: &str = "is not supported: slotway has no client-side caching";
const CONTAINER: &str = "needs a subcommand";
const REPLICATION: &str = "belongs to the cluster's own replication; connect to the node";
const ONE_NODE_ONLY: &str = "describes one node only; connect to the node";
const DEBUGGING: &str = "is for debugging one server; connect to the node";
const SAVING: &str = "works on every node's disk; connect to the nodes, or add it to policy.allow";
const USERS: &str =
    "changes or shows the users of every node; connect to the nodes, or add it to policy.allow";
const DATABASES: &str = "needs a second database, and a cluster has only database 0";

/// Commands that are not simply routed by key. Sorted by kind.
#[rustfmt::skip]
pub(super) const ROWS: &[(&str, Policy)] = &[
    // Cut by slot, when the keys are in several.
    ("mget",      Policy::Split(Split::Mget)),
    ("mset",      Policy::Split(Split::Mset)),
    ("del",       Policy::Split(Split::Count)),
    ("unlink",    Policy::Split(Split::Count)),
    ("exists",    Policy::Split(Split::Count)),
    ("touch",     Policy::Split(Split::Count)),
    ("json.mget", Policy::Split(Split::JsonMget)),

    // All keys of all shards.
    ("scan",      Scan),
    ("keys",      to_primaries(Merge::Concat)),
    ("dbsize",    to_primaries(Merge::Sum)),
    ("flushall",  to_primaries(Merge::AllOk)),
    ("flushdb",   to_primaries(Merge::AllOk)),
    ("randomkey", to_primaries(Merge::RandomKey)),

    // The server as a whole.
    ("info",             to_primaries(Merge::Info)),
    ("config|get",       gather(Targets::One, Merge::ConfigGet, Over::Lanes)),
    // Whoever polls it after a save wants to know that all shards have saved.
    ("lastsave",         to_primaries(Merge::Min)),
    ("slowlog|get",      to_all(Merge::Slowlog)),
    ("slowlog|len",      to_all(Merge::Sum)),
    ("slowlog|reset",    to_all(Merge::AllOk)),
    ("commandlog|get",   to_all(Merge::Slowlog)),
    ("commandlog|len",   to_all(Merge::Sum)),
    ("commandlog|reset", to_all(Merge::AllOk)),
    ("latency|reset",    to_all(Merge::Sum)),
    ("memory|purge",     to_all(Merge::AllOk)),
    ("module|list",      AnyNode),
    ("command",          AnyNode),
    ("acl|cat",          AnyNode),
    ("lolwut",           AnyNode),
    ("acl|genpass",      AnyNode),

    // Scripts. SCRIPT LOAD is not replicated, and a replica may become a primary: it goes to all nodes. One that is not
    // reachable is given the script when it needs it.
    ("eval",             Route),
    ("eval_ro",          Route),
    ("evalsha",          Route),
    ("evalsha_ro",       Route),
    ("fcall",            Route),
    ("fcall_ro",         Route),
    ("script|load",      to_reachable(Merge::AllOk)),
    ("script|flush",     to_reachable(Merge::AllOk)),
    // One that only some nodes have, and slotway does not, is said not to exist: the client then loads it.
    ("script|exists",    to_primaries(Merge::ScriptExists)),
    ("script|kill",      past_scripts(Merge::First)),
    // A script that came with EVAL is known to one node only.
    ("script|show",      to_primaries(Merge::First)),
    ("script|debug",     Refused(DEBUGGING)),
    ("function|load",    to_primaries(Merge::AllOk)),
    ("function|delete",  to_primaries(Merge::AllOk)),
    ("function|flush",   to_primaries(Merge::AllOk)),
    ("function|restore", to_primaries(Merge::AllOk)),
    ("function|kill",    past_scripts(Merge::First)),
    ("function|dump",    AnyNode),
    ("function|list",    AnyNode),
    ("function|stats",   past_scripts(Merge::FunctionStats)),

    // Publishing. The nodes pass messages on to each other; sharded channels have a slot.
    ("publish",              Home),
    ("spublish",             Route),
    ("pubsub|channels",      to_all(Merge::Union)),
    ("pubsub|numsub",        to_all(Merge::NumSub)),
    ("pubsub|numpat",        to_all(Merge::Max)),
    ("pubsub|shardchannels", to_all(Merge::Union)),
    ("pubsub|shardnumsub",   to_all(Merge::NumSub)),

    // With BLOCK, `Command::policy_for` says Blocking.
    ("xread",      Route),
    ("xreadgroup", Route),

    // The connection: answered here.
    ("ping",             Policy::Local(Local::Ping)),
    ("echo",             Policy::Local(Local::Echo)),
    ("quit",             Policy::Local(Local::Quit)),
    ("reset",            Policy::Local(Local::Reset)),
    ("hello",            Policy::Local(Local::Hello)),
    ("auth",             Policy::Local(Local::Auth)),
    ("select",           Policy::Local(Local::Select)),
    ("time",             Policy::Local(Local::Time)),
    ("role",             Policy::Local(Local::Role)),
    ("readonly",         Policy::Local(Local::Readonly)),
    ("readwrite",        Policy::Local(Local::Readwrite)),
    ("asking",           Policy::Local(Local::Asking)),
    ("clusterscan",      Policy::Local(Local::ClusterAny)),
    ("client|setname",   Policy::Local(Local::ClientSetname)),
    ("client|getname",   Policy::Local(Local::ClientGetname)),
    ("client|setinfo",   Policy::Local(Local::ClientSetinfo)),
    ("client|id",        Policy::Local(Local::ClientId)),
    ("client|info",      Policy::Local(Local::ClientInfo)),
    ("client|list",      Policy::Local(Local::ClientList)),
    ("client|kill",      Policy::Local(Local::ClientKill)),
    ("client|unblock",   Policy::Local(Local::ClientUnblock)),
    ("client|unpause",   Policy::Local(Local::ClientUnpause)),
    ("acl|whoami",       Policy::Local(Local::AclWhoami)),
    ("client|capa",      Policy::Local(Local::ClientCapa)),
    ("client|no-evict",  Policy::Local(Local::ClientNoEvict)),
    ("client|no-touch",  Policy::Local(Local::ClientNoTouch)),
    ("client|reply",     Policy::Local(Local::ClientReply)),

    // May wait for an element, on a connection of the client's own.
    ("blpop",      Policy::Mode(Mode::Blocking)),
    ("brpop",      Policy::Mode(Mode::Blocking)),
    ("blmove",     Policy::Mode(Mode::Blocking)),
    ("brpoplpush", Policy::Mode(Mode::Blocking)),
    ("blmpop",     Policy::Mode(Mode::Blocking)),
    ("bzpopmin",   Policy::Mode(Mode::Blocking)),
    ("bzpopmax",   Policy::Mode(Mode::Blocking)),
    ("bzmpop",     Policy::Mode(Mode::Blocking)),

    // Transactions.
    ("multi",   Policy::Mode(Mode::Multi)),
    ("exec",    Policy::Mode(Mode::Exec)),
    ("discard", Policy::Mode(Mode::Discard)),
    ("watch",   Policy::Mode(Mode::Watch)),
    ("unwatch", Policy::Mode(Mode::Unwatch)),

    // Last longer than one reply.
    ("wait",           Policy::Mode(Mode::Wait)),
    ("waitaof",        Policy::Mode(Mode::Waitaof)),
    ("subscribe",      Policy::Mode(Mode::Subscription)),
    ("psubscribe",     Policy::Mode(Mode::Subscription)),
    ("ssubscribe",     Policy::Mode(Mode::Subscription)),
    ("unsubscribe",    Policy::Mode(Mode::Subscription)),
    ("punsubscribe",   Policy::Mode(Mode::Subscription)),
    ("sunsubscribe",   Policy::Mode(Mode::Subscription)),

    // Changes the connection, which all clients share.
    ("client|pause",         Refused("would hold up the clients of all nodes; connect to the nodes")),
    ("client|tracking",      Refused(TRACKING)),
    ("client|trackinginfo",  Refused(TRACKING)),
    ("client|caching",       Refused(TRACKING)),
    ("client|getredir",      Refused(TRACKING)),
    ("client|import-source", Refused("is not supported: it would change a connection that all clients share")),

    // Changes a server or the cluster.
    ("sync",           Refused(REPLICATION)),
    ("psync",          Refused(REPLICATION)),
    ("replconf",       Refused(REPLICATION)),
    ("replicaof",      Refused(REPLICATION)),
    ("slaveof",        Refused(REPLICATION)),
    ("failover",       Refused(REPLICATION)),
    ("restore-asking", Refused("is how nodes move slots among themselves; use RESTORE")),
    ("migrate",        Refused("would move keys past the cluster's map of slots; use DUMP and RESTORE, or the cluster's resharding")),
    ("move",           Refused(DATABASES)),
    ("swapdb",         Refused(DATABASES)),
    ("shutdown",       Refused("would stop nodes of the cluster; connect to the node")),
    ("debug",          Refused(DEBUGGING)),
    ("pfdebug",        Refused(DEBUGGING)),
    ("pfselftest",     Refused(DEBUGGING)),
    ("module|load",    Refused("must be done on every node, now and in future; connect to the nodes")),
    ("module|loadex",  Refused("must be done on every node, now and in future; connect to the nodes")),
    ("module|unload",  Refused("must be done on every node, now and in future; connect to the nodes")),
    ("acl|log",        Refused(ONE_NODE_ONLY)),

    // Numbers of one node, which cannot be merged into a true answer.
    ("latency|doctor",      Refused(ONE_NODE_ONLY)),
    ("latency|graph",       Refused(ONE_NODE_ONLY)),
    ("latency|histogram",   Refused(ONE_NODE_ONLY)),
    ("latency|history",     Refused(ONE_NODE_ONLY)),
    ("latency|latest",      Refused(ONE_NODE_ONLY)),
    ("memory|doctor",       Refused(ONE_NODE_ONLY)),
    ("memory|malloc-stats", Refused(ONE_NODE_ONLY)),
    ("memory|stats",        Refused(ONE_NODE_ONLY)),

    // Containers: alone they have the wrong number of arguments, which is checked first.
    ("acl",        Refused(CONTAINER)),
    ("client",     Refused(CONTAINER)),
    ("cluster",    Refused(CONTAINER)),
    ("commandlog", Refused(CONTAINER)),
    ("config",     Refused(CONTAINER)),
    ("function",   Refused(CONTAINER)),
    ("latency",    Refused(CONTAINER)),
    ("memory",     Refused(CONTAINER)),
    ("module",     Refused(CONTAINER)),
    ("object",     Refused(CONTAINER)),
    ("pubsub",     Refused(CONTAINER)),
    ("script",     Refused(CONTAINER)),
    ("slowlog",    Refused(CONTAINER)),
    ("xgroup",     Refused(CONTAINER)),
    ("xinfo",      Refused(CONTAINER)),
];

/// Refused unless `policy.allow` names them: why, and what they become.
#[rustfmt::skip]
pub(super) const ON_REQUEST: &[(&str, &str, Policy)] = &[
    ("monitor",          WATCHING_ALL,  Policy::Mode(Mode::Monitor)),
    ("config|set",       CONFIGURATION, to_all(Merge::AllOk)),
    ("config|rewrite",   CONFIGURATION, to_all(Merge::AllOk)),
    ("config|resetstat", CONFIGURATION, to_all(Merge::AllOk)),
    ("bgsave",           SAVING,        to_all(Merge::AllOk)),
    ("save",             SAVING,        to_all(Merge::AllOk)),
    ("bgrewriteaof",     SAVING,        to_all(Merge::AllOk)),
    ("acl|setuser",      USERS,         to_all(Merge::AllOk)),
    ("acl|deluser",      USERS,         to_all(Merge::AllOk)),
    ("acl|load",         USERS,         to_all(Merge::AllOk)),
    ("acl|save",         USERS,         to_all(Merge::AllOk)),
    ("acl|list",         USERS,         AnyNode),
    ("acl|users",        USERS,         AnyNode),
    ("acl|getuser",      USERS,         AnyNode),
    ("acl|dryrun",       USERS,         AnyNode),
    // With NX or XX it is a condition over all keys: then `Command::policy_for` says Route.
    ("msetex",           SLOT_IGNORED,  Policy::Split(Split::Msetex)),
];

/// Valkey 9.1.2 in cluster mode executes MSETEX of one slot on any primary, where another command gets MOVED.
const SLOT_IGNORED: &str = "is executed by Valkey 9.1 without a look at whose slot it is: while slots move, the write would \
     be lost on the wrong node; use MSET and EXPIRE, or add it to policy.allow";

const WATCHING_ALL: &str = "would show the commands and values of all of slotway's clients; add it to policy.allow if that is wanted";
const CONFIGURATION: &str = "would change every node; add it to policy.allow if that is wanted";

/// Commands whose time depends on data that the request does not show (whole keyspace, whole collections, several
/// collections at once), so that the ordinary timeout says nothing about the node. Scripts are slow as well.
#[rustfmt::skip]
pub(super) const SLOW: &[&str] = &[
    "keys", "flushall", "flushdb", "script|flush", "function|load", "function|restore", "function|flush",
    "save", "config|rewrite", "memory|purge", "memory|usage",
    "del", "dump", "restore", "copy", "rename", "renamenx", "sort", "sort_ro", "lcs",
    "smembers", "sinter", "sintercard", "sinterstore", "sunion", "sunionstore", "sdiff", "sdiffstore",
    "hgetall", "hkeys", "hvals", "lrange", "lrem", "ltrim", "linsert", "lpos",
    "zrange", "zrangestore", "zrevrange", "zrangebyscore", "zrevrangebyscore", "zrangebylex", "zrevrangebylex",
    "zremrangebyrank", "zremrangebyscore", "zremrangebylex", "zinter", "zintercard", "zinterstore",
    "zunion", "zunionstore", "zdiff", "zdiffstore",
    "bitop", "bitcount", "bitpos", "pfcount", "pfmerge", "xrange", "xrevrange", "xtrim",
    "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "geosearch", "geosearchstore",
];

/// Every name that has a row of its own.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let slow = SLOW.iter().copied();
    ROWS.iter()
        .map(|(name, _)| *name)
        .chain(ON_REQUEST.iter().map(|(name, ..)| *name))
        .chain(slow)
}
