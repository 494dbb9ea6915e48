//! `/errors`: the errors that clients got lately, with how often, whose they were, what they mean and what to do.

mod support;

use serde_json::Value;
use support::node::{FakeCluster, Step};
use support::{Proxy, boot_cluster, on_each};

#[track_caller]
fn of<'a>(told: &'a Value, beginning: &str) -> &'a Value {
    let all = told["errors"].as_array().expect("a list");
    let begins = |e: &&Value| {
        e["error"]
            .as_str()
            .is_some_and(|text| text.starts_with(beginning))
    };
    all.iter()
        .find(begins)
        .unwrap_or_else(|| panic!("{beginning}: {told:#}"))
}

#[test]
fn errors_are_shown_with_their_command_client_cause_and_remedy() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        client.expect("CLIENT SETNAME shop<1>", b"+OK\r\n");
        client.command(&["SET", "text", "secret value"]);
        for _ in 0..3 {
            client.command(&["LPUSH", "text", "secret value"]);
        }
        client.command(&["GTE", "secret"]);
        client.command(&["RENAME", "a", "b"]);
        client.command(&[
            "EVAL",
            "return redis.error_reply('MINE it is 5 o clock')",
            "1",
            "k",
        ]);
        let told = proxy.json("/errors");
        let wrong = of(&told, "WRONGTYPE");
        assert_eq!(
            (&wrong["count"], &wrong["cmd"]),
            (&3.into(), &"lpush".into())
        );
        assert_eq!(
            (&wrong["source"], &wrong["name"]),
            (&"upstream".into(), &"shop<1>".into())
        );
        assert!(
            wrong["client"]
                .as_str()
                .is_some_and(|c| c.starts_with("127.0.0.1:"))
        );
        assert_eq!(
            (&wrong["cause"], &wrong["remedy"]),
            (&Value::Null, &Value::Null)
        );
        let cross = of(&told, "CROSSSLOT");
        assert_eq!(
            (&cross["source"], &cross["cmd"]),
            (&"proxy".into(), &"rename".into())
        );
        assert!(
            cross["remedy"]
                .as_str()
                .is_some_and(|r| r.contains("hash tag")),
            "{cross:#}"
        );
        of(&told, "ERR unknown command");
        of(&told, "MINE it is 5 o clock");
        let (_, page) = proxy.get("/errors").expect("it answers");
        assert!(!page.contains("secret"), "{page}");
        assert_eq!(told["errors"].as_array().unwrap().len(), 4, "{told:#}");
        assert!(of(&told, "MINE")["last"].as_f64() >= wrong["first"].as_f64());
    });
}

#[test]
fn a_command_of_several_parts_and_one_whose_reply_never_comes_are_among_them() {
    let cluster = FakeCluster::start(1);
    let oom = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    cluster.script(
        0,
        [Step::expect("MSET a 1").send(oom), Step::expect("GET late")],
    );
    let args = ["--workers", "1", "--set", "timeouts.command=2s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.command(&["MSET", "a", "1"]);
    client.command(&["GET", "late"]);
    let told = proxy.json("/errors");
    let oom = of(&told, "OOM command not allowed when used memory > '…'.");
    assert_eq!(
        (&oom["cmd"], &oom["source"]),
        (&"mset".into(), &"upstream".into())
    );
    let late = of(&told, "ERR slotway: no reply in time");
    assert_eq!(
        (&late["cmd"], &late["source"]),
        (&"get".into(), &"proxy".into())
    );
    assert!(late["remedy"].is_string(), "{late:#}");
    cluster.finish();
}
