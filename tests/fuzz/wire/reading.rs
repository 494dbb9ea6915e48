//! A second reading of requests, as the protocol's documentation has them: slow, from the beginning each time, and with
//! no line in common with the decoder under test.

/// What is at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A request, and how many bytes it takes.
    Request(Vec<Vec<u8>>, usize),
    /// So many bytes that say nothing.
    Nothing(usize),
    /// The beginning of a request, or the end of the bytes.
    Incomplete,
    /// No request: the connection is to be closed.
    Broken,
}

/// Before a client has said its password, it may ask for so many arguments of so many bytes.
const PREAUTH: (i64, i64) = (10, 16 * 1024);
const ALWAYS: (i64, i64) = (1_048_576, 512 << 20);

/// Reads the next request. Lines are shorter than any limit.
pub fn next(bytes: &[u8], authenticated: bool) -> Next {
    let (arguments_max, argument_max) = if authenticated { ALWAYS } else { PREAUTH };
    if bytes.first() != Some(&b'*') {
        return line(bytes);
    }
    let (count, mut at) = match header(bytes) {
        Ok(Some(found)) => found,
        Ok(None) => return Next::Incomplete,
        Err(()) => return Next::Broken,
    };
    if count <= 0 {
        return Next::Nothing(at);
    }
    if count > arguments_max {
        return Next::Broken;
    }
    let mut args = Vec::new();
    for _ in 0..count {
        match bytes.get(at) {
            None => return Next::Incomplete,
            Some(b'$') => {}
            Some(_) => return Next::Broken,
        }
        let (len, taken) = match header(&bytes[at..]) {
            Ok(Some(found)) => found,
            Ok(None) => return Next::Incomplete,
            Err(()) => return Next::Broken,
        };
        if !(0..=argument_max).contains(&len) {
            return Next::Broken;
        }
        let start = at + taken;
        let end = start + len as usize;
        let Some(ending) = bytes.get(end..end + 2) else {
            return Next::Incomplete;
        };
        if ending != b"\r\n" {
            return Next::Broken;
        }
        args.push(bytes[start..end].to_vec());
        at = end + 2;
    }
    finished(args, at)
}

fn finished(args: Vec<Vec<u8>>, taken: usize) -> Next {
    match args
        .first()
        .map(|name| name.to_ascii_lowercase())
        .as_deref()
    {
        None => Next::Nothing(taken),
        Some(b"post" | b"host:") => Next::Broken,
        Some(_) => Next::Request(args, taken),
    }
}

/// A byte, an integer, CRLF: the integer, and how many bytes that is.
fn header(bytes: &[u8]) -> Result<Option<(i64, usize)>, ()> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\r') else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[1..end]).map_err(drop)?;
    let number: i64 = text.parse().map_err(drop)?;
    if number.to_string() != text {
        return Err(());
    }
    match bytes.get(end + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((number, end + 2))),
        Some(_) => Err(()),
    }
}

/// An inline request. A zero byte hides the end of its line.
fn line(bytes: &[u8]) -> Next {
    let stop = bytes.iter().position(|byte| matches!(byte, b'\n' | 0));
    let Some(end) = stop.filter(|at| bytes[*at] == b'\n') else {
        return Next::Incomplete;
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    match words(line) {
        Some(words) => finished(words, end + 1),
        None => Next::Broken,
    }
}

/// The words of a line with quotes; `None` if they are unbalanced.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| byte == b' ' || (9..=13).contains(&byte);
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while rest.first().is_some_and(|byte| is_space(*byte)) {
            rest = &rest[1..];
        }
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        let mut quote = None;
        loop {
            match (quote, rest) {
                (None, []) => break,
                (Some(_), []) => return None,
                // Form feeds and the like stand between words, and do not end one.
                (None, [b' ' | b'\t' | b'\r' | b'\n', ..]) => break,
                (None, [b'"' | b'\'', after @ ..]) => {
                    quote = Some(rest[0]);
                    rest = after;
                }
                (Some(b'"'), [b'\\', b'x', high, low, after @ ..])
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
                    word.push(digit(*high)? * 16 + digit(*low)?);
                    rest = after;
                }
                (Some(b'"'), [b'\\', escaped, after @ ..]) => {
                    word.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => *other,
                    });
                    rest = after;
                }
                (Some(b'\''), [b'\\', b'\'', after @ ..]) => {
                    word.push(b'\'');
                    rest = after;
                }
                (Some(mark), [byte, after @ ..]) if *byte == mark => {
                    if after.first().is_some_and(|byte| !is_space(*byte)) {
                        return None;
                    }
                    rest = after;
                    break;
                }
                (_, [byte, after @ ..]) => {
                    word.push(*byte);
                    rest = after;
                }
            }
        }
        words.push(word);
    }
}
