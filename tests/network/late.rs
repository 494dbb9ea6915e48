//! What was given up is not delivered afterwards: once a client knows that the outcome of a write is unknown and has
//! written again, the kernel must not bring the old write to the node when the network works again.

use super::scene::Scene;
use crate::support::netns::{Fault, within};
use crate::support::redis;
use crate::support::show;
use std::time::Duration;

/// How long the kernel may keep a connection that was given up.
const FORGOTTEN_MAX: Duration = Duration::from_secs(60);

/// For a slow command, the kernel keeps trying for longer than the proxy.
const WRITE: &str = "return redis.call('SET', KEYS[1], ARGV[1])";

#[test]
fn a_write_that_was_given_up_is_not_delivered_later() {
    within(
        "network::late::a_write_that_was_given_up_is_not_delivered_later",
        &[("late", &|net| {
            let scene = Scene::set(net, &redis());
            let node = scene.stage.cluster.addr(scene.victim());
            let key = format!("{}:late", scene.tags[0]);
            let mut client = scene.stage.proxy.client();
            assert_eq!(
                client.command(&["EVAL", WRITE, "1", &key, "first"]),
                b"+OK\r\n"
            );
            net.cut(node, Fault::Silence);
            let reply = client.command(&["EVAL", WRITE, "1", &key, "given up"]);
            assert!(
                reply.starts_with(b"-ERR slotway: outcome unknown"),
                "{}",
                show(&reply)
            );
            net.lift();
            scene
                .stage
                .proxy
                .wait_for("it serves again", FORGOTTEN_MAX, || {
                    match client.command(&["SET", &key, "second"]) {
                        reply if reply == b"+OK\r\n" => Ok(()),
                        reply => Err(show(&reply)),
                    }
                });
            scene
                .stage
                .proxy
                .wait_for("nothing is on its way", FORGOTTEN_MAX, || {
                    match net.unacknowledged(node) {
                        0 => Ok(()),
                        n => Err(format!("{n} are there")),
                    }
                });
            assert_eq!(
                show(&client.command(&["GET", &key])),
                show(b"$6\r\nsecond\r\n")
            );
        })],
    );
}
