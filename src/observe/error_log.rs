//! The errors that clients got lately: each kind once, with how often, when, which command, and whose it was. Texts may quote what
//! clients have sent: quoted words are left out, and what tells two errors of a kind apart (numbers, names) does not make two.

use super::labels::ErrorSource;
use super::remedies::{Remedy, remedy};
use crate::command::CommandId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// So many kinds are kept for each worker; the one that was seen longest ago makes room.
pub const ERRORS_MAX: usize = 64;

/// So much of an error's text is shown, in bytes.
const TEXT_MAX: usize = 300;

/// Of a node's own text, which scripts may have worded.
const NODE_TEXT_MAX: usize = 120;

/// Whose it was is looked at this often, for each kind.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// Errors of one kind.
#[derive(Clone, Debug)]
pub struct RecentError {
    /// Who worded it.
    pub source: ErrorSource,
    /// The last one, without what it quotes.
    pub text: String,
    /// Its kind: the same without numbers and names.
    kind: String,
    /// How often.
    pub count: u64,
    /// When first, since 1970.
    pub first: Duration,
    /// When last.
    pub last: Duration,
    /// The command that got the last one whose command was looked at.
    pub command: CommandId,
    /// Whose that was, and what it calls itself.
    pub client: Option<(String, Option<String>)>,
    looked: Duration,
}

impl RecentError {
    /// What it means, and what to do, if the page of errors says so.
    pub fn remedy(&self) -> Option<&'static Remedy> {
        remedy(&self.text)
    }
}

/// Written by its worker; the lock is taken for errors, and by whoever asks.
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Mutex<Vec<RecentError>>);

