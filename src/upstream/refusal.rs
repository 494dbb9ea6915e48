//! Which error replies say "not executed, try elsewhere or later", and what else they say.
//!
//! A script may return any error text, so for EVAL and FCALL these are hints that need a confirmation
//! (invariant 7); the session sees to that.

use crate::cluster::{NodeAddr, Slot};

/// A reply that says that a command was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The slot belongs to another node for good. The host is `None` where the node left it out: it means
    /// "the node that says so", on that port.
    Moved(Slot, Target),
    /// The key may be on another node while its slot migrates: ask there, this once.
    Ask(Slot, Target),
    /// The keys of the command are on both sides of a migration.
    TryAgain,
    /// The node does not serve (all of) its slots now.
    ClusterDown,
    /// A replica that lost its primary.
    MasterDown,
    /// The node still loads its data.
    Loading,
    /// The node is a replica now, and this was a write.
    ReadOnly,
}

/// Where a redirection points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or IP; `None` means the host of the node that answered.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
}

impl Target {
    /// Whether it is no address.
    pub fn is_nowhere(&self) -> bool {
        self.port == 0 || self.host.as_deref() == Some("?")
    }

    /// The address meant, if `from` said so.
    pub fn addr(&self, from: &NodeAddr) -> NodeAddr {
        NodeAddr::new(self.host.as_deref().unwrap_or(from.host()), self.port)
    }
}

impl Refusal {
    /// Whether it is a redirection by a node that does not know itself where the other one is.
    pub fn leads_nowhere(&self) -> bool {
        match self {
            Self::Moved(_, to) | Self::Ask(_, to) => to.is_nowhere(),
            _ => false,
        }
    }
}

/// What an error reply (`-…\r\n`) refuses, if it is a refusal. Strict: a redirection with anything odd about it
/// is not one, and is passed on as it is.
pub fn classify(reply: &[u8]) -> Option<Refusal> {
    let text = reply.strip_prefix(b"-")?.strip_suffix(b"\r\n")?;
    let word_end = memchr::memchr(b' ', text).unwrap_or(text.len());
    match &text[..word_end] {
        b"MOVED" => redirection(&text[word_end..]).map(|(slot, to)| Refusal::Moved(slot, to)),
        b"ASK" => redirection(&text[word_end..]).map(|(slot, to)| Refusal::Ask(slot, to)),
        b"TRYAGAIN" => Some(Refusal::TryAgain),
        b"CLUSTERDOWN" => Some(Refusal::ClusterDown),
        b"MASTERDOWN" => Some(Refusal::MasterDown),
        b"LOADING" => Some(Refusal::Loading),
        b"READONLY" => Some(Refusal::ReadOnly),
        _ => None,
    }
}

/// ` <slot> <host>:<port>`. A node that does not know where another is says `?` for the host, or port 0: no map has such an
/// address, so it is as one that is not known yet.
fn redirection(rest: &[u8]) -> Option<(Slot, Target)> {
    let rest = std::str::from_utf8(rest).ok()?.strip_prefix(' ')?;
    let (slot, addr) = rest.split_once(' ')?;
    let slot = Slot::new(slot.parse().ok()?)?;
    let (host, port) = addr.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host {
        "" => None,
        host => Some(
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
        ),
    };
    Some((slot, Target { host, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: Option<&str>, port: u16) -> Target {
        Target {
            host: host.map(str::to_owned),
            port,
        }
    }

    #[test]
    fn redirections_are_read_strictly() {
        let slot = Slot::new(3999).unwrap();
        assert_eq!(
            classify(b"-MOVED 3999 127.0.0.1:6381\r\n"),
            Some(Refusal::Moved(slot, to(Some("127.0.0.1"), 6381)))
        );
        assert_eq!(
            classify(b"-ASK 3999 ::1:6381\r\n"),
            Some(Refusal::Ask(slot, to(Some("::1"), 6381)))
        );
        assert_eq!(
            classify(b"-MOVED 3999 :6381\r\n"),
            Some(Refusal::Moved(slot, to(None, 6381)))
        );
        assert_eq!(
            classify(b"-ASK 3999 ?:0\r\n"),
            Some(Refusal::Ask(slot, to(Some("?"), 0)))
        );
        for odd in [
            &b"-MOVED 16384 h:1\r\n"[..],
            b"-MOVED 1 h\r\n",
            b"-MOVED x h:1\r\n",
            b"-MOVED 1 h:99999\r\n",
            b"-MOVEDX 1 h:1\r\n",
            b"-ERR MOVED 1 h:1\r\n",
            b"-MOVED\r\n",
        ] {
            assert_eq!(classify(odd), None, "{}", odd.escape_ascii());
        }
    }

    #[test]
    fn refusals_are_told_by_their_first_word() {
        assert_eq!(
            classify(b"-LOADING Redis is loading\r\n"),
            Some(Refusal::Loading)
        );
        assert_eq!(
            classify(b"-CLUSTERDOWN Hash slot not served\r\n"),
            Some(Refusal::ClusterDown)
        );
        assert_eq!(classify(b"-WRONGTYPE x\r\n"), None);
    }
}
