//! What is sent: every command that a server says it has, and for each of them argument lists that are plausible,
//! dangerous, or nonsense.

use slotway::demo::{Cluster, Reply};

/// Most arguments that generated requests have.
const ARGUMENTS_MAX: i64 = 8;

/// Name and arity of a command; the name of a subcommand has two words.
pub(crate) struct Name {
    words: Vec<String>,
    arity: i64,
}

/// All commands and subcommands in the answer of COMMAND, and some words that are no command at all.
pub(crate) fn of_server(cluster: &Cluster) -> Vec<Name> {
    let mut names = Vec::new();
    let reply = cluster.command(0, &["COMMAND"]).expect("the node answers");
    collect(&reply, &mut names);
    for word in ["", "GETT", "client|reply", "\u{1}"] {
        names.push(Name {
            words: vec![word.to_owned()],
            arity: -1,
        });
    }
    names
}

fn collect(reply: &Reply, names: &mut Vec<Name>) {
    for entry in reply.elements() {
        let entry = entry.elements();
        names.push(Name {
            words: entry[0].text().split('|').map(str::to_owned).collect(),
            arity: entry[1].integer().expect("an arity"),
        });
        if let Some(subcommands) = entry.get(9) {
            collect(subcommands, names);
        }
    }
}

/// Requests to try for a command. `ids` are the connections that must not be harmed.
pub(crate) fn variants(name: &Name, ids: &[String]) -> Vec<Vec<Vec<u8>>> {
    let least = name.arity.abs();
    let mut lengths = vec![least];
    if name.arity < 0 {
        lengths.extend([least + 1, least + 2, ARGUMENTS_MAX]);
    }
    let mut all = Vec::new();
    for length in lengths {
        for filler in ["1", "junk", "on", "\0\r\n\u{fffd}"] {
            let fillers = (length - name.words.len() as i64).max(0) as usize;
            let mut words: Vec<Vec<u8>> = name
                .words
                .iter()
                .map(|word| word.clone().into_bytes())
                .collect();
            words.extend(vec![filler.as_bytes().to_vec(); fillers]);
            all.push(words);
        }
    }
    let full = name.words.join(" ").to_ascii_lowercase();
    let of_this = PLAUSIBLE.iter().filter(|line| {
        let line = line.to_ascii_lowercase();
        line == full
            || line
                .strip_prefix(&full)
                .is_some_and(|rest| rest.starts_with(' '))
    });
    for line in of_this {
        all.push(
            line.split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect(),
        );
    }
    if full == "client kill" || full == "client unblock" {
        for id in ids {
            let options = if full == "client kill" {
                vec!["ID", id.as_str()]
            } else {
                vec![id.as_str(), "ERROR"]
            };
            let words = name.words.iter().map(String::as_str).chain(options);
            all.push(words.map(|word| word.as_bytes().to_vec()).collect());
        }
    }
    if SCRIPTS.contains(&full.as_str()) {
        all.extend(SCRIPT_BODIES.iter().map(|body| script(&full, body)));
    }
    all
}

const SCRIPTS: [&str; 2] = ["eval", "eval_ro"];

fn script(name: &str, body: &str) -> Vec<Vec<u8>> {
    [name, body, "1", "key"]
        .map(|word| word.as_bytes().to_vec())
        .to_vec()
}

/// What a script may try. The server keeps its own client for scripts: the test says that it does.
const SCRIPT_BODIES: &[&str] = &[
    "redis.setresp(3) return redis.call('HGETALL', KEYS[1])",
    "return redis.pcall('SELECT', '0')",
    "return redis.pcall('CLIENT', 'REPLY', 'OFF')",
    "return redis.pcall('CLIENT', 'NO-EVICT', 'ON')",
    "return redis.pcall('CLIENT', 'SETNAME', 'other')",
    "return redis.pcall('SUBSCRIBE', 'channel')",
    "return redis.pcall('MULTI')",
    "return redis.pcall('WATCH', KEYS[1])",
    "return redis.pcall('HELLO', '3')",
    "return redis.pcall('READONLY')",
    "return redis.pcall('ASKING')",
    "return redis.pcall('MONITOR')",
    "return {1, {2, {3}}, false, redis.error_reply('NOPE')}",
];

