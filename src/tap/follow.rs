//! Follows one client: has its requests judged, and says whose large values come back.

use super::digest::{ARGUMENT_BYTES_KEPT, Digest, Ended};
use super::replies::{Asked, Replies};
use crate::audit::{Audit, Judge, KEY_BYTES_SHOWN};
use crate::command::{Command, CommandTable};
use crate::resp::Request;
use std::sync::Arc;

/// One client, as far as it can be followed.
pub(super) struct Follower {
    audit: Arc<Audit>,
    table: Arc<CommandTable>,
    /// None once the client sent what is no request.
    requests: Option<Digest>,
    /// None once replies are not one for each request.
    replies: Option<Replies>,
    seen: Seen,
}

/// What is remembered of a client.
#[derive(Default)]
struct Seen {
    judge: Judge,
    name: Option<Box<str>>,
}

impl Follower {
    pub(super) fn new(audit: Arc<Audit>, table: Arc<CommandTable>) -> Self {
        Self {
            audit,
            table,
            requests: Some(Digest::default()),
            replies: Some(Replies::default()),
            seen: Seen::default(),
        }
    }

    /// The client sent something.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let Some(digest) = &mut self.requests else {
            return;
        };
        let (audit, table) = (&*self.audit, &*self.table);
        let (seen, replies) = (&mut self.seen, &mut self.replies);
        let fed = digest.feed(bytes, |ended| match ended {
            Ended::Request(request, longest) => {
                let command = table.lookup(&request).ok();
                audit.look(&mut seen.judge, seen.name.as_deref(), command, &request);
                let asked = Asked::new(command, &request, KEY_BYTES_SHOWN + 1);
                if longest > ARGUMENT_BYTES_KEPT && audit.is_big(longest) {
                    audit.big_value(seen.name.as_deref(), &asked.command, asked.key.as_deref());
                }
                seen.rename(command, &request);
                let one = !ends_the_order(command, &request);
                let expect = |replies: &mut Replies| one && replies.expect(asked).is_ok();
                *replies = replies
                    .take()
                    .and_then(|mut replies| expect(&mut replies).then_some(replies));
            }
            Ended::TooLong => {
                audit.not_judged();
                *replies = None;
            }
        });
        if fed.is_err() {
            audit.not_judged();
            (self.requests, self.replies) = (None, None);
        }
    }

    /// The server sent something.
    pub(super) fn answered(&mut self, bytes: &[u8]) {
        let Some(replies) = &mut self.replies else {
            return;
        };
        let (audit, name) = (&*self.audit, self.seen.name.as_deref());
        let fed = replies.feed(bytes, |asked, len| {
            // Without a key it is nobody's value, but the server's own.
            if audit.is_big(len) && asked.key.is_some() {
                audit.big_value(name, &asked.command, asked.key.as_deref());
            }
        });
        if fed.is_err() {
            self.replies = None;
        }
    }

    /// Whether something is under way, as far as is known.
    pub(super) fn is_under_way(&self) -> bool {
        let inside = self.requests.as_ref().is_some_and(Digest::is_inside);
        inside || self.replies.as_ref().is_some_and(Replies::are_outstanding)
    }
}

impl Seen {
    /// A client says who it is.
    fn rename(&mut self, command: Option<&Command>, request: &Request<'_>) {
        let name = match command.map(|command| &*command.name) {
            Some("client|setname") => request.get(2),
            Some("hello") => {
                let at =
                    (2..request.len()).find(|&at| request.arg(at).eq_ignore_ascii_case(b"setname"));
                let Some(at) = at else { return };
                request.get(at + 1)
            }
            Some("reset") => Some(&b""[..]),
            _ => None,
        };
        // A server refuses others.
        let is_name = |name: &&[u8]| name.iter().all(|byte| (b'!'..=b'~').contains(byte));
        if let Some(name) = name.filter(is_name) {
            let text = String::from_utf8_lossy(&name[..name.len().min(KEY_BYTES_SHOWN)]);
            self.name = (!text.is_empty()).then(|| text.into());
        }
    }
}

