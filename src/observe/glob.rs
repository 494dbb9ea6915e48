//! Patterns for keys as the servers' KEYS and SCAN have them: `*`, `?`, `[abc]`, `[^a-c]`, `\` before what stands for itself.
//! Takes time in proportion to pattern and text, whatever they are.

/// A pattern, made ready: most begin with what stands for itself, and most keys differ there.
#[derive(Debug)]
pub(super) struct Pattern {
    prefix: Box<[u8]>,
    /// What follows; `None`: anything.
    rest: Option<Box<[u8]>>,
}

impl Pattern {
    pub(super) fn new(pattern: &[u8]) -> Self {
        let special = |c: &u8| matches!(c, b'*' | b'?' | b'[' | b'\\');
        let (prefix, rest) =
            pattern.split_at(pattern.iter().position(special).unwrap_or(pattern.len()));
        Self {
            prefix: prefix.into(),
            rest: (rest != b"*").then(|| rest.into()),
        }
    }

    /// Whether a text with this first byte, or the empty one, may fit.
    pub(super) fn may_begin_with(&self, first: Option<u8>) -> bool {
        let known = self.prefix.first().copied();
        known.is_none() || known == first
    }

    /// How a text must begin that fits.
    pub(super) fn beginning(&self) -> Beginning {
        let known = self.prefix.len().min(HEAD_BYTES);
        Beginning {
            head: Head::of(&self.prefix),
            mask: Head::of(&[0xFF; HEAD_BYTES][..known]).0,
        }
    }

    /// Whether the text, which begins as it must, fits.
    #[inline]
    pub(super) fn fits(&self, text: &[u8]) -> bool {
        let ends = self.rest.is_none() && self.prefix.len() <= HEAD_BYTES;
        match ends {
            true => text.len() >= self.prefix.len(),
            false => self.fits_whole(text),
        }
    }

    #[inline(never)]
    fn fits_whole(&self, text: &[u8]) -> bool {
        let Some(behind) = text.strip_prefix(&*self.prefix) else {
            return false;
        };
        self.rest.as_ref().is_none_or(|rest| fits(rest, behind))
    }
}

/// The first bytes of what fits a pattern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    head: Head,
    /// Which bits of it are known.
    mask: u64,
}

impl Beginning {
    #[inline]
    pub(super) fn is(&self, head: Head) -> bool {
        (head.0 ^ self.head.0) & self.mask == 0
    }
}

/// Bytes of a text that are compared at once.
const HEAD_BYTES: usize = size_of::<u64>();

/// The first bytes of a text, those that are missing as 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head(u64);

impl Head {
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        if let Some(first) = text.first_chunk() {
            return Self(u64::from_le_bytes(*first));
        }
        let bytes = text.iter().rev();
        Self(bytes.fold(0, |head, &byte| head << 8 | u64::from(byte)))
    }
}

/// Whether the text fits the pattern.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Behind the last `*`, and how far into the text that has been tried.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
        } else if let Some(len) = one(&pattern[p..], text[t]) {
            p += len;
            t += 1;
        } else if let Some((behind, tried)) = star {
            star = Some((behind, tried + 1));
            (p, t) = (behind, tried + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// How long the beginning of the pattern is that fits this one byte; `None` if it does not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => class(rest, byte).map(|len| 1 + len),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// The same for what follows `[`, up to and with `]`; one that does not end reaches to the end of the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.first() == Some(&b'^');
    let (mut at, mut found) = (usize::from(negated), false);
    loop {
        match &pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, text: &str) -> bool {
        let fits = fits(pattern.as_bytes(), text.as_bytes());
        let ready = Pattern::new(pattern.as_bytes());
        let begins = ready.beginning().is(Head::of(text.as_bytes()));
        assert_eq!(
            begins && ready.fits(text.as_bytes()),
            fits,
            "{pattern} {text}"
        );
        fits
    }

    #[test]
    fn patterns_fit_as_with_the_servers() {
        for (pattern, fitting, others) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a:b"], &[]),
            ("sess:*", &["sess:", "sess:1"], &["sess", "xsess:1"]),
            (
                "*:cart",
                &["1:cart", ":cart", "a:cart:cart"],
                &["1:carts", "cart"],
            ),
            (
                "a*b*c",
                &["abc", "aXbYc", "abbcc", "abcbc"],
                &["ab", "acb", "abcd"],
            ),
            ("u?er", &["user", "u?er"], &["uer", "uxxer"]),
            ("[a-c]1", &["a1", "c1"], &["d1", "1", "-1"]),
            ("[^a-c]1", &["d1"], &["a1", "1"]),
            ("[z-x]", &["y"], &["a"]),
            ("[]]", &[], &["]", "a"]),
            ("[\\]x]", &["]", "x"], &["\\"]),
            ("\\*", &["*"], &["a"]),
            ("\\", &["\\"], &["a"]),
            ("[ab", &["a", "b"], &["c", "["]),
            (
                "longer:than:8:*",
                &["longer:than:8:", "longer:than:8:x"],
                &["longer:than:9:x", "longer:t", "longer"],
            ),
            (
                "exact:name:x",
                &["exact:name:x"],
                &["exact:name:", "exact:name:xy"],
            ),
            ("short", &["short"], &["shor", "short\0"]),
        ] {
            for text in fitting {
                assert!(fit(pattern, text), "{pattern} {text}");
            }
            for text in others {
                assert!(!fit(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "a*".repeat(100) + "b";
        let text = "a".repeat(20_000);
        assert!(!fits(pattern.as_bytes(), text.as_bytes()));
    }
}