/// Lines that would do harm, or at least something.
const PLAUSIBLE: &[&str] = &[
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING ON BCAST NOLOOP",
    "CLIENT TRACKING ON OPTIN",
    "CLIENT CACHING YES",
    "CLIENT NO-EVICT ON",
    "CLIENT NO-TOUCH ON",
    "CLIENT SETNAME other",
    "CLIENT SETINFO LIB-NAME other",
    "CLIENT KILL TYPE normal",
    "CLIENT KILL USER default",
    "CLIENT KILL SKIPME yes",
    "CLIENT PAUSE 60000",
    "CLIENT PAUSE 60000 WRITE",
    "CLIENT CAPA redirect",
    "CLIENT IMPORT-SOURCE ON",
    "SELECT 0",
    "SELECT 1",
    "HELLO 2",
    "HELLO 3 SETNAME other",
    "HELLO 3 AUTH default any",
    "AUTH default any",
    "RESET",
    "QUIT",
    "MULTI",
    "WATCH key",
    "EXEC",
    "SUBSCRIBE channel",
    "PSUBSCRIBE *",
    "SSUBSCRIBE channel",
    "MONITOR",
    "READONLY",
    "READWRITE",
    "ASKING",
    "SHUTDOWN NOSAVE NOW FORCE",
    "DEBUG SLEEP 60",
    "DEBUG SEGFAULT",
    "DEBUG SET-ACTIVE-EXPIRE 0",
    "DEBUG PROTOCOL push",
    "SYNC",
    "PSYNC ? -1",
    "REPLCONF listening-port 6379",
    "REPLICAOF NO ONE",
    "SLAVEOF NO ONE",
    "FAILOVER FORCE",
    "CLUSTER RESET HARD",
    "CLUSTER FAILOVER TAKEOVER",
    "CLUSTER DELSLOTSRANGE 0 16383",
    "CLUSTER FLUSHSLOTS",
    "CONFIG SET timeout 1",
    "CONFIG SET requirepass secret",
    "CONFIG SET maxclients 1",
    "CONFIG RESETSTAT",
    "ACL SETUSER default off",
    "ACL DELUSER default",
    "ACL SETUSER default resetkeys nocommands",
    "BLPOP key 0",
    "BRPOP key 0",
    "BLMOVE key key LEFT RIGHT 0",
    "BRPOPLPUSH key key 0",
    "BLMPOP 0 1 key LEFT",
    "BZPOPMIN key 0",
    "BZPOPMAX key 0",
    "BZMPOP 0 1 key MIN",
    "XREAD BLOCK 0 STREAMS stream $",
    "XREAD COUNT 1 BLOCK 0 STREAMS stream $",
    "XGROUP CREATE stream group $ MKSTREAM",
    "XREADGROUP GROUP group me BLOCK 0 STREAMS stream >",
    "XREADGROUP GROUP group me COUNT 1 BLOCK 0 NOACK STREAMS stream >",
    "WAIT 9 0",
    "WAITAOF 1 9 0",
    "SCRIPT DEBUG YES",
    "SCRIPT DEBUG SYNC",
    "MIGRATE 127.0.0.1 1 key 0 60000",
    "RESTORE-ASKING key 0 junk",
    "MOVE key 1",
    "SWAPDB 0 1",
    "MODULE LOAD /nothing",
    "PUBLISH channel message",
    "SPUBLISH channel message",
    "GET key",
    "MGET a b c d",
    "MSET a 1 b 2 c 3",
    "INFO everything",
    "SORT key BY nosort GET #",
    "OBJECT ENCODING key",
    "MEMORY USAGE key",
    "LATENCY RESET",
    "FUNCTION STATS",
    "COMMAND DOCS get",
    "COMMAND GETKEYS GET key",
];