/// Whether replies are not one for each request from here on.
fn ends_the_order(command: Option<&Command>, request: &Request<'_>) -> bool {
    match command.map(|command| &*command.name) {
        Some(name) => matches!(
            name,
            "subscribe"
                | "psubscribe"
                | "ssubscribe"
                | "unsubscribe"
                | "punsubscribe"
                | "sunsubscribe"
                | "monitor"
                | "client|reply"
                | "client|tracking"
                | "sync"
                | "psync"
        ),
        // Of a table that does not know what only replicas say.
        None => [&b"sync"[..], b"psync", b"replconf"]
            .iter()
            .any(|name| request.arg(0).eq_ignore_ascii_case(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Rules;
    use crate::config::Config;

    fn follower() -> Follower {
        let audit = Audit::new(Rules::of(&Config::default()));
        Follower::new(Arc::new(audit), Arc::new(CommandTable::builtin()))
    }

    fn report(follower: &Follower) -> serde_json::Value {
        follower.audit.json()
    }

    #[test]
    fn a_client_is_known_by_the_name_it_gives_itself() {
        for (line, name) in [
            ("CLIENT SETNAME web", "web"),
            ("HELLO 3 AUTH user pass SETNAME web", "web"),
            ("CLIENT SETNAME web\r\nHELLO 3", "web"),
            ("CLIENT SETNAME web\r\nRESET", "(no name)"),
            ("CLIENT SETNAME web\r\nCLIENT SETNAME \"a b\"", "web"),
            ("CLIENT SETNAME web\r\nCLIENT SETNAME \"\"", "(no name)"),
        ] {
            let mut follower = follower();
            follower.sent(format!("{line}\r\nSELECT 1\r\n").as_bytes());
            let report = report(&follower);
            assert_eq!(
                report["findings"][0]["found"][0]["client"], name,
                "{report:#}"
            );
            assert!(!report.to_string().contains("pass"));
        }
    }

    #[test]
    fn large_values_are_seen_in_both_directions() {
        let mut follower = follower();
        let long = "x".repeat(70_000);
        follower.sent(b"GET small\r\nCOMMAND DOCS\r\nGET large\r\n");
        assert!(follower.is_under_way());
        follower.answered(b"$1\r\na\r\n");
        follower.answered(format!("$70000\r\n{long}\r\n").as_bytes());
        follower.answered(format!("$70000\r\n{long}\r\n").as_bytes());
        assert!(!follower.is_under_way());
        follower.sent(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\n{long}").as_bytes());
        assert!(follower.is_under_way());
        follower.sent(b"\r\n");
        let found = report(&follower)["findings"][0].clone();
        assert_eq!(
            (&found["kind"], &found["count"]),
            (&"big_value".into(), &2.into())
        );
        let rows = found["found"].as_array().unwrap().iter();
        let rows: Vec<_> = rows
            .map(|row| format!("{} {}", row["command"], row["examples"][0]))
            .collect();
        assert_eq!(rows, ["\"get\" \"large\"", "\"set\" \"k\""]);
    }

    #[test]
    fn where_the_order_of_replies_ends_requests_are_still_judged() {
        for line in ["SUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF", "PSYNC ? -1"] {
            let mut follower = follower();
            follower.sent(format!("{line}\r\nSELECT 1\r\n").as_bytes());
            assert!(follower.replies.is_none(), "{line}");
            assert!(report(&follower).to_string().contains("select"), "{line}");
        }
        let mut follower = follower();
        follower.sent(b"*1\r\n:1\r\n");
        follower.sent(b"SELECT 1\r\n");
        assert!(follower.requests.is_none());
        assert_eq!(report(&follower)["not_judged"], 1);
    }
}
