//! CLIENT: what a client says and asks about its own connection.

use super::client::{Replies, Switch};
use super::portrait::Portrait;
use super::{Client, Effect, Env, SYNTAX_ERROR, quoting_error};
use crate::resp::{Request, encode};

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

/// `CLIENT CAPA capability …`: unknown ones do not matter. Nobody is ever redirected, so that nothing changes.
pub(super) fn capabilities(request: &Request<'_>, client: &mut Client, out: &mut Vec<u8>) {
    if request
        .args()
        .skip(2)
        .any(|word| word.eq_ignore_ascii_case(b"redirect"))
    {
        client.redirect = Switch::On;
    }
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

/// CLIENT INFO
pub(super) fn info(portrait: &Portrait<'_>, env: &Env<'_>, out: &mut Vec<u8>) {
    let mut line = String::new();
    portrait.line(env, &mut line);
    encode::verbatim(out, &line, portrait.client.proto());
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
