//! HELLO and AUTH: which protocol, and who may come in.

use super::client::Access;
use super::own::{NAME_ERROR, is_name, to_name};
use super::{Client, Env, SYNTAX_ERROR, is_valkey, quoting_error, server_name, server_version};
use crate::resp::{Proto, Request, encode, strict_integer};

/// `HELLO [version [AUTH user password] [SETNAME name]]`. Nothing changes unless all of it is right.
pub(super) fn hello(request: &Request<'_>, client: &mut Client, env: &Env<'_>, out: &mut Vec<u8>) {
    let proto = match request.get(1).map(strict_integer) {
        None => client.proto,
        Some(Some(2)) => Proto::Resp2,
        Some(Some(3)) => Proto::Resp3,
        Some(Some(_)) => return encode::error(out, "NOPROTO unsupported protocol version"),
        Some(None) => {
            return encode::error(
                out,
                "ERR Protocol version is not an integer or out of range",
            );
        }
    };
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = request.get(at) {
        if option.eq_ignore_ascii_case(b"auth") && at + 2 < request.len() {
            login = Some((request.arg(at + 1), request.arg(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && at + 1 < request.len() {
            if !is_name(request.arg(at + 1)) {
                return encode::error(out, NAME_ERROR);
            }
            name = Some(request.arg(at + 1));
            at += 2;
        } else {
            return quoting_error(out, "ERR Syntax error in HELLO option '", option, "'");
        }
    }
    match login {
        Some((user, password)) if !may_enter(user, password, env) => {
            return encode::error(out, WRONGPASS);
        }
        Some(_) => client.access = Access::Granted,
        None if client.access == Access::Asked => return encode::error(out, &unauthenticated(env)),
        None => {}
    }
    client.proto = proto;
    if let Some(name) = name {
        client.name = to_name(name);
    }
    describe(client, env, out);
}

/// The map that HELLO answers.
fn describe(client: &Client, env: &Env<'_>, out: &mut Vec<u8>) {
    let proto = client.proto;
    encode::map(out, 7, proto);
    let text = |out: &mut Vec<u8>, name: &str, value: &str| {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    };
    text(out, "server", server_name(env));
    text(out, "version", server_version(env));
    encode::bulk(out, b"proto");
    encode::integer(out, if proto == Proto::Resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, client.id() as i64);
    text(out, "mode", "standalone");
    text(out, "role", "master");
    encode::bulk(out, b"modules");
    encode::array(out, env.server.modules.len());
    for module in &env.server.modules {
        // What the nodes do not say of theirs is not said here.
        let fields = 2 + usize::from(module.path.is_some()) + usize::from(module.args.is_some());
        encode::map(out, fields, proto);
        text(out, "name", &module.name);
        encode::bulk(out, b"ver");
        encode::integer(out, module.version);
        if let Some(path) = &module.path {
            text(out, "path", path);
        }
        if let Some(args) = &module.args {
            encode::bulk(out, b"args");
            encode::array(out, args.len());
            args.iter()
                .for_each(|arg| encode::bulk(out, arg.as_bytes()));
        }
    }
}

/// `AUTH [user] password`
pub(super) fn auth(request: &Request<'_>, client: &mut Client, env: &Env<'_>, out: &mut Vec<u8>) {
    let (user, password) = match request.len() {
        2 if env.password.is_none() => return encode::error(out, NO_PASSWORD),
        2 => (DEFAULT_USER, request.arg(1)),
        3 => (request.arg(1), request.arg(2)),
        _ => return encode::error(out, SYNTAX_ERROR),
    };
    if may_enter(user, password, env) {
        client.access = Access::Granted;
        encode::simple(out, "OK");
    } else {
        encode::error(out, WRONGPASS);
    }
}

/// There is one user. Without a password configured any is right, as with a server's `nopass`.
fn may_enter(user: &[u8], password: &[u8], env: &Env<'_>) -> bool {
    let known = env.password.is_none_or(|secret| secret.matches(password));
    user == DEFAULT_USER && known
}

fn unauthenticated(env: &Env<'_>) -> String {
    let usage = if is_valkey(env) {
        "HELLO <proto> AUTH"
    } else {
        "HELLO AUTH"
    };
    format!(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the {usage} <user> <pass> \
         option can be used to authenticate the client and select the RESP protocol version at the same time"
    )
}

pub(super) const DEFAULT_USER: &[u8] = b"default";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";
