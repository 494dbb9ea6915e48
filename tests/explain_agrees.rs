//! What `/explain` says of commands is what the proxy does with them: conversations of every kind are explained, then held,
//! on a cluster of every kind of server. An error that is foretold comes word for word, and none comes that was not, but
//! those that are the nodes' own.

mod support;

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use support::{Proxy, boot_cluster, on_each, show};

/// Lines of one client. `!` in front: the error, if there is one, is a node's. `~`: there is no reply. A number: so many
/// replies.
const CONVERSATIONS: &[&[&str]] = &[
    // One slot, several, none.
    &[
        "SET a 1",
        "GET a",
        "GETDEL a",
        "SETEX a 1 1",
        "INCR n",
        "APPEND n 1",
    ],
    &[
        "MGET a b c",
        "MSET a 1 b 2",
        "MSETNX a 1 b 2",
        "DEL a b",
        "UNLINK a b",
        "EXISTS a b",
        "TOUCH a b",
    ],
    &[
        "MGET {t}a {t}b",
        "MSET {t}a 1 {t}b 2",
        "MSET a",
        "MSET a 1 b",
        "MGET",
        "DEL",
    ],
    &[
        "RENAME a b",
        "!RENAME {t}none {t}b",
        "RENAMENX a b",
        "COPY a b",
        "COPY {t}a {t}b",
        "SMOVE a b c",
    ],
    &[
        "SINTER a b",
        "SINTER {s}a {s}b",
        "SUNIONSTORE d a b",
        "ZUNION 2 a b",
        "ZUNION 2 {z}a {z}b",
        "!ZUNION x a",
    ],
    &[
        "PFCOUNT p q",
        "PFMERGE p q",
        "BITOP AND a b c",
        "LMOVE a b LEFT LEFT",
        "RPOPLPUSH a b",
        "LCS a b",
    ],
    &[
        "ZRANGESTORE a b 0 1",
        "GEOSEARCHSTORE a b FROMLONLAT 0 0 BYRADIUS 1 m",
        "SORT a STORE b",
        "SORT {t}l STORE {t}m",
        "!SORT l BY w_*",
    ],
    &[
        "XREAD STREAMS x y 0 0",
        "XREAD STREAMS {x}x {x}y 0 0",
        "XREADGROUP GROUP g c STREAMS x y > >",
        "!XREAD STREAMS",
    ],
    &[
        "GET",
        "SET a",
        "HSET h f",
        "ZADD z 1",
        "OBJECT ENCODING",
        "!OBJECT ENCODING none",
        "OBJECT",
        "OBJECT NOSUCH a",
    ],
    &[
        "NOSUCH",
        "NOSUCH a b c",
        "GETT a",
        "CONFIG NOSUCH",
        "CLIENT NOSUCH",
        "CLUSTER NOSUCH",
    ],
    // Scripts.
    &[
        "EVAL return(1) 0",
        "EVAL return(1) 1 a",
        "EVAL return(1) 2 a b",
        "EVAL return(1) 2 {t}a {t}b",
        "!EVAL return(1) 9 a",
        "!EVAL return(1) x",
    ],
    &[
        "!EVALSHA 0000000000000000000000000000000000000000 0",
        "EVAL_RO return(1) 2 a b",
        "EVALSHA abc 2 a b",
        "!FCALL f 0",
        "FCALL f 2 a b",
    ],
    &[
        "SCRIPT LOAD return(1)",
        "SCRIPT EXISTS abc",
        "SCRIPT FLUSH",
        "!SCRIPT KILL",
        "SCRIPT DEBUG YES",
        "FUNCTION LIST",
        "!FUNCTION KILL",
        "FUNCTION STATS",
        "FUNCTION FLUSH",
    ],
    // All nodes, any node.
    &[
        "KEYS *",
        "DBSIZE",
        "RANDOMKEY",
        "FLUSHALL",
        "FLUSHDB ASYNC",
        "INFO",
        "INFO server",
        "CONFIG GET maxmemory",
        "!CONFIG SET maxmemory 0",
        "CONFIG RESETSTAT",
        "CONFIG REWRITE",
    ],
    &[
        "SCAN 0",
        "SCAN x",
        "SCAN 0 MATCH a* COUNT 10",
        "!SCAN 0 COUNT x",
        "SCAN",
        "SLOWLOG GET",
        "SLOWLOG LEN",
        "SLOWLOG RESET",
        "LATENCY RESET",
        "!MEMORY USAGE none",
        "MEMORY DOCTOR",
        "MEMORY PURGE",
    ],
    &[
        "LASTSAVE",
        "TIME",
        "COMMAND COUNT",
        "COMMAND GETKEYS GET a",
        "!COMMAND GETKEYS x",
        "LOLWUT VERSION 5 1 1 1",
        "PUBLISH c m",
        "PUBSUB CHANNELS",
        "PUBSUB NUMSUB c",
        "PUBSUB NUMPAT",
        "SPUBLISH c m",
    ],
    // slotway's own.
    &[
        "PING",
        "PING a",
        "PING a b",
        "ECHO a",
        "ECHO",
        "SELECT 0",
        "SELECT 1",
        "SELECT x",
        "SELECT 99999999999",
        "SWAPDB 0 1",
        "MOVE a 1",
        "!COPY {t}a {t}b DB 1",
    ],
    &[
        "CLIENT SETNAME a",
        "CLIENT GETNAME",
        "CLIENT ID",
        "CLIENT INFO",
        "CLIENT LIST",
        "CLIENT LIST TYPE x",
        "CLIENT LIST ID x",
        "CLIENT KILL ID 99999",
        "CLIENT KILL x y",
        "CLIENT UNBLOCK 99999",
        "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 1 x",
    ],
    &[
        "CLIENT NO-EVICT ON",
        "CLIENT NO-EVICT x",
        "CLIENT NO-TOUCH OFF",
        "CLIENT TRACKING ON",
        "CLIENT CACHING YES",
        "CLIENT GETREDIR",
        "CLIENT PAUSE 1",
        "CLIENT UNPAUSE",
        "CLIENT SETINFO lib-name x",
        "CLIENT SETINFO x y",
        "CLIENT REPLY ON",
        "CLIENT REPLY x",
    ],
    &[
        "~CLIENT REPLY OFF",
        "~GET a",
        "CLIENT REPLY ON",
        "GET a",
        "~CLIENT REPLY SKIP",
        "~GET a",
        "GET a",
    ],
    &[
        "ROLE",
        "READONLY",
        "READWRITE",
        "ASKING",
        "CLUSTER INFO",
        "CLUSTER SLOTS",
        "CLUSTER KEYSLOT a",
        "ACL WHOAMI",
        "ACL LIST",
        "ACL SETUSER x",
        "HELLO",
        "HELLO 4",
        "HELLO x",
    ],
    &[
        "SHUTDOWN",
        "DEBUG SLEEP 0",
        "MONITOR",
        "SYNC",
        "PSYNC ? -1",
        "REPLICAOF NO ONE",
        "SLAVEOF NO ONE",
        "BGSAVE",
        "SAVE",
        "BGREWRITEAOF",
        "MODULE LIST",
        "MODULE LOAD x",
        "FAILOVER",
        "MIGRATE h 1 k 0 1",
        "RESTORE-ASKING a 0 x",
        "REPLCONF x y",
        "WAIT 0 1",
        "WAIT x 1",
        "WAIT 0 -1",
        "WAITAOF 0 0 1",
        "WAITAOF 2 0 1",
    ],
    &["RESET", "GET a", "QUIT"],
    // Blocking.
    &[
        "BLPOP a 0.01",
        "BLPOP a b 0.01",
        "!BLPOP a b x",
        "!BLPOP a x",
        "BRPOP a b c 0.01",
        "BZPOPMIN a b 0.01",
        "BLMOVE a b LEFT LEFT 0.01",
        "BLMOVE {t}a {t}b LEFT LEFT 0.01",
        "BRPOPLPUSH a b 0.01",
    ],
    &[
        "BLMPOP 0.01 2 a b LEFT",
        "BLMPOP 0.01 2 a b",
        "BZMPOP 0.01 2 a b MIN",
        "XREAD BLOCK 1 STREAMS x y 0 0",
        "XREAD BLOCK 1 STREAMS x y $ $",
        "XGROUP CREATE x g $ MKSTREAM",
        "XGROUP CREATE y g $ MKSTREAM",
        "XREADGROUP GROUP g c BLOCK 1 STREAMS x y > >",
    ],
    // Transactions.
    &[
        "MULTI",
        "SET a 1",
        "GET a",
        "INCR {a}n",
        "EXEC",
        "EXEC",
        "DISCARD",
    ],
    &["MULTI", "SET a 1", "SET b 1", "EXEC"],
    &["MULTI", "MGET a b", "EXEC", "MGET a b"],
    &["MULTI", "GET", "GET a", "EXEC"],
    &["MULTI", "NOSUCH a", "EXEC"],
    &["MULTI", "KEYS *", "EXEC"],
    &["MULTI", "SCAN 0", "DISCARD", "MULTI", "DBSIZE", "DISCARD"],
    &["MULTI", "MULTI", "EXEC"],
    &["MULTI", "WATCH a", "EXEC"],
    &[
        "MULTI",
        "UNWATCH",
        "PING",
        "TIME",
        "SELECT 0",
        "CLIENT ID",
        "EXEC",
    ],
    &[
        "MULTI",
        "CLIENT LIST",
        "DISCARD",
        "MULTI",
        "CLIENT REPLY ON",
        "DISCARD",
    ],
    &["MULTI", "HELLO 3", "DISCARD", "MULTI", "HELLO 2", "EXEC"],
    &["MULTI", "SUBSCRIBE c", "EXEC"],
    &[
        "MULTI", "MONITOR", "DISCARD", "MULTI", "SHUTDOWN", "DISCARD",
    ],
    &["MULTI", "BLPOP {t}a {t}b 0", "BLPOP a b 0", "EXEC"],
    &[
        "MULTI",
        "EVAL return(1) 0",
        "EVAL return(1) 1 a",
        "EVAL return(1) 1 b",
        "EXEC",
    ],
    &["MULTI", "PUBLISH c m", "WAIT 0 1", "RANDOMKEY", "DISCARD"],
    &["MULTI", "EXEC now", "EXEC", "DISCARD now", "MULTI now"],
    &["MULTI", "GET a", "RESET", "EXEC"],
    &["MULTI", "SET a 1", "QUIT"],
    &["MULTI", "EXEC", "MULTI", "DISCARD"],
    // Watches.
    &[
        "WATCH a b",
        "WATCH a",
        "WATCH b",
        "WATCH {a}b",
        "GET b",
        "MULTI",
        "SET b 1",
        "EXEC",
    ],
    &[
        "WATCH a", "MULTI", "SET a 1", "EXEC", "WATCH b", "UNWATCH", "WATCH a", "RESET", "WATCH b",
        "DISCARD",
    ],
    &["WATCH a", "EXEC now", "WATCH b", "WATCH"],
    // Subscriptions.
    &[
        "SUBSCRIBE c",
        "GET a",
        "PING",
        "PING a",
        "PING a b",
        "NOSUCH",
        "GET",
        "MULTI",
        "EXEC",
        "SHUTDOWN",
        "CLIENT ID",
        "SSUBSCRIBE s",
        "UNSUBSCRIBE c",
        "GET a",
        "SUNSUBSCRIBE s",
        "GET a",
    ],
    &[
        "PSUBSCRIBE p*",
        "PUNSUBSCRIBE p*",
        "UNSUBSCRIBE",
        "GET a",
        "SUBSCRIBE",
        "SUBSCRIBE c",
        "RESET",
        "GET a",
    ],
    &[
        "HELLO 3",
        "SUBSCRIBE c",
        "GET a",
        "MGET a b",
        "SINTER a b",
        "UNSUBSCRIBE c",
        "GET a",
    ],
];

