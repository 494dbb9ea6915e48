//! CLIENT: what a client says and asks about its own connection.

use super::client::{Address, Replies, Switch};
use super::{Client, Effect, Env, SYNTAX_ERROR, quoting_error};
use crate::resp::{Proto, encode};

/// CLIENT SETNAME. The empty name is none.
pub(super) fn set_name(name: &[u8], client: &mut Client, out: &mut Vec<u8>) {
    if !is_name(name) {
        return encode::error(out, NAME_ERROR);
    }
    client.name = to_name(name);
    encode::simple(out, "OK");
}

/// CLIENT GETNAME
pub(super) fn name(client: &Client, out: &mut Vec<u8>) {
    match &client.name {
        Some(name) => encode::bulk(out, name.as_bytes()),
        None => encode::null(out, client.proto()),
    }
}

/// CLIENT SETINFO LIB-NAME|LIB-VER value
pub(super) fn set_info(attribute: &[u8], value: &[u8], client: &mut Client, out: &mut Vec<u8>) {
    let field = if attribute.eq_ignore_ascii_case(b"lib-name") {
        &mut client.lib_name
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        &mut client.lib_version
    } else {
        return quoting_error(out, "ERR Unrecognized option '", attribute, "'");
    };
    if !is_name(value) {
        return quoting_error(
            out,
            "ERR ",
            attribute,
            " cannot contain spaces, newlines or special characters.",
        );
    }
    *field = to_name(value);
    encode::simple(out, "OK");
}

/// CLIENT NO-EVICT and NO-TOUCH ON|OFF
pub(super) fn switch(word: &[u8], switch: &mut Switch, out: &mut Vec<u8>) {
    *switch = if word.eq_ignore_ascii_case(b"on") {
        Switch::On
    } else if word.eq_ignore_ascii_case(b"off") {
        Switch::Off
    } else {
        return encode::error(out, SYNTAX_ERROR);
    };
    encode::simple(out, "OK");
}

/// CLIENT REPLY ON|OFF|SKIP
pub(super) fn replies(word: &[u8], client: &mut Client, out: &mut Vec<u8>) -> Effect {
    if word.eq_ignore_ascii_case(b"on") {
        client.replies = Replies::On;
        encode::simple(out, "OK");
        Effect::ReplyAlways
    } else if word.eq_ignore_ascii_case(b"off") {
        client.replies = Replies::Off;
        Effect::Silent
    } else if word.eq_ignore_ascii_case(b"skip") {
        if client.replies == Replies::On {
            client.replies = Replies::SkipNext;
        }
        Effect::Silent
    } else {
        encode::error(out, SYNTAX_ERROR);
        Effect::Reply
    }
}

/// CLIENT INFO: the fields of a server's line; those about its buffers are 0.
pub(super) fn info(client: &Client, env: &Env<'_>, out: &mut Vec<u8>) {
    let (peer, local) = match client.address() {
        Address::Tcp { peer, local } => (peer.to_string(), local.to_string()),
        Address::Unix(path) => (format!("{path}:0"), format!("{path}:0")),
    };
    let unix = matches!(client.address(), Address::Unix(_));
    let set = [
        (unix, 'U'),
        (client.no_evict == Switch::On, 'e'),
        (client.no_touch == Switch::On, 'T'),
    ];
    let mut flags: String = set
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    if flags.is_empty() {
        flags.push('N');
    }
    let line = format!(
        "id={} addr={peer} laddr={local} fd=0 name={} age={} idle=0 flags={flags} db=0 sub=0 psub=0 ssub=0 \
         multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 \
         events=r cmd=client|info user=default redir=-1 resp={} lib-name={} lib-ver={}\n",
        client.id(),
        client.name.as_deref().unwrap_or_default(),
        env.now.saturating_sub(client.since()).as_secs(),
        if client.proto() == Proto::Resp3 { 3 } else { 2 },
        client.lib_name.as_deref().unwrap_or_default(),
        client.lib_version.as_deref().unwrap_or_default(),
    );
    encode::verbatim(out, &line, client.proto());
}

/// Whether these bytes may be a name: nothing that would break the lines names appear in.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// The name these bytes are; none if there are none.
pub(super) fn to_name(bytes: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.into())
}

pub(super) const NAME_ERROR: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
