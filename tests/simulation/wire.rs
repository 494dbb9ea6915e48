//! RESP as the model's clients and nodes speak it: independent of the proxy's own scanners.

/// The end of the line that begins at `at`, past its CRLF.
fn line(bytes: &[u8], at: usize) -> Option<usize> {
    let end = bytes[at..].windows(2).position(|w| w == b"\r\n")?;
    Some(at + end + 2)
}

fn number(bytes: &[u8]) -> i64 {
    let text = std::str::from_utf8(bytes).expect("a number");
    text.trim_end().parse().expect("a number")
}

/// Length of the whole reply at the front.
pub fn reply_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut left = 1i64;
    while left > 0 {
        left -= 1;
        let end = line(bytes, at)?;
        match bytes[at] {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' => at = end,
            b'$' => {
                let len = number(&bytes[at + 1..end]);
                at = end + if len < 0 { 0 } else { len as usize + 2 };
            }
            b'*' | b'>' => {
                left += number(&bytes[at + 1..end]).max(0);
                at = end;
            }
            b'%' => {
                left += 2 * number(&bytes[at + 1..end]);
                at = end;
            }
            odd => panic!(
                "no reply begins with {odd:?}: {:?}",
                String::from_utf8_lossy(bytes)
            ),
        }
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}

/// The elements of an array reply, each with its bytes.
pub fn elements(reply: &[u8]) -> Vec<&[u8]> {
    let mut at = line(reply, 0).unwrap_or(reply.len());
    let mut all = Vec::new();
    while at < reply.len() {
        let Some(len) = reply_len(&reply[at..]) else {
            break;
        };
        all.push(&reply[at..at + len]);
        at += len;
    }
    all
}

/// The content of a bulk string; `None` is nil.
pub fn content(reply: &[u8]) -> Option<&[u8]> {
    let at = line(reply, 0)?;
    (reply.len() >= at + 2).then(|| &reply[at..reply.len() - 2])
}

/// The words of the whole request at the front, and its length.
pub fn request(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = line(bytes, 0)?;
    assert_eq!(bytes[0], b'*', "{:?}", String::from_utf8_lossy(bytes));
    let count = number(&bytes[1..at]);
    let mut words = Vec::new();
    for _ in 0..count {
        let start = line(bytes, at)?;
        assert_eq!(bytes[at], b'$', "{:?}", String::from_utf8_lossy(bytes));
        let len = number(&bytes[at + 1..start]) as usize;
        at = start + len + 2;
        words.push(bytes.get(start..at)?[..len].to_vec());
    }
    Some((words, at))
}

pub fn put_request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend(format!("*{}\r\n", words.len()).bytes());
    words.iter().for_each(|word| out.extend(bulk(word)));
}

pub fn bulk(word: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat()
}

pub fn integer(n: i64) -> Vec<u8> {
    format!(":{n}\r\n").into_bytes()
}

pub fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", items.len()).into_bytes();
    items.iter().for_each(|item| out.extend(item));
    out
}

/// The version that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    #[default]
    Two,
    Three,
}

impl Proto {
    pub fn nil(self) -> &'static [u8] {
        match self {
            Self::Two => b"$-1\r\n",
            Self::Three => b"_\r\n",
        }
    }

    pub fn nil_array(self) -> &'static [u8] {
        match self {
            Self::Two => b"*-1\r\n",
            Self::Three => b"_\r\n",
        }
    }
}

pub const OK: &[u8] = b"+OK\r\n";

/// Whether a reply is a message of a subscription.
pub fn is_message(reply: &[u8]) -> bool {
    if !matches!(reply[0], b'*' | b'>') {
        return false;
    }
    let first = elements(reply).first().and_then(|item| content(item));
    matches!(first, Some(b"message" | b"smessage"))
}
