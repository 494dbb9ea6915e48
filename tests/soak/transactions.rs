//! WATCH, MULTI, EXEC and DISCARD.

use super::visitor::{Visitor, bulk};
use crate::support::show;
use rand::Rng;

/// A block on keys of its own, now and then given up.
pub fn block(visitor: &mut Visitor) {
    let keys = visitor.keys_together(2);
    let value = visitor.value(&keys[0]);
    visitor.expect("MULTI", b"+OK\r\n");
    for line in [
        format!("SET {} {value}", keys[0]),
        format!("INCRBY {} {}", keys[1], visitor.life),
        format!("GET {}", keys[0]),
        "PING".to_owned(),
        format!("DEL {} {}", keys[0], keys[1]),
    ] {
        visitor.expect(&line, b"+QUEUED\r\n");
    }
    if visitor.rng.random_ratio(1, 4) {
        visitor.expect("DISCARD", b"+OK\r\n");
        visitor.expect(&format!("EXISTS {}", keys[0]), b":0\r\n");
        return;
    }
    let counted = format!(":{}\r\n", visitor.life).into_bytes();
    let expected = [
        b"*5\r\n+OK\r\n".to_vec(),
        counted,
        bulk(&value),
        b"+PONG\r\n:2\r\n".to_vec(),
    ];
    visitor.expect("EXEC", &expected.concat());
}

/// A block that is executed if nobody has written to its key meanwhile, or if the watch has been given up.
pub fn watch(visitor: &mut Visitor) {
    let key = visitor.key();
    let value = visitor.value(&key);
    let (null, nothing) = (visitor.null(), visitor.nothing());
    visitor.expect(&format!("WATCH {key}"), b"+OK\r\n");
    visitor.expect(&format!("GET {key}"), null);
    let disturbed = visitor.rng.random();
    if disturbed {
        visitor
            .helper()
            .expect(&format!("SET {key} other"), b"+OK\r\n");
    }
    let given_up = visitor.rng.random_ratio(1, 3);
    if given_up {
        visitor.expect("UNWATCH", b"+OK\r\n");
    }
    visitor.expect("MULTI", b"+OK\r\n");
    visitor.expect(&format!("SET {key} {value}"), b"+QUEUED\r\n");
    let (done, left) = match disturbed && !given_up {
        true => (nothing, "other"),
        false => (&b"*1\r\n+OK\r\n"[..], &value[..]),
    };
    visitor.expect("EXEC", done);
    visitor.expect(&format!("GETDEL {key}"), &bulk(left));
}

/// A block that is refused, and what comes after it.
pub fn refused(visitor: &mut Visitor) {
    let key = visitor.key();
    visitor.expect("MULTI", b"+OK\r\n");
    visitor.expect(&format!("SET {key} 1"), b"+QUEUED\r\n");
    let reply = visitor.client.line("NOSUCHCOMMAND");
    assert!(
        reply.starts_with(b"-ERR unknown command"),
        "{}",
        show(&reply)
    );
    visitor.expect(
        "EXEC",
        b"-EXECABORT Transaction discarded because of previous errors.\r\n",
    );
    let null = visitor.null();
    visitor.expect(&format!("GET {key}"), null);
}
