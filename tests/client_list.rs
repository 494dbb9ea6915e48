//! CLIENT LIST, INFO and KILL over all workers: each client sees all, whichever worker it is on, and ends others,
//! whichever worker they are on. Which options there are, and the words of mistakes: `local_commands`.

mod support;

use slotway::demo::{Server, Stop, wait_until};
use std::time::Duration;
use support::{Proxy, RawClient, SHOWN_WITHIN, boot_cluster, encode, redis, servers, show};

const WORKERS: &str = "3";
const CLIENTS: usize = 7;
const SOON: Duration = Duration::from_secs(20);

/// A client and its number.
struct Named {
    client: RawClient,
    id: String,
}

fn named(proxy: &Proxy, name: &str) -> Named {
    let mut client = proxy.client();
    client.expect(&format!("CLIENT SETNAME {name}"), b"+OK\r\n");
    let id = text(&client.line("CLIENT ID"));
    Named {
        client,
        id: id.trim_matches([':', '\r', '\n']).to_owned(),
    }
}

fn text(reply: &[u8]) -> String {
    String::from_utf8(reply.to_vec()).expect("text")
}

/// The lines of a CLIENT LIST.
fn list(client: &mut RawClient, request: &str) -> Vec<String> {
    lines(&client.line(request))
}

fn lines(reply: &[u8]) -> Vec<String> {
    let reply = text(reply);
    let lines = reply.lines().skip(1).filter(|line| !line.is_empty());
    lines
        .map(|line| line.trim_start_matches("txt:").to_owned())
        .collect()
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
    let found = fields.find(|(own, _)| *own == name);
    found.unwrap_or_else(|| panic!("no {name} in {line}")).1
}

#[test]
fn every_client_sees_all_of_them() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", WORKERS]);
        let mut clients: Vec<Named> = (0..CLIENTS)
            .map(|n| named(&proxy, &format!("client-{n}")))
            .collect();
        clients[1].client.line("GET a");
        clients[2].client.line("HELLO 3");
        let ids: Vec<String> = clients.iter().map(|c| c.id.clone()).collect();
        for Named { client, id } in &mut clients {
            let all = list(client, "CLIENT LIST");
            let listed: Vec<&str> = all.iter().map(|line| field(line, "id")).collect();
            assert_eq!(listed, ids, "{}", kind.name);
            let own = list(client, &format!("CLIENT LIST ID {id}"));
            assert_eq!(own.len(), 1);
            let info = lines(&client.line("CLIENT INFO"));
            for name in ["id", "addr", "laddr", "name", "resp", "flags"] {
                assert_eq!(field(&own[0], name), field(&info[0], name), "{name}");
            }
            assert_eq!(field(&own[0], "cmd"), "client|list");
            assert_eq!(field(&info[0], "cmd"), "client|info");
        }
        let all = list(&mut clients[0].client, "CLIENT LIST TYPE normal");
        assert_eq!(field(&all[3], "name"), "client-3");
        assert_eq!(field(&all[2], "resp"), "3");
        what_they_are_doing_is_shown(&proxy, &mut clients);
        let two = format!("CLIENT LIST ID {} {}", ids[4], ids[1]);
        let two = list(&mut clients[0].client, &two);
        let names: Vec<&str> = two.iter().map(|line| field(line, "name")).collect();
        assert_eq!(names, ["client-1", "client-4"]);
    }
}

