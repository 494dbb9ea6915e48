//! Invariant 3 at its narrowest: a slot is migrating, `MSET a b` is refused with TRYAGAIN, and a later command of
//! the same connection has executed already. If it shares a key the MSET must not be repeated; if it does not,
//! it must be.

use crate::rig::stage::{Stage, slot_of};
use crate::support::{SHOWN_WITHIN, ServerKind, encode, redis, show, valkey};
use slotway::demo::wait_until;

/// A slot with `{t}a` and `{t}c` on its old primary and `{t}b` on the new one.
struct Half {
    stage: Stage,
    slot: u16,
    from: usize,
    to: usize,
}

impl Half {
    fn migrate(kind: &ServerKind) -> Self {
        // On a slow machine, too, a migration ends before a command that waits for it gives up.
        let stage = Stage::set_with(kind, &["--set", "timeouts.command=60s"]);
        let slot = slot_of("{t}");
        let from = stage.cluster.owner_of(slot).expect("it is served");
        let to = (from + 1) % 3;
        let mut client = stage.proxy.client();
        client.expect("MSET {t}a 0 {t}b 0 {t}c 0", b"+OK\r\n");
        stage.cluster.begin_migration(slot, from, to).unwrap();
        stage.cluster.move_keys(from, to, &["{t}b"]).unwrap();
        Self {
            stage,
            slot,
            from,
            to,
        }
    }

    fn finish(&self) {
        let cluster = &self.stage.cluster;
        cluster
            .move_all_keys(self.slot, self.from, self.to)
            .unwrap();
        cluster
            .finish_migration(self.slot, self.from, self.to)
            .unwrap();
    }

    /// Waits until the proxy has heard TRYAGAIN so often.
    fn wait_refused(&self, times: u32) {
        let counted = wait_until("TRYAGAIN", SHOWN_WITHIN, &Default::default(), || match self
            .stage
            .redirections("tryagain")
        {
            now if now >= f64::from(times) => Ok(()),
            now => Err(format!("{now} refusals")),
        });
        counted.unwrap();
    }
}

#[test]
fn a_refused_mset_is_not_repeated_behind_a_set_of_its_key() {
    for kind in [redis(), valkey()] {
        let half = Half::migrate(&kind);
        let mut client = half.stage.proxy.client();
        for round in 1..=5 {
            client.send_lines(&["MSET {t}a 1 {t}b 1", "SET {t}a 2", "GET {t}a", "GET {t}b"]);
            let refused = client.reply();
            assert!(refused.starts_with(b"-TRYAGAIN"), "{}", show(&refused));
            assert_eq!(client.reply(), b"+OK\r\n");
            assert_eq!(client.reply(), b"$1\r\n2\r\n");
            assert_eq!(
                client.reply(),
                b"$1\r\n0\r\n",
                "a refused MSET left a trace"
            );
            assert_eq!(half.stage.redirections("passed_on"), f64::from(round));
        }
        half.finish();
        client.expect("MGET {t}a {t}b", b"*2\r\n$1\r\n2\r\n$1\r\n0\r\n");
    }
}

#[test]
fn a_refused_mset_waits_for_the_migration_and_holds_what_comes_behind_it() {
    for kind in [redis(), valkey()] {
        let half = Half::migrate(&kind);
        let mut client = half.stage.proxy.client();
        // `{t}c` is no key of the MSET, so it may have executed: the MSET is repeated all the same.
        client.send_lines(&["MSET {t}a 1 {t}b 1", "SET {t}c 1"]);
        half.wait_refused(1);
        // Sent while the slot is fenced: these wait behind the MSET.
        client.send_lines(&["GET {t}a", "SET {t}a 3", "MGET {t}a {t}b {t}c"]);
        // The slot of another client is not fenced.
        half.stage.proxy.client().expect("GET {t}a", b"$1\r\n0\r\n");
        half.finish();
        for reply in [
            &b"+OK\r\n"[..],
            b"+OK\r\n",
            b"$1\r\n1\r\n",
            b"+OK\r\n",
            b"*3\r\n$1\r\n3\r\n$1\r\n1\r\n$1\r\n1\r\n",
        ] {
            let got = client.reply();
            assert!(got == reply, "{}, expected {}", show(&got), show(reply));
        }
        assert_eq!(half.stage.redirections("passed_on"), 0.0);
    }
}

/// The keys are new: the old primary sends the MSET on (ASK), the new one sends it back (TRYAGAIN), again and again,
/// more often than the redirections that a command may follow.
#[test]
fn an_mset_of_new_keys_waits_for_the_migration_too() {
    for kind in [redis(), valkey()] {
        let half = Half::migrate(&kind);
        let mut client = half.stage.proxy.client();
        client.send_lines(&["MSET {t}x 1 {t}y 1", "MGET {t}x {t}y"]);
        half.wait_refused(12);
        half.finish();
        assert_eq!(client.reply(), b"+OK\r\n");
        assert_eq!(client.reply(), b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n");
        assert_eq!(half.stage.redirections("passed_on"), 0.0);
    }
}

/// What a script says may be made up, so the proxy asks before it follows ASK. It does follow.
#[test]
fn scripts_follow_their_keys_while_a_slot_moves() {
    for kind in [redis(), valkey()] {
        let half = Half::migrate(&kind);
        let mut client = half.stage.proxy.client();
        for key in ["{t}a", "{t}b", "{t}x"] {
            client.expect(&format!("SET {key} 7"), b"+OK\r\n");
            let count = encode(&["EVAL", "return redis.call('INCR', KEYS[1])", "1", key]);
            client.send(&[count.clone(), count, encode(&["GET", key])].concat());
            let got = client.replies(3).concat();
            assert!(got == b":8\r\n:9\r\n$1\r\n9\r\n", "{key}: {}", show(&got));
        }
        half.finish();
    }
}
