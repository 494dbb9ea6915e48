//! The reply scanner, RESP2 and RESP3: however a node's bytes are cut, replies end at the same places and the same
//! error ends them; depth is bounded; nothing declared is allocated; and both redis-protocol and a slow second reading
//! find the same ends.

use slotway::resp::{self, Proto, REPLY_DEPTH_MAX, ReplyError, ReplyScanner};

use super::reference;

pub const WORDS: &[&str] = &[
    "+OK\r\n",
    "-ERR x\r\n",
    ":1\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "$1\r\na\r\n",
    "$0\r\n\r\n",
    "*0\r\n",
    "*1\r\n",
    "*2\r\n",
    "%1\r\n",
    "~1\r\n",
    ">1\r\n",
    "|1\r\n",
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",1.5\r\n",
    ",inf\r\n",
    "(12\r\n",
    "!3\r\nERR\r\n",
    "=5\r\ntxt:a\r\n",
    "$?\r\n",
    ";1\r\n",
    ".\r\n",
    "\r\n",
    "\r",
    "\n",
    "4294967295",
    "4294967296",
    "9999999999",
    "-2",
    "+1",
    "01",
    "\0",
];

/// Inputs longer than this are cut at so many places only.
const CUTS_MAX: usize = 200;

/// Heap memory that scanning may take, whatever comes: a counter of 8 bytes for each level.
const HEAP_MAX: u64 = 4 * 8 * REPLY_DEPTH_MAX as u64;

/// Every integer of so many digits is one of 64 bits.
const INTEGER_DIGITS: usize = 18;

pub fn run(input: &[u8]) {
    let whole = held(input, [input.len()]);
    assert_eq!(held(input, 1..=input.len()), whole, "byte by byte");
    let step = input.len() / CUTS_MAX + 1;
    for cut in (0..input.len()).step_by(step) {
        assert_eq!(held(input, [cut, input.len()]), whole, "cut at {cut}");
    }
    let heap = allocation_counter::measure(|| {
        let _ = ReplyScanner::new().scan(input);
    });
    assert!(
        heap.bytes_max <= HEAP_MAX,
        "{} bytes of heap",
        heap.bytes_max
    );
    let mut begin = 0;
    for &end in &whole.ends {
        one(&input[begin..end]);
        begin = end;
    }
    let next = reference::reply(&input[begin..], REPLY_DEPTH_MAX);
    assert_eq!(next, None, "the second reading finds one more: {whole:?}");
    // What is no whole reply is none for those that look into replies, whatever it is.
    views(&input[begin..], false);
}

/// The ends of the replies in a stream, and how it ended.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Held {
    pub ends: Vec<usize>,
    pub error: Option<ReplyError>,
}

/// Scans a stream of which so many bytes have arrived, one length after the other.
pub fn held(stream: &[u8], arrivals: impl IntoIterator<Item = usize>) -> Held {
    let mut scanner = ReplyScanner::new();
    let mut held = Held::default();
    let mut begin = 0;
    for arrived in arrivals {
        loop {
            match scanner.scan(&stream[begin..arrived]) {
                Err(error) => {
                    held.error = Some(error);
                    let again = scanner.scan(&stream[begin..arrived]);
                    assert_eq!(again, Err(error), "whoever comes again finds the same");
                    return held;
                }
                Ok(None) => break,
                Ok(Some(len)) => {
                    assert!(len > 0, "it must go on");
                    begin += len;
                    held.ends.push(begin);
                }
            }
        }
    }
    held
}

/// One whole reply.
fn one(bytes: &[u8]) {
    let second = reference::reply(bytes, REPLY_DEPTH_MAX);
    let second = second.unwrap_or_else(|| panic!("the second reading: {}", bytes.escape_ascii()));
    assert_eq!(second.len, bytes.len(), "the second reading");
    assert_eq!(
        ReplyScanner::with_depth(second.depth).scan(bytes),
        Ok(Some(bytes.len()))
    );
    let in_resp2 = ReplyScanner::new().speaking(Proto::Resp2).scan(bytes);
    match second.is_resp2 {
        true => assert_eq!(in_resp2, Ok(Some(bytes.len())), "in RESP2"),
        false => assert!(
            matches!(in_resp2, Err(ReplyError::OnlyResp3(_))),
            "in RESP2: {in_resp2:?}"
        ),
    }
    if let Some(less) = second.depth.checked_sub(1) {
        let shallow = ReplyScanner::with_depth(less).scan(bytes);
        assert_eq!(shallow, Err(ReplyError::TooDeep), "{} levels", second.depth);
    }
    views(bytes, true);
    for len in [1, bytes.len() / 2, bytes.len() - 1] {
        assert_eq!(
            reference::reply(&bytes[..len], REPLY_DEPTH_MAX),
            None,
            "no reply ends within another"
        );
    }
    redis_protocol_agrees(bytes);
}

/// Those that look into a reply, on a whole one or on anything.
fn views(bytes: &[u8], whole: bool) {
    let (elements, integer) = (resp::elements(bytes), resp::integer(bytes));
    let (bulk, null) = (resp::bulk(bytes), resp::is_null(bytes));
    if !whole {
        return;
    }
    let alike = [elements.is_some(), integer.is_some(), bulk.is_some(), null];
    let kinds = alike.iter().filter(|is| **is).count();
    assert!(kinds <= 1, "it is one of them: {alike:?}");
    if let Some(elements) = elements {
        let mut at = elements.first().map_or(bytes.len(), |first| first.start);
        for range in elements {
            assert_eq!(range.start, at, "one behind the other");
            let element = &bytes[range.clone()];
            assert_eq!(ReplyScanner::new().scan(element), Ok(Some(element.len())));
            at = range.end;
        }
        assert_eq!(at, bytes.len(), "nothing is left");
    }
}

/// redis-protocol decodes what we took, at the same length, except for what it is known to read otherwise.
fn redis_protocol_agrees(bytes: &[u8]) {
    // It has integers of 64 bits only, and no type of RESP3 here.
    let digits = bytes
        .split(|byte| !byte.is_ascii_digit())
        .map(<[u8]>::len)
        .max();
    if digits.is_some_and(|digits| digits > INTEGER_DIGITS) {
        return;
    }
    if !bytes.iter().any(|byte| b"%~>|_#,(!=".contains(byte)) {
        let theirs = redis_protocol::resp2::decode::decode_range(bytes);
        let theirs = theirs.map(|found| found.map(|(_, len)| len));
        assert_eq!(
            theirs.ok().flatten(),
            Some(bytes.len()),
            "redis-protocol, RESP2"
        );
    }
}
