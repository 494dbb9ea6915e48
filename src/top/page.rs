//! One look at the proxy: its metrics, its topology, hot keys and slow commands, as its admin endpoint answers. Whoever answers is not trusted:
//! what is read is bounded, and must look like a slotway.

use super::scrape::Scrape;
use super::seen::Seen;
use super::text::clean;
use super::topology::Topology;
use crate::admin::{ask, is_ok};
use std::net::SocketAddr;
use std::time::Instant;

/// Longest answer that is read; metrics of 1,000 nodes and all commands are some megabytes.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Longest part of an answer that is shown where it is not what was expected.
const SHOWN_MAX: usize = 60;

/// What the proxy told, and when.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) scrape: Scrape,
    pub(super) topology: Topology,
    pub(super) seen: Seen,
    pub(super) at: Instant,
}

impl Page {
    /// Asks for all; the error says who did not answer, and may be shown in a terminal.
    pub(super) fn ask(addr: SocketAddr) -> Result<Self, String> {
        let get = |path: &str| {
            let answer = ask(addr, path, ANSWER_BYTES_MAX)
                .map_err(|error| format!("no answer from {addr}: {error}"))?;
            body(&answer).map_err(|problem| format!("{addr}{path}: {problem}"))
        };
        let metrics = get("/metrics")?;
        let at = Instant::now();
        let scrape = Scrape::parse(&metrics);
        if !scrape.is_of_slotway() {
            return Err(format!("{addr}/metrics: these are no metrics of slotway"));
        }
        let topology = Topology::parse(&get("/topology")?)
            .ok_or_else(|| format!("{addr}/topology: this is no JSON"))?;
        let seen = Seen::parse(&get("/hotkeys")?, &get("/slowlog")?);
        Ok(Self {
            scrape,
            topology,
            seen,
            at,
        })
    }
}

/// The body of an answer that is whole and says 200.
fn body(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP, or cut off")?;
    if !is_ok(head) {
        let status = head.lines().next().unwrap_or_default();
        return Err(format!("it says {}", clean(status, SHOWN_MAX)));
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) if body.len() < length => Err("the answer is cut off".to_owned()),
        _ => Ok(body.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_counts() {
        let whole = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(body(whole), Ok("abc".to_owned()));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nabc"), Ok("abc".to_owned()));
        for wrong in [
            "",
            "HTTP/1.0 200 OK",
            &whole[..whole.len() - 1],
            "HTTP/1.0 503 no\r\n\r\nabc",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
        let evil = body("HTTP/1.0 500 \u{1b}[2J\r\n\r\n").unwrap_err();
        assert_eq!(evil, "it says HTTP/1.0 500 ?[2J");
    }
}
