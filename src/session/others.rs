//! Commands about the proxy's own clients: CLIENT INFO, LIST, KILL, UNBLOCK. Those about clients of all workers go
//! through the mailbox, driven by a task: nothing behind them is read until they are answered, so that a client that
//! kills and then lists sees what it has done.

use super::dispatch::Taken;
use super::replies::About;
use super::unblock::{Outcome, Unblock};
use super::{Life, Mailbox, Session, SessionContext, State, Unanswered};
use crate::command::{CommandId, CommandTable, Local};
use crate::local::{Activity, ClientFilter, Portrait, Release, unblock};
use crate::modes::pubsub::Kind;
use crate::observe::ErrorSource;
use crate::resp::{Proto, Request, encode};
use std::rc::Rc;
use tokio::sync::oneshot;

/// What all workers are asked.
enum Question {
    List(ClientFilter),
    /// With options: the answer is how many there were.
    Kill(ClientFilter),
    /// The old form, by one address: the answer is an error if there was none.
    KillOne(ClientFilter),
    Unblock(u64, Unblock),
}

impl Session {
    #[cold]
    pub(super) fn about_clients(
        self: &Rc<Self>,
        state: &mut State,
        local: Local,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        if local == Local::ClientInfo {
            let reply = self.own_line(state);
            self.reply_in_turn(state, about, &reply);
            return Taken::Yes;
        }
        let question = match self.question_about_clients(local, request) {
            Ok(question) => question,
            Err(mut text) => {
                // It may quote the client, and a reply of one line must stay one.
                text.iter_mut()
                    .filter(|byte| matches!(byte, b'\r' | b'\n'))
                    .for_each(|byte| *byte = b' ');
                return self.refuse_with(state, about, &text);
            }
        };
        let asker = (state.client.id(), state.client.proto());
        let mailbox = self.context.shared.mailbox.clone();
        let me = Rc::downgrade(self);
        self.drive(state, about, async move {
            let (reply, asker_dies) = carry_out(question, mailbox, asker).await;
            if let Some(me) = me.upgrade() {
                if reply.first() == Some(&b'-') {
                    me.context.metrics.error(ErrorSource::Proxy, &reply);
                }
                if asker_dies {
                    // The reply is still written.
                    me.finish();
                }
            }
            reply.into()
        })
    }

    /// The error's text, without the leading `-`, if the request is wrong.
    fn question_about_clients(
        &self,
        local: Local,
        request: &Request<'_>,
    ) -> Result<Question, Vec<u8>> {
        let server = self.context.shared.server.load();
        let env = self.context.env(&server);
        match local {
            Local::ClientKill if request.len() == 3 => {
                let filter = ClientFilter::of_address(request.arg(2));
                Ok(Question::KillOne(filter))
            }
            Local::ClientKill => ClientFilter::of_kill(request, &env).map(Question::Kill),
            Local::ClientUnblock => match unblock(request, &env.server.name) {
                Ok((id, Release::Timeout)) => Ok(Question::Unblock(id, Unblock::Timeout)),
                Ok((id, Release::Error)) => Ok(Question::Unblock(id, Unblock::Error)),
                Err(text) => Err(text.into()),
            },
            _ => ClientFilter::of_list(request, &env).map(Question::List),
        }
    }

    fn own_line(&self, state: &State) -> Vec<u8> {
        let server = self.context.shared.server.load();
        let env = self.context.env(&server);
        let table = self.context.table();
        let mut line = String::new();
        let activity = self.activity(state, name_of(&table, state.last_command));
        Portrait::of(&state.client, activity, env.now).line(&env, &mut line);
        let mut reply = Vec::new();
        encode::verbatim(&mut reply, &line, state.client.proto());
        reply
    }

    fn activity<'a>(&self, state: &State, command: &'a str) -> Activity<'a> {
        let (received, sent) = self.traffic.get();
        let now = self.context.clock.now();
        Activity {
            idle: now.saturating_duration_since(self.last_active.get()),
            command,
            commands: state.replies.next_seq(),
            received,
            sent,
            input: self.input_held.get(),
            output: state.output.len(),
            subscribed: [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| {
                let subscriptions = state.subscriptions.as_ref();
                subscriptions.map_or(0, |s| s.book.of_kind(kind))
            }),
            monitor: state.monitor.is_some(),
            queued: state.transaction.as_ref().map(|queue| queue.len()),
            watched: state.watched(),
            blocked: state.is_blocked(),
        }
    }

    /// Releases the client if it waits in a blocking command; what comes of it is told when the command ends.
    fn unblock(&self, how: Unblock) -> Option<oneshot::Receiver<Outcome>> {
        let state = self.state.borrow();
        let signal = state.signal()?;
        signal.raise(how)
    }
}

impl SessionContext {
    /// The number and the line of every client that the filter means.
    fn lines(&self, filter: &ClientFilter, asker: u64) -> Vec<(u64, String)> {
        let server = self.shared.server.load();
        let env = self.env(&server);
        let table = self.table();
        let mut lines = Vec::new();
        for session in self.sessions() {
            let state = session.state.borrow();
            let activity = session.activity(&state, name_of(&table, state.last_command));
            let portrait = Portrait::of(&state.client, activity, env.now);
            if state.life != Life::Dead && filter.matches(&portrait, asker) {
                let mut line = String::new();
                portrait.line(&env, &mut line);
                lines.push((state.client.id(), line));
            }
        }
        lines
    }

