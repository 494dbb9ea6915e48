//! The values of the label `err`: an error's first word, at most [`PREFIXES_MAX`] different ones for the life
//! of the process, `other` beyond. Shared by all writers, so that one index means one prefix everywhere.

use std::sync::OnceLock;

/// How many different error prefixes get a name of their own.
pub const PREFIXES_MAX: usize = 64;

/// Index of everything that has no name of its own.
pub(super) const OTHER: usize = PREFIXES_MAX;

/// Longest prefix that gets a name of its own, in bytes.
const PREFIX_LEN_MAX: usize = 24;

/// Prefixes that always have a name: scripts may invent error prefixes, and must not crowd these out.
const KNOWN: &[&str] = &[
    "ERR",
    "WRONGTYPE",
    "CROSSSLOT",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "LOADING",
    "READONLY",
    "BUSY",
    "OOM",
    "NOSCRIPT",
    "EXECABORT",
    "NOREPLICAS",
    "MISCONF",
    "BUSYGROUP",
    "BUSYKEY",
    "NOGROUP",
    "NOTBUSY",
    "UNKILLABLE",
    "UNBLOCKED",
    "INPROG",
    "IOERR",
    "NOPROTO",
    "DENIED",
    "REDIRECT",
];

const _: () = assert!(KNOWN.len() < PREFIXES_MAX);

/// Which prefix has which index. Only grows; reading takes no lock.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// Those seen beyond [`KNOWN`], filled from the front.
    learnt: [OnceLock<Box<str>>; PREFIXES_MAX - KNOWN.len()],
}

impl Default for Prefixes {
    fn default() -> Self {
        Self {
            learnt: [const { OnceLock::new() }; PREFIXES_MAX - KNOWN.len()],
        }
    }
}

impl Prefixes {
    /// The index for an error reply, given as a whole reply (`-ERR …`, `!12\r\nERR …`) or as its text.
    pub(super) fn index(&self, reply: &[u8]) -> usize {
        let Some(prefix) = prefix(reply) else {
            return OTHER;
        };
        if let Some(at) = KNOWN.iter().position(|&known| known == prefix) {
            return at;
        }
        for (at, slot) in self.learnt.iter().enumerate() {
            if &**slot.get_or_init(|| prefix.into()) == prefix {
                return KNOWN.len() + at;
            }
        }
        OTHER
    }

    /// The label's value for an index.
    pub(super) fn label(&self, index: usize) -> &str {
        match KNOWN.get(index) {
            Some(known) => known,
            None => self
                .learnt
                .get(index - KNOWN.len())
                .and_then(OnceLock::get)
                .map_or("other", |learnt| learnt),
        }
    }
}

/// The first word of an error if it is worded as servers do: capital letters and `_`. Anything else may be
/// part of a key or a value, which must not become a label.
fn prefix(reply: &[u8]) -> Option<&str> {
    let text = match reply.first()? {
        b'-' => &reply[1..],
        b'!' => &reply[memchr::memchr(b'\n', reply)? + 1..],
        _ => reply,
    };
    let len = text
        .iter()
        .take(PREFIX_LEN_MAX + 1)
        .take_while(|&&b| b.is_ascii_uppercase() || b == b'_')
        .count();
    let ends = matches!(text.get(len), None | Some(b' ' | b'\r' | b'\n'));
    if len == 0 || len > PREFIX_LEN_MAX || !ends {
        return None;
    }
    std::str::from_utf8(&text[..len]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(prefixes: &Prefixes, reply: &str) -> String {
        prefixes.label(prefixes.index(reply.as_bytes())).to_owned()
    }

    #[test]
    fn the_first_word_is_the_label() {
        let p = Prefixes::default();
        for (reply, expected) in [
            ("-ERR unknown command\r\n", "ERR"),
            ("-WRONGTYPE Operation\r\n", "WRONGTYPE"),
            ("!21\r\nNOSCRIPT no matching\r\n", "NOSCRIPT"),
            ("CROSSSLOT Keys", "CROSSSLOT"),
            ("-MY_OWN error\r\n", "MY_OWN"),
            ("-BARE\r\n", "BARE"),
        ] {
            assert_eq!(label(&p, reply), expected, "{reply}");
        }
    }

    #[test]
    fn what_may_be_data_never_becomes_a_label() {
        let p = Prefixes::default();
        let long = format!("-{} x\r\n", "A".repeat(PREFIX_LEN_MAX + 1));
        for reply in [
            "",
            "-\r\n",
            "-user:17 is locked\r\n",
            "-KEY1 x\r\n",
            "-Err x\r\n",
            "!5",
            &long,
        ] {
            assert_eq!(label(&p, reply), "other", "{reply}");
        }
        let longest = "A".repeat(PREFIX_LEN_MAX);
        assert_eq!(label(&p, &format!("-{longest} x\r\n")), longest);
    }

    #[test]
    fn invented_prefixes_are_bounded_and_do_not_crowd_out_known_ones() {
        let p = Prefixes::default();
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..1000u32 {
            let name: String = (0..3)
                .map(|d| (b'A' + (i / 26u32.pow(d) % 26) as u8) as char)
                .collect();
            seen.insert(label(&p, &format!("-X{name} y\r\n")));
        }
        assert_eq!(seen.len(), PREFIXES_MAX - KNOWN.len() + 1);
        assert!(seen.contains("other"));
        assert_eq!(label(&p, "-LOADING x\r\n"), "LOADING");
        assert_eq!(
            label(&p, "-XAAA y\r\n"),
            "XAAA",
            "an index keeps its meaning"
        );
    }
}