/// What is asked of `/explain` for these lines.
fn explained(proxy: &Proxy, lines: &[&str]) -> Vec<Value> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for line in lines {
        query.append_pair("command", line);
    }
    let told = proxy.json(&format!("/explain?{}", query.finish()));
    let told = told["commands"].as_array().expect("a list").clone();
    assert_eq!(told.len(), lines.len());
    told
}

/// Where what happens is not what was said, and how many lines there were.
fn compare(proxy: &Proxy, conversations: &[&[&str]]) -> (Vec<String>, usize) {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for conversation in conversations {
        let lines: Vec<&str> = conversation
            .iter()
            .map(|l| l.trim_start_matches(['!', '~']))
            .collect();
        let told = explained(proxy, &lines);
        let mut client = proxy.client();
        for ((line, marked), told) in lines.iter().zip(*conversation).zip(told) {
            count += 1;
            if marked.starts_with('~') {
                client.send_lines(&[line]);
                continue;
            }
            let reply = client.line(line);
            let error = told["error"].as_str().map(|error| format!("-{error}\r\n"));
            let is_error = reply.starts_with(b"-") || reply.starts_with(b"!");
            let same = match &error {
                Some(error) => *error == String::from_utf8_lossy(&reply),
                None => !is_error || marked.starts_with('!'),
            };
            // A node may find fault with what is passed on to it, never slotway.
            let is_ours = reply.windows(8).any(|w| w == b"slotway:");
            if !same || (is_ours && error.is_none()) {
                let error = error.unwrap_or_else(|| told["verdict"].to_string());
                wrong.push(format!(
                    "{line} in {conversation:?}: said {error:?}, got {}",
                    show(&reply)
                ));
            }
        }
    }
    (wrong, count)
}

