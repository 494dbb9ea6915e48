//! What a lane asks of its own over its connection: PING with a word that no other reply has by accident. Whatever else comes
//! in the place of its answer is the answer to another request: a reply was lost, or is one too many.

use super::FaultKind;
use crate::io::{Micros, unguessable};
use std::io::Write;

/// PING as others ask it.
pub const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Hexadecimal digits of the word.
const WORD_LEN: usize = 16;

const HEAD: &[u8] = b"*2\r\n$4\r\nPING\r\n";
const ANSWER_LEN: usize = "$16\r\n".len() + WORD_LEN + 2;
const QUESTION_LEN: usize = HEAD.len() + ANSWER_LEN;

/// The last one asked.
pub(super) struct Question {
    asked: Micros,
    /// Whether nothing has come in its place yet.
    open: bool,
    /// Whether its answer may still come.
    awaited: bool,
    /// From `$` on.
    answer: [u8; ANSWER_LEN],
}

impl Question {
    /// None was asked yet.
    pub(super) fn none(now: Micros) -> Self {
        Self {
            asked: now,
            open: false,
            awaited: false,
            answer: [0; ANSWER_LEN],
        }
    }

    /// A new one: the bytes of the request. The one before must have been answered.
    pub(super) fn ask(&mut self, now: Micros) -> [u8; QUESTION_LEN] {
        // Nobody may guess it: a client whose reply it is would be taken for a fault of the node's.
        let word = unguessable();
        let mut question = [0; QUESTION_LEN];
        let (head, answer) = question.split_at_mut(HEAD.len());
        head.copy_from_slice(HEAD);
        let mut rest = &mut answer[..];
        // As long as the array, always.
        let _ = write!(rest, "${WORD_LEN}\r\n{word:016x}\r\n");
        self.answer.copy_from_slice(answer);
        self.asked = now;
        self.open = true;
        self.awaited = true;
        question
    }

    /// For how long none was asked, in microseconds; `None` while one has no answer.
    pub(super) fn rests_since(&self, now: Micros) -> Option<u32> {
        (!self.open).then(|| now.since(self.asked))
    }

    /// In its place came that. An error, such as `-LOADING`, is an answer too, or another's: then its own still comes.
    pub(super) fn take(&mut self, reply: &[u8]) -> Result<(), FaultKind> {
        self.open = false;
        if reply == self.answer {
            self.awaited = false;
            return Ok(());
        }
        match reply[0] {
            b'-' => Ok(()),
            _ => Err(FaultKind::OF_ANOTHER),
        }
    }

    /// Whether what came in another's place is the answer to the one that is open.
    #[inline(always)]
    pub(super) fn is_answered_by(&self, reply: &[u8]) -> bool {
        self.awaited && reply == self.answer
    }

    /// The connection is lost, and whatever was asked over it.
    pub(super) fn lost(&mut self) {
        self.open = false;
        self.awaited = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    #[test]
    fn only_its_own_answer_fits() {
        let mut question = Question::none(Micros::default());
        let first = question.ask(Micros::default()).to_vec();
        let word = String::from_utf8(first[first.len() - WORD_LEN - 2..first.len() - 2].to_vec());
        let mut expected = Vec::new();
        encode::command(&mut expected, &["PING", &word.unwrap()]);
        assert_eq!(first, expected);
        let answer = first[HEAD.len()..].to_vec();
        assert_eq!(question.rests_since(Micros::default()), None);
        assert!(question.is_answered_by(&answer));
        assert!(question.take(&answer).is_ok());
        assert!(!question.is_answered_by(&answer), "no more");
        assert_eq!(question.rests_since(Micros::default()), Some(0));
        let _ = question.ask(Micros::default());
        assert!(question.take(&answer).is_err(), "the one before had it");
        let _ = question.ask(Micros::default());
        let own = question.answer;
        assert!(question.take(b"-LOADING\r\n").is_ok());
        assert!(question.is_answered_by(&own), "that was another's");
        let _ = question.ask(Micros::default());
        assert!(question.take(b"+PONG\r\n").is_err());
    }
}
