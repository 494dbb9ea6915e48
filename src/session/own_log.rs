//! SLOWLOG GET, LEN and RESET: slotway's own slow log answers as if it were one more node.

use super::Session;
use crate::observe::SlowCommand;
use crate::resp::{Request, encode};

impl Session {
    /// The reply of slotway's own log, if the command is for slow logs. At most `limit` entries.
    pub(super) fn own_log(&self, request: &Request<'_>, limit: usize) -> Option<Vec<u8>> {
        if !request.get(0)?.eq_ignore_ascii_case(b"slowlog") {
            return None;
        }
        let metrics = &self.context.metrics;
        let mut out = Vec::new();
        match &request.get(1)?.to_ascii_lowercase()[..] {
            b"get" => entries(&metrics.slow_commands(), limit, &mut out),
            b"len" => encode::integer(&mut out, metrics.slow_commands().len() as i64),
            b"reset" => {
                metrics.forget_slow_commands();
                encode::simple(&mut out, "OK");
            }
            _ => return None,
        }
        Some(out)
    }
}

/// As a server's: number, Unix time, microseconds, arguments, client, its name. Another argument at the end says whose entry
/// it is, and where the time went.
fn entries(slow: &[SlowCommand], limit: usize, out: &mut Vec<u8>) {
    let listed = slow.len().min(limit);
    encode::array(out, listed);
    for entry in &slow[..listed] {
        encode::array(out, 6);
        encode::integer(out, signed(entry.id));
        encode::integer(out, signed(entry.at.as_secs()));
        encode::integer(out, signed(entry.spent.total()));
        encode::array(out, entry.args.len() + 1);
        entry.args.iter().for_each(|arg| encode::bulk(out, arg));
        encode::bulk(out, spent(entry).as_bytes());
        encode::bulk(out, entry.client.as_bytes());
        encode::bulk(out, entry.name.as_deref().unwrap_or_default().as_bytes());
    }
}

fn spent(entry: &SlowCommand) -> String {
    let spent = &entry.spent;
    format!(
        "[slotway's own: queued {} us, at {} {} us, reply order {} us, writing {} us]",
        spent.queued, entry.node, spent.upstream, spent.order, spent.writing
    )
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeAddr;
    use crate::observe::Spent;
    use std::time::Duration;

    #[test]
    fn an_entry_looks_like_a_servers() {
        let entry = SlowCommand {
            id: 7,
            at: Duration::from_millis(9_500),
            args: vec![b"GET"[..].into(), b"k"[..].into()],
            client: "c:1".into(),
            name: None,
            node: NodeAddr::new("n", 1),
            spent: Spent {
                queued: 1,
                upstream: 2,
                order: 3,
                writing: 4,
            },
        };
        let mut out = Vec::new();
        entries(&[entry.clone(), entry], 1, &mut out);
        let note = "[slotway's own: queued 1 us, at n:1 2 us, reply order 3 us, writing 4 us]";
        let expected = format!(
            "*1\r\n*6\r\n:7\r\n:9\r\n:10\r\n*3\r\n$3\r\nGET\r\n$1\r\nk\r\n${}\r\n{note}\r\n$3\r\nc:1\r\n$0\r\n\r\n",
            note.len()
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