#[test]
fn what_is_said_is_what_happens() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut client = proxy.client();
        client.line("RPUSH {t}l 1 2");
        client.line("RPUSH l 1 2");
        for stream in ["x", "y", "{x}x", "{x}y"] {
            client.line(&format!("XGROUP CREATE {stream} g $ MKSTREAM"));
        }
        let (wrong, count) = compare(&proxy, CONVERSATIONS);
        assert!(wrong.is_empty(), "{} of {count}: {wrong:#?}", wrong.len());
        assert!(count > 250, "{count}");
    });
}

#[test]
fn options_count() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let options = [
            "policy.split_writes=false",
            "policy.keyless_scripts=error",
            "policy.cross_slot_transactions=split",
            "policy.allow=[\"monitor\"]",
            "policy.deny=[\"keys\"]",
            "limits.transaction_commands=3",
            "limits.subscriptions=2",
        ];
        let args: Vec<&str> = options
            .iter()
            .flat_map(|option| ["--set", option])
            .collect();
        let proxy = Proxy::start(&cluster, &args);
        let conversations: &[&[&str]] = &[
            &[
                "MSET a 1 b 2",
                "DEL a b",
                "MGET a b",
                "EXISTS a b",
                "KEYS *",
            ],
            &[
                "EVAL return(1) 0",
                "EVAL return(1) 1 a",
                "MULTI",
                "EVAL return(1) 0",
                "EXEC",
            ],
            &["MULTI", "SET a 1", "SET b 1", "EXEC"],
            &["MULTI", "GET a", "GET a", "GET a", "GET a", "EXEC"],
            &[
                "SUBSCRIBE a",
                "SUBSCRIBE b",
                "SUBSCRIBE c",
                "UNSUBSCRIBE a",
                "SUBSCRIBE c",
            ],
            &["MONITOR", "GET a", "PING"],
        ];
        // Who monitors sees its own PING, too: that conversation ends before.
        let (wrong, _) = compare(&proxy, &conversations[..5]);
        assert!(wrong.is_empty(), "{wrong:#?}");
        let monitor = explained(&proxy, conversations[5]);
        let mut client = proxy.client();
        assert_eq!(client.line("MONITOR"), b"+OK\r\n");
        let refused = format!("-{}\r\n", monitor[1]["error"].as_str().unwrap());
        assert_eq!(show(&client.line("GET a")), show(refused.as_bytes()));
    });
}

