//! Several consumers over queues in several slots, several producers: every element arrives exactly once.

use super::stage::Stage;
use crate::support::{SHOWN_WITHIN, on_each, show};
use std::collections::BTreeSet;
use std::sync::Mutex;

const QUEUES: [&str; 4] = ["q1", "q2", "q3", "q4"];
const CONSUMERS: usize = 6;
const PRODUCERS: usize = 3;
const EACH: usize = 200;

#[test]
fn nothing_is_popped_twice_or_lost() {
    on_each(|kind| {
        let stage = Stage::set(kind, &["--workers", "2"]);
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for consumer in 0..CONSUMERS {
                let (stage, seen) = (&stage, &seen);
                scope.spawn(move || {
                    let mut client = stage.proxy.client();
                    let command = match consumer % 3 {
                        0 => "BRPOP q1 q2 q3 q4 0",
                        1 => "BLPOP q4 q3 q2 q1 0",
                        _ => "BLMPOP 0 4 q1 q2 q3 q4 LEFT",
                    };
                    loop {
                        let reply = client.line(command);
                        let text = String::from_utf8(reply).unwrap();
                        let element = text.trim_end().rsplit("\r\n").next().unwrap().to_owned();
                        if element == "end" {
                            return;
                        }
                        seen.lock().unwrap().push(element);
                    }
                });
            }
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let stage = &stage;
                    scope.spawn(move || {
                        let mut client = stage.proxy.client();
                        for i in 0..EACH {
                            let queue = QUEUES[(producer + i) % QUEUES.len()];
                            let pushed = client.line(&format!("LPUSH {queue} {producer}:{i}"));
                            assert!(pushed.starts_with(b":"), "{}", show(&pushed));
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.join().unwrap();
            }
            // What is still queued is popped before or after the ends: all of it is counted below.
            let mut client = stage.proxy.client();
            for queue in QUEUES {
                stage.proxy.wait_for(queue, SHOWN_WITHIN, || {
                    match client.line(&format!("LLEN {queue}")) {
                        empty if empty == b":0\r\n" => Ok(()),
                        left => Err(show(&left)),
                    }
                });
            }
            for i in 0..CONSUMERS {
                client.line(&format!("LPUSH {} end", QUEUES[i % QUEUES.len()]));
            }
        });
        let seen = seen.into_inner().unwrap();
        let different: BTreeSet<_> = seen.iter().collect();
        assert_eq!(
            (seen.len(), different.len()),
            (PRODUCERS * EACH, PRODUCERS * EACH),
            "{}",
            kind.name
        );
        stage.wait_clean();
    });
}