/// The sixth and seventh client: one in a transaction, one blocked.
fn what_they_are_doing_is_shown(proxy: &Proxy, clients: &mut [Named]) {
    clients[5].client.expect("MULTI", b"+OK\r\n");
    clients[5].client.expect("SET a 1", b"+QUEUED\r\n");
    clients[6].client.send(&encode(&["BLPOP", "nolist", "0"]));
    let id = clients[6].id.clone();
    let asker = &mut clients[0].client;
    proxy.wait_for("the blocked client", SOON, || {
        let all = list(asker, "CLIENT LIST");
        let (queuing, blocked) = (&all[5], &all[6]);
        assert_eq!(
            (field(queuing, "flags"), field(queuing, "multi")),
            ("x", "1")
        );
        match (field(blocked, "flags"), field(blocked, "cmd")) {
            ("b", "blpop") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    asker.expect(&format!("CLIENT UNBLOCK {id}"), b":1\r\n");
    assert_eq!(field(&list(asker, "CLIENT LIST")[6], "flags"), "N");
    assert_eq!(clients[6].client.reply(), b"*-1\r\n");
    clients[6].client.send(&encode(&["BLPOP", "nolist", "0"]));
    let asker = &mut clients[0].client;
    asker.expect(&format!("CLIENT KILL ID {id}"), b":1\r\n");
    clients[6].client.expect_close();
    clients[5].client.expect("EXEC", b"*1\r\n+OK\r\n");
}

/// What a client does before it is looked at. (After its first EXEC or DISCARD, valkey shows `multi=0`.)
const DOINGS: &[&[&str]] = &[
    &["PING"],
    &["HELLO 3", "CLIENT SETNAME three", "GET a"],
    &[
        "CLIENT SETINFO LIB-NAME lib",
        "CLIENT SETINFO LIB-VER 1.2",
        "PING",
    ],
    &["SUBSCRIBE a", "PSUBSCRIBE p*", "PSUBSCRIBE q*"],
    &["SSUBSCRIBE a"],
    &["HELLO 3", "SUBSCRIBE a", "SSUBSCRIBE b", "GET a"],
    &["SUBSCRIBE a", "UNSUBSCRIBE a"],
    &["MULTI"],
    &["MULTI", "GET a", "GET a"],
    &["BLPOP nolist 0"],
    &["BLPOP nolist other 0"],
    &["WAIT 9 0"],
    &["CLIENT NO-EVICT ON"],
    &["CLIENT NO-TOUCH ON"],
    &["MONITOR"],
    &["NOSUCHCOMMAND"],
    &["CONFIG GET maxmemory"],
];

#[test]
fn a_client_is_shown_as_a_plain_server_shows_it() {
    const FIELDS: [&str; 13] = [
        "name", "flags", "capa", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user",
        "redir", "resp",
    ];
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let args = ["--workers", "2", "--set", r#"policy.allow=["monitor"]"#];
        let proxy = Proxy::start(&cluster, &args);
        let plain = Server::boot(&kind.path, &[]).expect("a server");
        for doing in DOINGS {
            if *doing == ["CLIENT NO-TOUCH ON"] && kind.name == "redis" {
                // It has no such command; slotway does.
                continue;
            }
            let got = portrait(&|| proxy.client(), doing, &FIELDS);
            let expected = portrait(&|| RawClient::connect(plain.addr()), doing, &FIELDS);
            assert_eq!(got, expected, "{}: {doing:?}", kind.name);
        }
    }
}

/// The fields of a client's line that are there, once it has come to its last command.
fn portrait(connect: &dyn Fn() -> RawClient, doing: &[&str], fields: &[&str]) -> Vec<String> {
    let (mut client, mut other) = (connect(), connect());
    let id = text(&client.line("CLIENT ID"));
    let id = id.trim_matches([':', '\r', '\n']);
    for line in doing {
        let words: Vec<&str> = line.split(' ').collect();
        client.send(&encode(&words));
        if !matches!(words[0], "BLPOP" | "WAIT") {
            client.reply();
            continue;
        }
        wait_until(line, SOON, &Stop::default(), || {
            let all = list(&mut other, &format!("CLIENT LIST ID {id}"));
            match field(&all[0], "flags") {
                "b" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .expect("blocked");
    }
    let all = list(&mut other, &format!("CLIENT LIST ID {id}"));
    let shown = |name: &&str| all[0].contains(&format!(" {name}="));
    let shown = fields.iter().filter(|name| shown(name));
    shown
        .map(|name| format!("{name}={}", field(&all[0], name)))
        .collect()
}

#[test]
fn clients_of_all_workers_are_killed() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", WORKERS]);
    let mut clients: Vec<Named> = (0..CLIENTS)
        .map(|n| named(&proxy, &format!("client-{n}")))
        .collect();
    let mut killer = named(&proxy, "killer");
    // By number, the list right behind it in the pipeline; the request after it is answered last.
    let victim = clients.remove(0);
    let kill = ["CLIENT", "KILL", "ID", victim.id.as_str()];
    let all = [
        encode(&kill),
        encode(&["CLIENT", "LIST"]),
        encode(&["PING"]),
    ]
    .concat();
    killer.client.send(&all);
    let replies = killer.client.replies(3);
    assert_eq!(replies[0], b":1\r\n");
    assert_eq!(lines(&replies[1]).len(), CLIENTS, "{}", show(&replies[1]));
    assert_eq!(replies[2], b"+PONG\r\n");
    gone(victim);
    // By address.
    let victim = clients.remove(0);
    let line = list(&mut killer.client, &format!("CLIENT LIST ID {}", victim.id));
    let addr = field(&line[0], "addr").to_owned();
    killer
        .client
        .expect(&format!("CLIENT KILL {addr}"), b"+OK\r\n");
    gone(victim);
    let again = format!("CLIENT KILL {addr}");
    killer.client.expect(&again, b"-ERR No such client\r\n");
    let again = format!("CLIENT KILL ADDR {addr}");
    killer.client.expect(&again, b":0\r\n");
    // All others, whichever workers they are on.
    let left = clients.len();
    let killed = format!(":{left}\r\n");
    killer
        .client
        .expect("CLIENT KILL TYPE normal", killed.as_bytes());
    clients.into_iter().for_each(gone);
    assert_eq!(list(&mut killer.client, "CLIENT LIST").len(), 1);
    // Oneself: answered, then closed.
    let last = named(&proxy, "last");
    killer
        .client
        .expect("CLIENT KILL USER default SKIPME no", b":2\r\n");
    gone(killer);
    gone(last);
    proxy.client().expect("PING", b"+PONG\r\n");
}

fn gone(mut victim: Named) {
    victim.client.expect_close();
}

/// What the admin endpoint says is what CLIENT LIST does.
#[test]
fn the_admin_endpoint_lists_them_too() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "2"]);
    let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect(&format!("CLIENT SETNAME {n}"), b"+OK\r\n");
    }
    clients[3].send(&encode(&["BLPOP", "nothing", "0"]));
    let mut told = serde_json::Value::Null;
    proxy.wait_for("one is blocked", SHOWN_WITHIN, || {
        told = proxy.json("/clients");
        match told["clients"][3]["flags"].as_str() {
            Some("b") => Ok(()),
            _ => Err(told.to_string()),
        }
    });
    assert_eq!(told["count"], 6);
    let listed = told["clients"].as_array().expect("a list");
    let names: Vec<_> = listed
        .iter()
        .map(|c| c["name"].as_str().expect("text"))
        .collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(listed[3]["cmd"], "blpop");
    assert!(
        listed
            .windows(2)
            .all(|two| two[0]["id"].as_u64() < two[1]["id"].as_u64())
    );
    drop(clients);
}
