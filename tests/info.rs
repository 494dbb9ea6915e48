//! INFO as monitoring asks for it: one server's text over the whole cluster, made anew about once a second however
//! often it is asked for, for each protocol by itself.

mod support;

use support::{Proxy, RawClient, boot_cluster, servers};

/// How often it is asked for, one after the other.
const QUESTIONS: usize = 400;

#[test]
fn asking_often_costs_the_nodes_little() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
        let answered = |primary: usize| -> u64 {
            let text = cluster
                .ask(primary, &["INFO", "commandstats"])
                .unwrap()
                .text();
            let calls = text
                .lines()
                .find_map(|l| l.strip_prefix("cmdstat_info:calls="));
            let calls = calls.and_then(|rest| rest.split(',').next()?.parse().ok());
            calls.unwrap_or(0)
        };
        let before = answered(0);
        for _ in 0..QUESTIONS {
            let keyspace = String::from_utf8(client.line("INFO keyspace")).unwrap();
            assert!(keyspace.contains("db0:keys=3,"), "{keyspace}");
        }
        let asked = answered(0) - before;
        // Not even a tenth of that is needed, but for a machine that takes half a second for one.
        assert!(asked <= QUESTIONS as u64 / 2, "{}: {asked}", kind.name);
        one_text_per_protocol(&mut client);
        client.expect("FLUSHALL", b"+OK\r\n");
        let keyspace = String::from_utf8(client.line("INFO keyspace")).unwrap();
        assert!(!keyspace.contains("db0"), "just emptied: {keyspace}");
    }
}

fn one_text_per_protocol(client: &mut RawClient) {
    for (hello, first) in [("HELLO 3", b'='), ("HELLO 2", b'$')] {
        for _ in 0..2 {
            client.line(hello);
            assert_eq!(client.line("INFO keyspace")[0], first, "after {hello}");
        }
    }
}
