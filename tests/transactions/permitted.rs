//! Users of the nodes who may not use MULTI, or may not end what it begins. Behind a MULTI that was refused the commands
//! would be executed one by one: so nothing of the transaction is sent, and EXEC says what the node says.

use crate::support::node::{FakeCluster, Step};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, boot_cluster, encode, redis, servers, show};
use slotway::cluster::Slot;
use slotway::demo::Cluster;

const ABORTED_BECAUSE: &str = "-EXECABORT Transaction discarded because of: ";

const PASSWORD: &str = "secret";

/// What the user may not use, and whose refusal the client hears.
const RULES: &[(&[&str], &str)] = &[
    (&["-multi"], "MULTI"),
    (&["-exec"], "EXEC"),
    (&["-exec", "-discard"], "EXEC"),
    (&["-multi", "-exec", "-discard"], "MULTI"),
];

fn set_user(cluster: &Cluster, name: &str, rules: &[&str]) {
    let password = format!(">{PASSWORD}");
    let first = ["ACL", "SETUSER", name, "on", &password, "~*", "&*", "+@all"];
    let words = [&first[..], rules].concat();
    for node in 0..cluster.len() {
        cluster.ask(node, &words).unwrap();
    }
}

fn start_as(cluster: &Cluster, name: &str) -> (Proxy, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let user = format!("upstream.username={name}");
    let file = format!("upstream.password_file={}", file.display());
    let options = ["--workers", "1", "--set", &user, "--set", &file];
    (Proxy::start(cluster, &options), dir)
}

/// What a node says to this user, who is inside MULTI if that is possible.
fn refusal(cluster: &Cluster, name: &str, command: &str) -> String {
    let mut client = RawClient::connect(cluster.addr(0));
    client.expect(&format!("AUTH {name} {PASSWORD}"), b"+OK\r\n");
    if command == "EXEC" {
        client.expect("MULTI", b"+OK\r\n");
    }
    let reply = String::from_utf8(client.line(command)).unwrap();
    let error = reply.trim_start_matches(ABORTED_BECAUSE);
    assert!(error.contains("NOPERM "), "{reply}");
    error.trim_start_matches('-').to_owned()
}

#[test]
fn nothing_is_executed_for_a_user_who_may_not_use_transactions() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        for (number, (rules, command)) in RULES.iter().enumerate() {
            let name = format!("app{number}");
            set_user(&cluster, &name, rules);
            let (proxy, _dir) = start_as(&cluster, &name);
            let refusal = refusal(&cluster, &name, command);
            let told = format!("{ABORTED_BECAUSE}{refusal}");
            let key = format!("counter{number}");
            // The first of a version is there before the lane is, the second finds it open.
            for hello in ["PING", "PING", "HELLO 3", "HELLO 3"] {
                let mut client = proxy.client();
                client.line(hello);
                let lines = [
                    &["SET", &key, "1"][..],
                    &["MULTI"],
                    &["INCR", &key],
                    &["INCR", &key],
                    &["EXEC"],
                    &["GET", &key],
                ];
                client.send(&lines.map(encode).concat());
                let got = client.replies(lines.len()).concat();
                let expected = format!("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n{told}$1\r\n1\r\n");
                assert_eq!(
                    show(&got),
                    show(expected.as_bytes()),
                    "{} {rules:?}",
                    kind.name
                );
                // The same over the connection of a client that watches.
                assert_eq!(
                    show(&client.line(&format!("WATCH {key}"))),
                    show(format!("-{refusal}").as_bytes()),
                    "{} {rules:?}",
                    kind.name
                );
                client.expect("MULTI", b"+OK\r\n");
                client.expect("INCR other", b"+QUEUED\r\n");
                assert!(client.line("EXEC").starts_with(ABORTED_BECAUSE.as_bytes()));
                client.expect("EXISTS other", b":0\r\n");
            }
        }
    }
}

/// DISCARD is slotway's own, and so is a transaction without a command for a node.
#[test]
fn a_user_who_may_not_discard_has_transactions() {
    let cluster = boot_cluster(&redis());
    set_user(&cluster, "app", &["-discard"]);
    let (proxy, _dir) = start_as(&cluster, "app");
    let mut client = proxy.client();
    for (line, reply) in [
        ("MULTI", "+OK\r\n"),
        ("INCR k", "+QUEUED\r\n"),
        ("DISCARD", "+OK\r\n"),
        ("MULTI", "+OK\r\n"),
        ("INCR k", "+QUEUED\r\n"),
        ("EXEC", "*1\r\n:1\r\n"),
    ] {
        client.expect(line, reply.as_bytes());
    }
}

#[test]
fn a_permission_that_is_given_later_is_noticed() {
    let cluster = boot_cluster(&redis());
    set_user(&cluster, "app", &["-multi"]);
    let (proxy, _dir) = start_as(&cluster, "app");
    let mut client = proxy.client();
    let mut exec = || {
        client.expect("MULTI", b"+OK\r\n");
        client.expect("INCR k", b"+QUEUED\r\n");
        client.line("EXEC")
    };
    assert!(exec().starts_with(b"-EXECABORT "));
    for node in 0..cluster.len() {
        let words = ["ACL", "SETUSER", "app", "+multi"];
        cluster.ask(node, &words).unwrap();
    }
    proxy.wait_for("a transaction", SHOWN_WITHIN, || {
        let reply = exec();
        match reply.as_slice() {
            b"*1\r\n:1\r\n" => Ok(()),
            _ => Err(show(&reply)),
        }
    });
}

/// ASKING in front of a block that is not sent would be for the next command.
#[test]
fn a_block_that_is_withheld_takes_its_asking_along() {
    let cluster = FakeCluster::start(2);
    let options = ["--workers", "1", "--set", "timeouts.command=60s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &options);
    let slot = Slot::of(b"a").number();
    let from = cluster.owner(slot);
    let to = 1 - from;
    let no: &[u8] = b"-NOPERM no 'multi'\r\n";
    cluster.refuse_transactions(to, no);
    cluster.begin_migration(slot, to);
    let ask = format!("-ASK {slot} {}\r\n", cluster.addr(to));
    let aborted: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
    let block = [
        ("MULTI", &b"+OK\r\n"[..]),
        ("INCR a", ask.as_bytes()),
        ("EXEC", aborted),
    ];
    let mut client = proxy.client();
    for round in 0..2 {
        let steps = block.map(|(line, reply)| Step::expect(line).send(reply));
        cluster.script(from, steps);
        client.expect("MULTI", b"+OK\r\n");
        client.expect("INCR a", b"+QUEUED\r\n");
        let told = [
            &b"-EXECABORT Transaction discarded because of: "[..],
            &no[1..],
        ]
        .concat();
        client.expect("EXEC", &told);
        assert_eq!(cluster.count(to, "ASKING"), round);
        cluster.script(from, [Step::expect("GET a").send(ask.as_bytes())]);
        let there = Step::expect("GET a").asking(true).send(b"$1\r\n0\r\n");
        cluster.script(to, [there]);
        client.expect("GET a", b"$1\r\n0\r\n");
        assert_eq!(cluster.count(to, "ASKING"), round + 1);
    }
    cluster.finish();
}
