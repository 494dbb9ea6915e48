//! What is not compared, and why. Everything else that the server knows is, with arguments at random if no template
//! has it. Commands that this step of the proxy refuses are compared when their number of arguments is wrong.

/// Commands whose replies differ, and the reason. Subcommands of one are excluded with it.
pub const EXCLUDED: &[(&[&str], &str)] = &[
    (
        &["multi", "exec", "discard", "watch", "unwatch"],
        "transactions: refused until they are there",
    ),
    (
        &[
            "blpop",
            "brpop",
            "blmove",
            "brpoplpush",
            "blmpop",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
        ],
        "block until another client acts: compared in tests/blocking.rs",
    ),
    (&["wait", "waitaof"], "blocks: refused until that is there"),
    (
        &[
            "subscribe",
            "psubscribe",
            "ssubscribe",
            "unsubscribe",
            "punsubscribe",
            "sunsubscribe",
            "monitor",
        ],
        "subscriptions: their answers are pushes, tests/pubsub.rs compares them; MONITOR is refused until it is there",
    ),
    (
        &[
            "shutdown",
            "debug",
            "sync",
            "psync",
            "replconf",
            "replicaof",
            "slaveof",
            "failover",
            "migrate",
            "move",
            "swapdb",
            "restore-asking",
            "pfdebug",
            "pfselftest",
            "save",
            "bgsave",
            "bgrewriteaof",
        ],
        "would act on one node, or on a second database: refused on purpose",
    ),
    (
        &[
            "info",
            "config",
            "client",
            "acl",
            "memory",
            "latency",
            "slowlog",
            "commandlog",
            "module",
            "time",
            "lastsave",
            "lolwut",
            "command",
        ],
        "describes the process that answers; templates have what is the same everywhere",
    ),
    (
        &[
            "spop",
            "srandmember",
            "hrandfield",
            "zrandmember",
            "randomkey",
            "scan",
            "sscan",
            "hscan",
            "zscan",
        ],
        "drawn at random, or a cursor of one server; templates ask so that the reply is determined",
    ),
    (
        &["cluster", "clusterscan"],
        "a plain valkey 9.1 answers CLUSTERSCAN and CLUSTER KEYSLOT without cluster support; templates have the rest",
    ),
    (&["quit"], "closes: it ends sequences"),
];

/// Commands of which no broken variants of templates are made: with other arguments the reply is drawn at random, or in
/// the order of a hash table, or concerns several slots. (Of several mistakes in one HELLO, Redis 7.0 tells of another one
/// than Valkey and the proxy do.)
pub const NOT_SPOILT: &[&str] = &[
    "spop",
    "srandmember",
    "hrandfield",
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
        b"client" => SINCE_7_2.iter().any(|name| name.as_bytes() == word(1)),
        // 7.0 does not clear `errno`: after a number that was out of range anywhere, SORT may call -5 one as well.
        b"sort" | b"sort_ro" => !args.iter().any(|arg| arg.eq_ignore_ascii_case(b"alpha")),
        _ => false,
    }
}

/// Whether the command of this name is excluded.
pub fn is_excluded(name: &str) -> bool {
    EXCLUDED.iter().any(|(names, _)| names.contains(&name))
}
