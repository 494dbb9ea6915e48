//! A second reading of replies, as the protocol's specification has them: recursive, slow, and with no line in common
//! with the scanner under test.

/// One whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its length in bytes.
    pub len: usize,
    /// Most aggregates inside each other, attributes included.
    pub depth: usize,
    /// Whether RESP2 has all of its types.
    pub is_resp2: bool,
}

/// The reply at the beginning of `bytes`; `None` if there is no whole and valid one, at most `depth_max` deep.
pub fn reply(bytes: &[u8], depth_max: usize) -> Option<Whole> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, line) = (bytes[0], bytes.get(1..end)?);
    let after = end + 2;
    let is_resp2 = b"+-:$*".contains(&kind);
    let scalar = Whole {
        len: after,
        depth: 0,
        is_resp2,
    };
    match kind {
        b'+' | b'-' | b'(' => Some(scalar),
        b':' => {
            let digits = line
                .strip_prefix(b"-")
                .or(line.strip_prefix(b"+"))
                .unwrap_or(line);
            let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            number.then_some(scalar)
        }
        b',' => {
            let text = std::str::from_utf8(line).ok()?;
            let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            (!text.is_empty() && text.chars().all(fits)).then_some(scalar)
        }
        b'#' => (line == b"t" || line == b"f").then_some(scalar),
        b'_' => line.is_empty().then_some(scalar),
        b'$' | b'*' if line == b"-1" => Some(scalar),
        b'$' | b'!' | b'=' => {
            let len = usize::try_from(length(line)?).ok()?;
            let total = after.checked_add(len)?.checked_add(2)?;
            let text = bytes.get(after..total)?.strip_suffix(b"\r\n")?;
            let verbatim = kind != b'=' || text.get(3) == Some(&b':');
            verbatim.then_some(Whole {
                len: total,
                depth: 0,
                is_resp2,
            })
        }
        b'*' | b'~' | b'>' => {
            aggregate(bytes, after, length(line)?, depth_max).map(|whole| Whole {
                is_resp2: whole.is_resp2 && is_resp2,
                ..whole
            })
        }
        b'%' => aggregate(bytes, after, length(line)? * 2, depth_max).map(|whole| Whole {
            is_resp2: false,
            ..whole
        }),
        b'|' => {
            let attributes = aggregate(bytes, after, length(line)? * 2, depth_max)?;
            let about = reply(&bytes[attributes.len..], depth_max)?;
            Some(Whole {
                len: attributes.len + about.len,
                depth: attributes.depth.max(about.depth),
                is_resp2: false,
            })
        }
        _ => None,
    }
}

fn aggregate(bytes: &[u8], mut at: usize, elements: u64, depth_max: usize) -> Option<Whole> {
    let below = depth_max.checked_sub(1)?;
    let (mut depth, mut is_resp2) = (0, true);
    for _ in 0..elements {
        let element = reply(bytes.get(at..)?, below)?;
        at += element.len;
        depth = depth.max(element.depth);
        is_resp2 &= element.is_resp2;
    }
    Some(Whole {
        len: at,
        depth: depth + 1,
        is_resp2,
    })
}

/// A length as it is written: no sign, no leading zero, 32 bits.
fn length(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number.into())
}
