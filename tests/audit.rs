//! `policy.audit`: what would fail or change on a cluster, by client name and command, through the proxy and before real
//! clusters; and what it says agrees with what the proxy does.

mod support;

use serde_json::Value;
use support::{Proxy, boot_cluster, on_each};

fn text_of(proxy: &Proxy, path: &str) -> String {
    let (status, text) = proxy.get(path).expect("the admin endpoint answers");
    assert_eq!(status, 200, "{path}: {text}");
    text
}

#[track_caller]
fn of_kind<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let all = report["findings"].as_array().expect("a list");
    let of = |f: &&Value| f["kind"] == kind;
    all.iter()
        .find(of)
        .unwrap_or_else(|| panic!("{kind}: {report:#}"))
}

#[test]
fn what_an_application_would_meet_is_told_by_client_and_command() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--set", "policy.audit=true"]);
        let mut web = proxy.client();
        web.command(&["CLIENT", "SETNAME", "web<b>"]);
        web.command(&["SET", "a", "secret-value"]);
        web.command(&["SINTER", "a", "b"]);
        web.command(&["SINTER", "a", "b"]);
        web.command(&["MSET", "a", "secret-value", "b", "secret-value"]);
        web.command(&["SELECT", "1"]);
        let mut jobs = proxy.client();
        jobs.command(&["MULTI"]);
        jobs.command(&["SET", "a", "secret-value"]);
        jobs.command(&["SET", "b", "secret-value"]);
        jobs.command(&["EXEC"]);
        jobs.command(&["GET", "a"]);
        let report = proxy.json("/audit");
        let sinter = of_kind(&report, "cross_slot");
        let [row] = &sinter["found"].as_array().unwrap()[..] else {
            panic!("{sinter:#}");
        };
        assert_eq!(
            (&row["client"], &row["command"], &row["count"]),
            (&"web<b>".into(), &"sinter".into(), &2.into())
        );
        assert_eq!(row["examples"][0], "a and b");
        assert!(sinter["remedy"].as_str().unwrap().contains("hash tag"));
        let transaction = of_kind(&report, "cross_slot_transaction");
        assert_eq!(transaction["found"][0]["client"], "(no name)");
        assert_eq!(transaction["count"], 1);
        assert_eq!(of_kind(&report, "split_write")["count"], 1);
        assert_eq!(of_kind(&report, "select")["count"], 1);
        // The 11 above: 2 SINTER, SELECT and the second SET of the transaction fail, MSET changes.
        assert_eq!(
            [
                &report["commands"],
                &report["fails"],
                &report["changes"],
                &report["unchanged"]
            ],
            [11, 4, 1, 6]
        );
        let text = text_of(&proxy, "/audit.txt");
        assert!(
            text.starts_with("6 of 11 commands would be served"),
            "{text}"
        );
        assert!(text.contains("SINTER by web<b>"), "{text}");
        let page = text_of(&proxy, "/audit.html");
        assert!(
            page.contains("web&lt;b&gt;") && !page.contains("<b>"),
            "{page}"
        );
        for told in [report.to_string(), text, page] {
            assert!(!told.contains("secret"), "{told}");
        }
    });
}

#[test]
fn without_it_there_is_no_report() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        proxy.client().command(&["SINTER", "a", "b"]);
        let (status, text) = proxy.get("/audit").unwrap();
        assert_eq!(status, 404);
        assert!(text.contains("policy.audit = true"), "{text}");
    });
}

/// Conversations: what the audit calls failing gets an error, and what it does not mention gets none.
#[test]
fn it_agrees_with_what_the_proxy_does() {
    const CONVERSATIONS: &[&[&str]] = &[
        &["SET a 1"],
        &["MGET a b c"],
        &["MSET a 1 b 2"],
        &["MSETNX a 1 b 2"],
        &["DEL a b"],
        &["RENAME a b"],
        &["SUNION x y"],
        &["SUNION {t}x {t}y"],
        &["ZUNION 2 x y"],
        &["EVAL return(1) 2 a b"],
        &["EVAL return(1) 1 a"],
        &["EVAL return(1) 0"],
        &["SELECT 3"],
        &["SELECT 0"],
        &["MOVE a 1"],
        &["SWAPDB 0 1"],
        &["COPY {t}a {t}b DB 2"],
        &["COPY {t}a {t}b"],
        &["SORT l BY w_* ALPHA"],
        &["SORT l GET o_*"],
        &["SORT l BY nosort"],
        &["KEYS *"],
        &["SCAN 0"],
        &["DBSIZE"],
        &["RANDOMKEY"],
        &["INFO"],
        &["BLPOP x y 0.01"],
        &["BLMOVE x y LEFT LEFT 0.01"],
        &["BRPOPLPUSH {t}x {t}y 0.01"],
        &["XREAD BLOCK 10 STREAMS x y 0 0"],
        &["SHUTDOWN"],
        &["MONITOR"],
        &["DEBUG SLEEP 0"],
        &["CONFIG SET maxmemory 0"],
        &["CONFIG GET maxmemory"],
        &["CLIENT PAUSE 1"],
        &["CLIENT TRACKING ON"],
        &["ACL LIST"],
        &["BGSAVE"],
        &["MIGRATE h 1 k 0 1"],
        &["LATENCY DOCTOR"],
        &["REPLICAOF NO ONE"],
        &["NOSUCH x"],
        &["WATCH a b"],
        &["WATCH a", "MULTI", "SET b 1", "DISCARD"],
        &["MULTI", "SET a 1", "SET b 1", "DISCARD"],
        &["MULTI", "MGET a b", "DISCARD"],
        &["MULTI", "KEYS *", "DISCARD"],
        &["MULTI", "SCAN 0", "DISCARD"],
        &["MULTI", "CLIENT LIST", "DISCARD"],
        &["MULTI", "BLPOP {t}a {t}b 0", "DISCARD"],
        &["MULTI", "EVAL return(1) 0", "DISCARD"],
    ];
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--set", "policy.audit=true"]);
        proxy.client().command(&["RPUSH", "l", "1", "2"]);
        let mut wrong = Vec::new();
        for conversation in CONVERSATIONS {
            let mut client = proxy.client();
            let before = proxy.json("/audit")["fails"].as_u64().unwrap();
            let mut errors = 0;
            for line in *conversation {
                errors += u64::from(client.line(line).starts_with(b"-"));
            }
            let fails = proxy.json("/audit")["fails"].as_u64().unwrap() - before;
            wrong.extend((fails != errors).then(|| format!("{conversation:?}: {fails} {errors}")));
        }
        assert!(
            wrong.is_empty(),
            "what the audit counted and errors: {wrong:#?}"
        );
    });
}

#[test]
fn a_hostile_client_does_not_make_it_grow() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--set", "policy.audit=true"]);
        let mut client = proxy.client();
        let key = "k".repeat(10_000);
        for n in 0..1_200 {
            client.command(&["CLIENT", "SETNAME", &format!("<script>{n}")]);
            client.command(&["SINTER", &key, "b"]);
        }
        let report = proxy.json("/audit");
        let found = of_kind(&report, "cross_slot")["found"].as_array().unwrap();
        let others = found.iter().find(|row| row["client"] == "(others)");
        assert_eq!(
            (found.len(), &others.unwrap()["count"]),
            (slotway::audit::ROWS_MAX + 1, &200.into())
        );
        let page = text_of(&proxy, "/audit.html");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.len() < 20_000, "{}", page.len());
    });
}
