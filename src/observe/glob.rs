//! Patterns for keys as the servers' KEYS and SCAN have them: `*`, `?`, `[abc]`, `[^a-c]`, `\` before what stands for itself.
//! Takes time in proportion to pattern and text, whatever they are.

/// Whether the text fits the pattern.
pub(super) fn fits(pattern: &[u8], text: &[u8]) -> bool {
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
        ] {
            for text in fitting {
                assert!(
                    fits(pattern.as_bytes(), text.as_bytes()),
                    "{pattern} {text}"
                );
            }
            for text in others {
                assert!(
                    !fits(pattern.as_bytes(), text.as_bytes()),
                    "{pattern} {text}"
                );
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