#[test]
fn a_running_proxy_is_asked() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--set", "policy.split_writes=false"]);
        let run = |args: &[&str], input: &str| {
            let mut child = Command::new(env!("CARGO_BIN_EXE_slotway"))
                .arg("explain")
                .args(args)
                .args(["--running", "--admin", &proxy.admin_addr().to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.success(), text)
        };
        // Its options, its map.
        let (ok, text) = run(&["MSET a 1 b 2"], "");
        assert!(
            ok && text.contains("refused  CROSSSLOT") && text.contains("policy.split_writes"),
            "{text}"
        );
        let owner = proxy.owner_of(15495).unwrap();
        let (ok, text) = run(&["GET", "a"], "");
        assert!(
            ok && text.contains(&format!("slot 15495 at {owner}")),
            "{text}"
        );
        // Bytes as they are.
        let (_, text) = run(&["--json", "SET", "k \"\n&é", "+%"], "");
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json["commands"][0]["keys"][0]["key"], "\"k \\\"\\n&\\xc3\\xa9\"",
            "{text}"
        );
        // A conversation.
        let (ok, text) = run(&[], "MULTI\nSET a 1\n\nSET b 1\nEXEC\n");
        assert!(
            ok && text.contains("> SET b 1\n") && text.contains("refused  EXECABORT"),
            "{text}"
        );
        let (ok, text) = run(&["GET 'a"], "");
        assert!(!ok && text.contains("unbalanced quotes"), "{text}");
        assert_eq!(proxy.get("/explain?x=y").unwrap().0, 400);
        let (_, many) = run(&[], &"GET a\n".repeat(1001));
        assert!(
            many.contains("no more than 1000 commands")
                || many.contains("414")
                || many.contains("431"),
            "{many}"
        );
        // Whether a password is right is not for everybody who may look.
        let told = explained(
            &proxy,
            &["AUTH secret", "HELLO 3 AUTH default secret", "GET a"],
        );
        assert!(
            told[..2].iter().all(|t| t["verdict"] == "answered"),
            "{told:?}"
        );
        assert!(!told[0]["details"].to_string().contains("secret"));
    });
}

#[test]
fn a_node_that_is_away_is_said_to_be() {
    on_each(|kind| {
        let mut cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let owner = cluster.owner_of(15495).unwrap();
        let addr = cluster.addr(owner).to_string();
        assert!(
            !explained(&proxy, &["GET a"])[0]
                .to_string()
                .contains("fail")
        );
        let replica_takes_over = || explained(&proxy, &["GET a"])[0]["keys"][0]["node"] != addr;
        cluster.kill(owner);
        proxy.wait_for("it is told", support::SHOWN_WITHIN, || {
            let told = explained(&proxy, &["GET a"])[0]["details"]["plan"][0].to_string();
            // Its place may have been taken before anybody looked.
            match told.contains(&format!("at {addr} (")) || replica_takes_over() {
                true => Ok(()),
                false => Err(told),
            }
        });
    });
}
