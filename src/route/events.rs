//! Which channels carry events that each node makes of its own keys: those come from one node only, so whoever wants
//! them all must be subscribed at every primary.

const PREFIXES: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// Whether a channel carries such events.
pub fn is_event(channel: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| channel.starts_with(prefix))
}

/// Whether some channel that carries such events matches this pattern.
pub fn can_match(pattern: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| reaches(pattern, prefix))
}

/// Whether something that begins with `prefix` matches: whatever is left of the pattern behind it, some text does.
fn reaches(mut pattern: &[u8], prefix: &[u8]) -> bool {
    for &byte in prefix {
        match *pattern {
            [b'*', ..] => return true,
            [b'?', ref rest @ ..] => pattern = rest,
            [b'[', ref class @ ..] => match in_class(class, byte) {
                Some(rest) => pattern = rest,
                None => return false,
            },
            [b'\\', literal, ref rest @ ..] | [literal, ref rest @ ..] if literal == byte => {
                pattern = rest;
            }
            _ => return false,
        }
    }
    true
}

/// Whether a class takes `byte`, as the servers read classes; then what follows it.
fn in_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let rest = loop {
        match *class {
            [b'\\', literal, ref rest @ ..] => {
                found |= literal == byte;
                class = rest;
            }
            [b']', ref rest @ ..] => break rest,
            // An open class ends with the pattern.
            [] => break class,
            [from, b'-', to, ref rest @ ..] => {
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                class = rest;
            }
            [literal, ref rest @ ..] => {
                found |= literal == byte;
                class = rest;
            }
        }
    };
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_could_match_an_event_is_known() {
        for pattern in [
            "*",
            "__key*",
            "__keyspace@0__:*",
            "__keyevent@*__:expired",
            "?_key*",
            "[_a]_keyevent@0__:del",
            "[^a]*",
            "_\\_keyspace@*",
            "*:expired",
            "__key[a-z]pace@0__:x",
            "__key[z-a]vent@0__:x",
        ] {
            assert!(can_match(pattern.as_bytes()), "{pattern}");
        }
        for pattern in [
            "",
            "__key",
            "news.*",
            "_",
            "[a-z]*",
            "[^_]*",
            "__keyspace",
            "\\*",
            "__keyspace[0-9]*",
        ] {
            assert!(!can_match(pattern.as_bytes()), "{pattern}");
        }
        assert!(is_event(b"__keyspace@0__:a") && is_event(b"__keyevent@0__:set"));
        assert!(!is_event(b"__keyspace") && !is_event(b"news"));
    }
}
