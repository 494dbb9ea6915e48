//! A reply may be larger than `limits.client_output_hard`: the limit is for replies that pile up, and a client that is
//! slow to read its one large reply must get all of it.

mod support;

use std::time::Duration;

use support::{Proxy, boot_cluster, redis};

/// Larger than the limit below, and than what the kernel takes for a client that does not read.
const VALUE_BYTES: usize = 40_000_000;

#[test]
fn one_large_reply_does_not_close_its_client() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(
        &cluster,
        &[
            "--set",
            "limits.client_output_hard=8MB",
            "--set",
            "limits.client_output_soft=1MB",
            "--set",
            "timeouts.idle=2s",
            "--set",
            "timeouts.command=60s",
        ],
    );
    let mut client = proxy.client();
    client.wait_at_most(Duration::from_secs(60));
    let value = vec![b'v'; VALUE_BYTES];
    assert_eq!(
        client.command(&[b"SET".as_slice(), b"k", &value]),
        b"+OK\r\n"
    );
    client.send(b"GET k\r\n");
    proxy.wait_for(
        "the reply is there",
        Duration::from_secs(60),
        || match proxy
            .metrics()
            .sum("slotway_commands_total", &[("cmd", "get")])
        {
            0.0 => Err("not yet".to_owned()),
            _ => Ok(()),
        },
    );
    // An idle client is closed by the same upkeep that looks at outputs: it has run several times then.
    let mut idle = proxy.client();
    idle.expect_close();
    let reply = client.reply();
    assert_eq!(
        reply.len(),
        VALUE_BYTES + format!("${VALUE_BYTES}\r\n\r\n").len()
    );
}