    /// Ends every client that the filter means, except the asker; says how many there were, and whether the asker is
    /// one of them.
    fn kill(&self, filter: &ClientFilter, asker: u64) -> (usize, bool) {
        let server = self.shared.server.load();
        let now = self.env(&server).now;
        let (mut killed, mut me) = (0, false);
        for session in self.sessions() {
            let state = &mut *session.state.borrow_mut();
            let activity = session.activity(state, "");
            let portrait = Portrait::of(&state.client, activity, now);
            if state.life == Life::Dead || !filter.matches(&portrait, asker) {
                continue;
            }
            killed += 1;
            if state.client.id() == asker {
                me = true;
            } else {
                session.die(state);
            }
        }
        (killed, me)
    }
}

impl Mailbox {
    /// How many clients there are, and the lines of CLIENT LIST of the first `most` of them, those who came first first.
    pub async fn clients(&self, most: usize) -> Result<(usize, Vec<String>), Unanswered> {
        let told = self.ask(move |worker| {
            let mut lines = worker.lines(&ClientFilter::default(), 0);
            let count = lines.len();
            lines.sort_unstable_by_key(|(id, _)| *id);
            lines.truncate(most);
            (count, lines)
        });
        let (counts, lines): (Vec<_>, Vec<_>) = told.await?.into_iter().unzip();
        let mut lines: Vec<(u64, String)> = lines.into_iter().flatten().collect();
        lines.sort_unstable_by_key(|(id, _)| *id);
        lines.truncate(most);
        let lines = lines.into_iter().map(|(_, line)| line);
        Ok((counts.iter().sum(), lines.collect()))
    }
}

/// The reply, and whether the asker is among those that were killed.
async fn carry_out(question: Question, mailbox: Mailbox, asker: (u64, Proto)) -> (Vec<u8>, bool) {
    let (asker, proto) = asker;
    let mut out = Vec::new();
    match answer(question, &mailbox, asker, proto, &mut out).await {
        Ok(asker_dies) => (out, asker_dies),
        Err(error) => {
            encode::error(&mut out, &format!("ERR slotway: {error}"));
            (out, false)
        }
    }
}

async fn answer(
    question: Question,
    mailbox: &Mailbox,
    asker: u64,
    proto: Proto,
    out: &mut Vec<u8>,
) -> Result<bool, Unanswered> {
    match question {
        Question::List(filter) => {
            let lines = mailbox.ask(move |worker| worker.lines(&filter, asker));
            encode::verbatim(out, &in_order(lines.await?), proto);
            Ok(false)
        }
        Question::Kill(filter) => {
            let killed = mailbox.ask(move |worker| worker.kill(&filter, asker));
            let (count, asker_dies) = sum(&killed.await?);
            encode::integer(out, count as i64);
            Ok(asker_dies)
        }
        Question::KillOne(filter) => {
            let killed = mailbox.ask(move |worker| worker.kill(&filter, asker));
            let (count, asker_dies) = sum(&killed.await?);
            match count {
                0 => encode::error(out, "ERR No such client"),
                _ => encode::simple(out, "OK"),
            }
            Ok(asker_dies)
        }
        Question::Unblock(id, how) => {
            let asked = mailbox.ask(move |worker| worker.session(id)?.unblock(how));
            let outcome = match asked.await?.into_iter().flatten().next() {
                // The command may have got its reply meanwhile, and its client may have hung up.
                Some(answer) => answer.await.unwrap_or(Outcome::Missed),
                None => Outcome::Missed,
            };
            match outcome {
                Outcome::Released => encode::integer(out, 1),
                Outcome::Missed => encode::integer(out, 0),
                Outcome::Refused => encode::error(out, NOT_LET),
                Outcome::Unknown => encode::error(out, NOT_TOLD),
            }
            Ok(false)
        }
    }
}

/// The lines of all workers, in the order in which the clients came.
fn in_order(lines: Vec<Vec<(u64, String)>>) -> String {
    let mut lines: Vec<(u64, String)> = lines.into_iter().flatten().collect();
    lines.sort_unstable_by_key(|(id, _)| *id);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn sum(killed: &[(usize, bool)]) -> (usize, bool) {
    let count = killed.iter().map(|(count, _)| count).sum();
    (count, killed.iter().any(|(_, me)| *me))
}

fn name_of(table: &CommandTable, id: CommandId) -> &str {
    match table.metric_names().get(id.index()) {
        Some(name) if id != CommandId::OTHER => name,
        _ => "NULL",
    }
}

const NOT_LET: &str = "ERR slotway: the node at which the client is blocked did not let slotway release it; allow slotway's \
                       user CLIENT ID and CLIENT UNBLOCK there";
const NOT_TOLD: &str = "ERR slotway: the node at which the client is blocked does not answer; it is not known whether it \
                        will release the client";
