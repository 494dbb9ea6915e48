//! The commands slotway answers itself, exactly as one standalone server would: the handshake, what belongs to
//! the client's own connection, and what would give the cluster away. Pure: a request and the client's state in,
//! a reply and an [`Effect`] out. The session owns the [`Client`], has checked the arity, and does what the
//! effect says.
//!
//! The words are those of redis 7.0 and valkey 9.1; where the two differ, those of the server that is behind us
//! if clients can tell, else the newer ones.

mod access;
mod client;
mod filter;
mod own;
mod portrait;
#[cfg(test)]
mod tests;
mod unblock;

pub use client::{Access, Address, Client, Replies};
pub use filter::ClientFilter;
pub use portrait::{Activity, Portrait};
pub use unblock::{Release, unblock};

use crate::command::Local;
use crate::config::Secret;
use crate::resp::{Request, encode, strict_integer};
use crate::topology::ServerInfo;
use std::time::Duration;

/// What an answer needs to know besides the client.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// What the servers behind us are.
    pub server: &'a ServerInfo,
    /// What clients must authenticate with; `None`: anyone may come in.
    pub password: Option<&'a Secret>,
    /// The time of day, since 1970.
    pub now: Duration,
}

/// What the session does after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Delivers the reply, unless the client has turned replies off.
    Reply,
    /// Delivers the reply whatever the client has said before: it has just turned replies on again.
    ReplyAlways,
    /// Delivers nothing: there is no reply.
    Silent,
    /// Delivers as with [`Effect::Reply`], then closes.
    Close,
}

/// For what concerns the clients of all workers, where it is asked in between other things.
const ASKED_ALONE: &str =
    "ERR slotway: other clients can be listed, killed and unblocked only outside of MULTI";

/// What every other command gets until the client has authenticated.
pub const NOAUTH: &str = "NOAUTH Authentication required.";

/// The same for EXEC.
pub const NOAUTH_EXEC: &str =
    "EXECABORT Transaction discarded because of: NOAUTH Authentication required.";

/// Whether a client that has not authenticated may use this.
pub fn before_auth(command: Local) -> bool {
    matches!(
        command,
        Local::Auth | Local::Hello | Local::Quit | Local::Reset
    )
}

/// Appends the reply to `request`, whose arity has been checked, and changes `client` as it says.
pub fn answer(
    command: Local,
    request: &Request<'_>,
    client: &mut Client,
    env: &Env<'_>,
    out: &mut Vec<u8>,
) -> Effect {
    match command {
        Local::Ping => ping(request, out),
        Local::Echo => encode::bulk(out, request.arg(1)),
        Local::Quit => {
            encode::simple(out, "OK");
            return Effect::Close;
        }
        Local::Reset => {
            // It ends CLIENT REPLY OFF, but has no reply itself behind SKIP.
            let was_off = client.replies == Replies::Off;
            client.reset(env.password.is_none());
            encode::simple(out, "RESET");
            if was_off {
                return Effect::ReplyAlways;
            }
        }
        Local::Hello => access::hello(request, client, env, out),
        Local::Auth => access::auth(request, client, env, out),
        Local::Select => select(request.arg(1), out),
        Local::ClientSetname => own::set_name(request.arg(2), client, out),
        Local::ClientGetname => own::name(client, out),
        Local::ClientSetinfo => own::set_info(request.arg(2), request.arg(3), client, out),
        Local::ClientId => encode::integer(out, client.id() as i64),
        Local::ClientInfo => {
            let activity = Activity {
                command: "client|info",
                ..Activity::default()
            };
            own::info(&Portrait::of(client, activity, env.now), env, out);
        }
        Local::ClientList | Local::ClientKill | Local::ClientUnblock => {
            encode::error(out, ASKED_ALONE);
        }
        Local::ClientUnpause => encode::simple(out, "OK"),
        Local::AclWhoami => encode::bulk(out, access::DEFAULT_USER),
        Local::ClientCapa => own::capabilities(request, client, out),
        Local::ClientNoEvict => own::switch(request.arg(2), &mut client.no_evict, out),
        Local::ClientNoTouch => own::switch(request.arg(2), &mut client.no_touch, out),
        Local::ClientReply => return own::replies(request.arg(2), client, out),
        Local::Time => time(env.now, out),
        Local::Role => role(out),
        Local::Readonly | Local::Readwrite if is_valkey(env) => encode::simple(out, "OK"),
        Local::ClusterAny | Local::Readonly | Local::Readwrite | Local::Asking => {
            encode::error(out, "ERR This instance has cluster support disabled");
        }
    }
    Effect::Reply
}

fn ping(request: &Request<'_>, out: &mut Vec<u8>) {
    match request.len() {
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, request.arg(1)),
        _ => encode::error(out, "ERR wrong number of arguments for 'ping' command"),
    }
}

/// Only database 0 exists: what a server with `databases 1` says.
fn select(index: &[u8], out: &mut Vec<u8>) {
    match strict_integer(index).map(i32::try_from) {
        Some(Ok(0)) => encode::simple(out, "OK"),
        Some(Ok(_)) => encode::error(out, "ERR DB index is out of range"),
        Some(Err(_)) => encode::error(
            out,
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        None => encode::error(out, NOT_AN_INTEGER),
    }
}

fn time(now: Duration, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    encode::array(out, 2);
    encode::bulk(out, digits.format(now.as_secs()).as_bytes());
    encode::bulk(out, digits.format(now.subsec_micros()).as_bytes());
}

/// A primary without replicas.
fn role(out: &mut Vec<u8>) {
    encode::array(out, 3);
    encode::bulk(out, b"master");
    encode::integer(out, 0);
    encode::array(out, 0);
}

fn is_valkey(env: &Env<'_>) -> bool {
    env.server.name == "valkey"
}

/// As HELLO names the server. Until a node has been asked, the oldest that slotway works with.
fn server_name<'a>(env: &Env<'a>) -> &'a str {
    if env.server.name.is_empty() {
        "redis"
    } else {
        &env.server.name
    }
}

fn server_version<'a>(env: &Env<'a>) -> &'a str {
    if env.server.version.is_empty() {
        "7.0.0"
    } else {
        &env.server.version
    }
}

/// An error that quotes what the client sent, which need not be text. Line ends become blanks.
fn quoting_error(out: &mut Vec<u8>, before: &str, quoted: &[u8], after: &str) {
    out.push(b'-');
    out.extend_from_slice(before.as_bytes());
    out.extend(quoted.iter().map(|&byte| {
        if matches!(byte, b'\r' | b'\n') {
            b' '
        } else {
            byte
        }
    }));
    out.extend_from_slice(after.as_bytes());
    out.extend_from_slice(b"\r\n");
}

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX_ERROR: &str = "ERR syntax error";
