//! `CLIENT UNBLOCK id [TIMEOUT|ERROR]`: what it asks for.

use crate::resp::{Request, strict_integer};

/// How a blocked client is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// As if its time were up.
    Timeout,
    /// With an error.
    Error,
}

/// The client's number, 0 for one that nobody has, and how; or the error's text, without the leading `-`.
pub fn unblock(request: &Request<'_>, server: &str) -> Result<(u64, Release), &'static str> {
    let how = match (request.len(), request.get(3)) {
        (4, Some(word)) if word.eq_ignore_ascii_case(b"timeout") => Release::Timeout,
        (4, Some(word)) if word.eq_ignore_ascii_case(b"error") => Release::Error,
        (4, _) => return Err(WRONG_REASON),
        (5.., _) if server != "valkey" => return Err(WRONG_LENGTH),
        _ => Release::Timeout,
    };
    let id = strict_integer(request.arg(2)).ok_or(super::NOT_AN_INTEGER)?;
    // No client has a number below 1.
    Ok((u64::try_from(id).unwrap_or(0), how))
}

const WRONG_REASON: &str = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
const WRONG_LENGTH: &str =
    "ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.";
