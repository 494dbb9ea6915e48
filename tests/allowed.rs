//! `policy.allow` and `policy.deny` on real clusters: what is allowed reaches every node and must succeed on all of them,
//! what is denied reaches none.

mod support;

use slotway::demo::{Cluster, Reply};
use support::{Proxy, boot_cluster, servers, show};

const ALLOW: &str =
    r#"policy.allow=["config|set", "config|resetstat", "acl|setuser", "acl|deluser", "acl|users"]"#;

/// What every node answers.
fn everywhere(cluster: &Cluster, args: &[&str]) -> Vec<Reply> {
    let nodes = 0..cluster.len();
    nodes
        .map(|node| cluster.ask(node, args).expect("it answers"))
        .collect()
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Array(parts) => parts.iter().map(|part| part.text() + " ").collect(),
        other => format!("{other:?}"),
    }
}

/// The same on all of them.
fn shown(cluster: &Cluster, args: &[&str]) -> String {
    let replies = everywhere(cluster, args);
    let first = text(&replies[0]);
    for reply in &replies {
        assert_eq!(text(reply), first, "{args:?}");
    }
    first
}

#[test]
fn what_is_allowed_is_done_on_every_node_or_fails() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--set", ALLOW]);
        let mut client = proxy.client();
        client.expect("CONFIG SET timeout 777 maxmemory-samples 7", b"+OK\r\n");
        assert!(shown(&cluster, &["CONFIG", "GET", "timeout"]).contains("777"));
        assert!(shown(&cluster, &["CONFIG", "GET", "maxmemory-samples"]).contains('7'));
        let got = client.line("CONFIG GET timeout");
        assert_eq!(
            got,
            b"*2\r\n$7\r\ntimeout\r\n$3\r\n777\r\n",
            "{}",
            show(&got)
        );
        // The servers' own words for what they do not take.
        let refused = client.line("CONFIG SET nosuch 1");
        assert!(
            refused.starts_with(b"-ERR Unknown option"),
            "{}",
            show(&refused)
        );
        client.expect("CONFIG RESETSTAT", b"+OK\r\n");
        client.expect("ACL SETUSER bob on >secret ~* +@all", b"+OK\r\n");
        shown(&cluster, &["ACL", "USERS"]);
        client.expect("ACL USERS", b"*2\r\n$3\r\nbob\r\n$7\r\ndefault\r\n");
        client.expect("ACL DELUSER bob", b":1\r\n");
        assert!(!shown(&cluster, &["ACL", "USERS"]).contains("bob"));
        // One node, even a replica, that does not obey is an error of the whole.
        let last = cluster.len() - 1;
        let forbid = ["ACL", "SETUSER", "default", "-config|set"];
        cluster.ask(last, &forbid).expect("it obeys");
        let refused = client.line("CONFIG SET timeout 778");
        assert!(refused.starts_with(b"-NOPERM"), "{}", show(&refused));
        // Not named: refused, with what to do about it, and nothing happens.
        let refused = client.line("CONFIG REWRITE");
        assert!(
            show(&refused).contains("policy.allow"),
            "{}",
            show(&refused)
        );
        assert!(refused.starts_with(b"-ERR slotway: 'config rewrite' "));
        client.expect("PING", b"+PONG\r\n");
    }
}

#[test]
fn what_is_denied_reaches_no_node() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let deny =
            r#"policy.deny=["flushall", "config|get", "keys", "wait", "unwatch", "get", "ping"]"#;
        let allow = r#"policy.allow=["config"]"#;
        let proxy = Proxy::start(&cluster, &["--set", deny, "--set", allow]);
        let mut client = proxy.client();
        client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
        let all = [
            "FLUSHALL",
            "CONFIG GET timeout",
            "KEYS *",
            "WAIT 0 0",
            "UNWATCH",
            "GET a",
            "PING",
        ];
        for (denied, multi) in all.iter().flat_map(|d| [(d, false), (d, true)]) {
            if multi {
                client.expect("MULTI", b"+OK\r\n");
            }
            let refused = client.line(denied);
            if multi {
                assert!(client.line("EXEC").starts_with(b"-EXECABORT "), "{denied}");
            }
            assert!(
                refused.starts_with(b"-ERR slotway: '"),
                "{denied}: {}",
                show(&refused)
            );
            assert!(
                show(&refused).contains("policy.deny"),
                "{denied}: {}",
                show(&refused)
            );
        }
        client.expect("DBSIZE", b":3\r\n");
        client.expect("CONFIG SET timeout 777", b"+OK\r\n");
        assert!(shown(&cluster, &["CONFIG", "GET", "timeout"]).contains("777"));
        // By default they are refused, and no node hears of it.
        let proxy = Proxy::start(&cluster, &[]);
        let refused = proxy.client().line("CONFIG SET timeout 778");
        assert!(
            show(&refused).contains("policy.allow"),
            "{}",
            show(&refused)
        );
        assert!(shown(&cluster, &["CONFIG", "GET", "timeout"]).contains("777"));
        proxy.client().expect("FLUSHALL", b"+OK\r\n");
        client.expect("DBSIZE", b":0\r\n");
    }
}
