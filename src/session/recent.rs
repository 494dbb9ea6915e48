//! Replies that are given again for a moment: INFO, which monitoring asks for all the time and every shard has to
//! answer. A command that changes all nodes ends it: who empties the database sees that at once. Owned by a worker's
//! context; `fan_out` asks it before it sends, `answer` tells it what came.

use crate::resp::Proto;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// For how long a reply is given again.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Questions whose replies are kept. Monitoring asks two or three.
const REPLIES_MAX: usize = 8;

/// Longest question that is kept, in bytes.
const QUESTION_BYTES_MAX: usize = 256;

/// Longest reply that is kept, in bytes.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// What makes two replies the same: the request's bytes, the protocol, and the port the client came to, which is in
/// the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    request: Box<[u8]>,
    proto: Proto,
    port: u16,
}

impl Question {
    /// `None` if it is too long to be kept.
    pub(super) fn new(request: &[u8], proto: Proto, port: u16) -> Option<Self> {
        (request.len() <= QUESTION_BYTES_MAX).then(|| Self {
            request: request.into(),
            proto,
            port,
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    replies: Vec<(Question, Instant, Bytes)>,
    /// What was asked until then is not kept.
    outdated: Option<Instant>,
}

impl Recent {
    /// The reply this question had a moment ago.
    pub(super) fn get(&mut self, question: &Question, now: Instant) -> Option<Bytes> {
        self.forget_old(now);
        let known = self.replies.iter().find(|(known, ..)| known == question);
        known.map(|(.., reply)| reply.clone())
    }

    /// Keeps the reply to a question that was asked at `asked`; errors are not kept.
    pub(super) fn put(&mut self, question: Question, asked: Instant, reply: &[u8]) {
        self.replies.retain(|(known, ..)| *known != question);
        if self.outdated.is_some_and(|outdated| asked <= outdated) {
            return;
        }
        if reply.len() > REPLY_BYTES_MAX || matches!(reply.first(), None | Some(b'-' | b'!')) {
            return;
        }
        if self.replies.len() == REPLIES_MAX {
            self.replies.remove(0);
        }
        let reply = Bytes::copy_from_slice(reply);
        self.replies.push((question, asked, reply));
    }

    /// Drops everything, the replies to come of what has been asked included: all nodes are being changed.
    pub(super) fn outdate(&mut self, now: Instant) {
        self.replies.clear();
        self.outdated = Some(now);
    }

    fn forget_old(&mut self, now: Instant) {
        self.replies
            .retain(|(_, at, _)| now.saturating_duration_since(*at) < AGE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(request: &str) -> Question {
        Question::new(request.as_bytes(), Proto::Resp2, 1).unwrap()
    }

    #[test]
    fn a_reply_is_given_again_for_a_second_to_the_same_question() {
        let start = Instant::now();
        let mut recent = Recent::default();
        let info = question("INFO");
        assert_eq!(recent.get(&info, start), None);
        recent.put(info.clone(), start, b"$1\r\na\r\n");
        let almost = start + AGE_MAX - Duration::from_nanos(1);
        assert_eq!(
            recent.get(&info, almost).as_deref(),
            Some(&b"$1\r\na\r\n"[..])
        );
        assert_eq!(recent.get(&question("INFO cpu"), almost), None);
        for (proto, port) in [(Proto::Resp3, 1), (Proto::Resp2, 2)] {
            let other = Question::new(b"INFO", proto, port).unwrap();
            assert_eq!(recent.get(&other, almost), None);
        }
        assert_eq!(recent.get(&info, start + AGE_MAX), None);
        assert!(recent.replies.is_empty());
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_given_again_after_it() {
        let start = Instant::now();
        let mut recent = Recent::default();
        let info = question("INFO");
        recent.put(info.clone(), start, b"+before\r\n");
        recent.outdate(start);
        assert_eq!(recent.get(&info, start), None);
        recent.put(info.clone(), start, b"+late\r\n");
        assert_eq!(recent.get(&info, start), None);
        let later = start + Duration::from_nanos(1);
        recent.put(info.clone(), later, b"+after\r\n");
        assert!(recent.get(&info, later).is_some());
    }

    #[test]
    fn it_holds_only_so_much() {
        let now = Instant::now();
        let mut recent = Recent::default();
        for i in 0..100 {
            recent.put(question(&format!("INFO {i}")), now, b"+x\r\n");
        }
        assert_eq!(recent.replies.len(), REPLIES_MAX);
        assert!(recent.get(&question("INFO 99"), now).is_some());
        recent.put(question("INFO 99"), now, b"-ERR no\r\n");
        assert_eq!(recent.get(&question("INFO 99"), now), None);
        let long = vec![b'x'; REPLY_BYTES_MAX + 1];
        recent.put(question("INFO"), now, &long);
        assert_eq!(recent.get(&question("INFO"), now), None);
        assert_eq!(Question::new(&[b'x'; 257], Proto::Resp2, 1), None);
    }
}
