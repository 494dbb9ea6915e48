//! What was published and who heard it. Whatever happens, nobody hears what was not published there; while slots merely
//! move, everybody hears all of it once, in order.

use crate::plan::Channel;
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub struct Channels {
    /// Numbers of the commands that published, in the order in which nodes executed them.
    published: BTreeMap<Channel, Vec<usize>>,
    /// By client.
    heard: BTreeMap<(usize, Channel), Hearing>,
}

/// What there is of one client's subscription, positions in `published`.
#[derive(Default)]
struct Hearing {
    /// Commands that subscribe or unsubscribe, without an answer yet.
    asked: usize,
    subscribed: bool,
    /// From here on nothing may be missing; `None` if that cannot be told.
    complete_from: Option<usize>,
    /// The next one that is expected, after those that were heard.
    next: usize,
    missed: Vec<usize>,
}

type Verdict = Result<(), String>;

impl Channels {
    pub fn published(&mut self, channel: Channel, number: usize) {
        self.published.entry(channel).or_default().push(number);
    }

    fn count(&self, channel: Channel) -> usize {
        self.published.get(&channel).map_or(0, Vec::len)
    }

    /// A client asks for a subscription, or for its end.
    pub fn asked(&mut self, client: usize, channel: Channel) {
        let hearing = self.heard.entry((client, channel)).or_default();
        hearing.asked += 1;
        hearing.complete_from = None;
    }

    /// The client has its answer.
    pub fn answered(&mut self, client: usize, channel: Channel, subscribed: bool) {
        let count = self.count(channel);
        let hearing = self.heard.entry((client, channel)).or_default();
        hearing.asked -= 1;
        hearing.subscribed = subscribed;
        if subscribed && hearing.asked == 0 {
            hearing.complete_from = Some(count);
        }
    }

    /// The client was refused what it asked for: things are as they were.
    pub fn refused(&mut self, client: usize, channel: Channel) {
        let hearing = self.heard.entry((client, channel)).or_default();
        hearing.asked -= 1;
    }

    /// A message has come: `strict` if it must be the next one.
    pub fn hears(
        &mut self,
        client: usize,
        channel: Channel,
        number: usize,
        strict: bool,
    ) -> Verdict {
        let all = self.published.get(&channel);
        let at = all.and_then(|all| all.iter().position(|n| *n == number));
        let Some(at) = at else {
            return Err(format!(
                "client {client} heard {number} on {channel:?}, where nobody published it"
            ));
        };
        let hearing = self.heard.entry((client, channel)).or_default();
        if !hearing.subscribed && hearing.asked == 0 {
            return Err(format!(
                "client {client} heard {number} on {channel:?}, and has not subscribed"
            ));
        }
        if strict && at < hearing.next {
            return Err(format!(
                "client {client} heard {number} on {channel:?} twice, or too late"
            ));
        }
        if let Some(from) = hearing.complete_from {
            hearing.missed.extend(hearing.next.max(from)..at);
        }
        hearing.next = hearing.next.max(at + 1);
        Ok(())
    }

    /// Whether a subscriber that is still there has heard the latest of everything.
    pub fn is_up_to_date(&self, is_there: impl Fn(usize) -> bool) -> Verdict {
        for ((client, channel), hearing) in &self.heard {
            let count = self.count(*channel);
            if is_there(*client) && hearing.subscribed && hearing.asked == 0 && hearing.next < count
            {
                return Err(format!(
                    "client {client} does not hear what is published to {channel:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether nothing is missing in between, of the channels in question.
    pub fn is_complete(&self, concerned: impl Fn(&Channel) -> bool) -> Verdict {
        let missing = self.heard.iter().find_map(|((client, channel), hearing)| {
            let first = hearing.missed.first()?;
            concerned(channel).then(|| {
                let number = self.published.get(channel).and_then(|all| all.get(*first));
                format!("client {client} has not heard {number:?} on {channel:?}")
            })
        });
        missing.map_or(Ok(()), Err)
    }
}
