//! Transactions are still to come. Until then MULTI is refused, and so is everything up to EXEC: commands that were
//! meant to happen together must not be executed one by one.

mod support;

use support::{Proxy, RawClient, boot_cluster, redis};

fn expect_error(client: &mut RawClient, line: &str, prefix: &str) {
    let reply = String::from_utf8_lossy(&client.line(line)).into_owned();
    assert!(reply.starts_with(prefix), "{line}: {reply}");
}

#[test]
fn nothing_of_a_refused_transaction_is_executed() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    for end in ["EXEC", "DISCARD"] {
        client.expect("SET k before", b"+OK\r\n");
        expect_error(&mut client, "MULTI", "-ERR slotway: 'multi'");
        expect_error(&mut client, "SET k inside", "-ERR slotway: not executed");
        expect_error(&mut client, "GET k", "-ERR slotway: not executed");
        expect_error(&mut client, end, "-EXECABORT ");
        client.expect("GET k", b"$6\r\nbefore\r\n");
    }
    expect_error(&mut client, "MULTI", "-ERR slotway: 'multi'");
    client.expect("RESET", b"+RESET\r\n");
    client.expect("SET k after", b"+OK\r\n");
    // Another client never noticed.
    proxy.client().expect("GET k", b"$5\r\nafter\r\n");
}