impl ErrorLog {
    /// A client got this reply, `-ERR …` or `!21\r\nERR …`.
    pub(super) fn saw(
        &self,
        source: ErrorSource,
        reply: &[u8],
        command: CommandId,
        client: impl FnOnce() -> Option<(String, Option<String>)>,
    ) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.saw_at(source, reply, command, client, now);
    }

    fn saw_at(
        &self,
        source: ErrorSource,
        reply: &[u8],
        command: CommandId,
        client: impl FnOnce() -> Option<(String, Option<String>)>,
        now: Duration,
    ) {
        let text = shown(reply, source);
        let kind = kind_of(&text);
        let kept = &mut *self.kept();
        let same = |e: &&mut RecentError| e.source == source && e.kind == kind;
        if let Some(known) = kept.iter_mut().find(same) {
            known.count += 1;
            known.last = now;
            known.text = text;
            if now.saturating_sub(known.looked) >= LOOKED_EVERY
                && let Some(client) = client()
            {
                (known.client, known.command, known.looked) = (Some(client), command, now);
            }
            return;
        }
        let new = RecentError {
            source,
            text,
            kind,
            count: 1,
            first: now,
            last: now,
            command,
            client: client(),
            looked: now,
        };
        if kept.len() < ERRORS_MAX {
            kept.push(new);
        } else if let Some(oldest) = kept.iter_mut().min_by_key(|e| e.last) {
            *oldest = new;
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<RecentError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all workers have seen, the last one first.
pub(super) fn recent<'a>(logs: impl Iterator<Item = &'a ErrorLog>) -> Vec<RecentError> {
    let mut all = Vec::<RecentError>::new();
    for log in logs {
        for error in log.kept().iter() {
            let same = |e: &&mut RecentError| e.source == error.source && e.kind == error.kind;
            match all.iter_mut().find(same) {
                None => all.push(error.clone()),
                Some(known) => {
                    let count = known.count + error.count;
                    let first = known.first.min(error.first);
                    if error.last > known.last {
                        *known = error.clone();
                    }
                    (known.count, known.first) = (count, first);
                }
            }
        }
    }
    all.sort_by_key(|error| std::cmp::Reverse(error.last));
    all.truncate(ERRORS_MAX);
    all
}

/// The text of an error reply without what it quotes: that may be a value.
fn shown(reply: &[u8], source: ErrorSource) -> String {
    let text = match reply.first() {
        Some(b'-') => &reply[1..],
        Some(b'!') => {
            let line = memchr::memchr(b'\n', reply).map_or(reply.len(), |end| end + 1);
            &reply[line..]
        }
        _ => reply,
    };
    let most = match source {
        ErrorSource::Proxy => TEXT_MAX,
        ErrorSource::Upstream => NODE_TEXT_MAX,
    };
    let mut shown = String::new();
    let mut quote = None;
    for byte in text.trim_ascii_end().iter().take(8 * most) {
        let is_quote = matches!(byte, b'\'' | b'"' | b'`');
        match quote {
            Some(open) if open == *byte => {
                quote = None;
                shown.push('…');
                shown.push(char::from(*byte));
            }
            Some(_) => {}
            None => {
                // `don't` opens nothing.
                let within = shown.ends_with(|c: char| c.is_ascii_alphanumeric());
                if is_quote && !within {
                    quote = Some(*byte);
                }
                shown.extend(
                    byte.escape_ascii()
                        .map(char::from)
                        .filter(|&c| c != '\\' || !is_quote),
                );
            }
        }
        if shown.len() >= most {
            shown.push('…');
            break;
        }
    }
    if quote.is_some() && !shown.ends_with('…') {
        shown.push('…');
    }
    shown
}

/// Words with digits in them are what differs.
fn kind_of(text: &str) -> String {
    let words = text.split(' ');
    let words = words.map(|word| match word.bytes().any(|b| b.is_ascii_digit()) {
        true => "…",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &ErrorLog, reply: &str, at: u64) {
        let client = || Some((format!("client {at}"), None));
        let source = match reply.contains("slotway") {
            true => ErrorSource::Proxy,
            false => ErrorSource::Upstream,
        };
        log.saw_at(
            source,
            reply.as_bytes(),
            CommandId::OTHER,
            client,
            Duration::from_millis(at),
        );
    }

    #[test]
    fn errors_of_a_kind_are_one_and_the_last_one_is_shown() {
        let (one, two) = (ErrorLog::default(), ErrorLog::default());
        say(
            &one,
            "-CLUSTERDOWN slotway: the primary of slot 77 is unreachable; try again later\r\n",
            1,
        );
        say(
            &two,
            "-CLUSTERDOWN slotway: the primary of slot 3 is unreachable; try again later\r\n",
            2_000,
        );
        say(
            &one,
            "-CLUSTERDOWN slotway: the primary of slot 5 is unreachable; try again later\r\n",
            1_500,
        );
        say(&one, "!21\r\nSYNTAX invalid syntax\r\n", 1_600);
        let all = recent([&one, &two].into_iter());
        assert_eq!(all.len(), 2);
        assert_eq!(
            (
                all[0].count,
                all[0].first.as_millis(),
                all[0].last.as_millis()
            ),
            (3, 1, 2_000)
        );
        assert!(all[0].text.contains("slot 3 "), "{}", all[0].text);
        assert_eq!(all[0].client, Some(("client 2000".into(), None)));
        assert!(all[0].remedy().is_some());
        assert_eq!(
            (all[1].text.as_str(), all[1].remedy()),
            ("SYNTAX invalid syntax", None)
        );
    }

    #[test]
    fn what_is_quoted_is_not_shown() {
        for (reply, expected) in [
            (
                "-ERR unknown command 'GTE', with args beginning with: 'secret' 'x' \r\n",
                "ERR unknown command '…', with args beginning with: '…' '…'",
            ),
            (
                "-ERR unknown command `x`, with args beginning with: `a\r\n",
                "ERR unknown command `…`, with args beginning with: `…",
            ),
            (
                "-CROSSSLOT Keys in request don't hash to the same slot (slotway: 'a', 'b')\r\n",
                "CROSSSLOT Keys in request don't hash to the same slot (slotway: '…', '…')",
            ),
            ("-ERR \u{1b}[31m<b>\r\n", "ERR \\x1b[31m<b>"),
        ] {
            assert_eq!(shown(reply.as_bytes(), ErrorSource::Proxy), expected);
        }
        let long = format!("-ERR {}", "word ".repeat(1_000));
        assert!(shown(long.as_bytes(), ErrorSource::Upstream).len() <= NODE_TEXT_MAX + 8);
    }

    #[test]
    fn invented_errors_do_not_take_more_room() {
        let log = ErrorLog::default();
        for n in 0..1_000_u32 {
            let letters: String = n.to_string().bytes().map(|b| char::from(b + 49)).collect();
            say(&log, &format!("-{letters} x\r\n"), u64::from(n));
        }
        let all = recent([&log].into_iter());
        assert_eq!(all.len(), ERRORS_MAX);
        assert_eq!(all[0].last, Duration::from_millis(999));
        assert_eq!(
            all[ERRORS_MAX - 1].last,
            Duration::from_millis(1_000 - ERRORS_MAX as u64)
        );
    }
}
