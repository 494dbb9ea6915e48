//! Key specifications: the servers' own description of which arguments are keys, and how it is applied.
//!
//! A specification says where to begin (an index, or behind a keyword) and how to find keys from there (a range,
//! or a number of keys that is itself an argument). Compact form, as in the snapshot: `1:0/1/0` is "begin at 1;
//! last 0, step 1, limit 0", `STREAMS@1:-1/1/2` begins behind a keyword searched from 1, `2:#0/1/1` has the number
//! at 2+0 and the first key at 2+1, `?` is what the server cannot describe.

use std::fmt;

use smallvec::SmallVec;

use super::keys::{KeyError, Keys};
use crate::resp::{Request, strict_integer};

/// One key specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeySpec {
    pub(super) begin: Begin,
    pub(super) find: Find,
}

/// Where the search begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At this argument.
    Index(u32),
    /// Behind this word, searched from `from` on; negative: from there to the front.
    Keyword { word: Box<str>, from: i32 },
    /// The server cannot say.
    Unknown,
}

/// How keys are found from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Find {
    /// Up to `last` (relative to the beginning, or to the end if negative), each `step`. With `last` -1, a `limit`
    /// of n > 1 means only the first 1/n of the rest.
    Range { last: i32, step: u32, limit: u32 },
    /// The argument at `index` is the number of keys; the first one is at `first`; both relative to the beginning.
    Keynum { index: u32, first: u32, step: u32 },
    /// The server cannot say.
    Unknown,
}

impl KeySpec {
    /// The place of the one key this specification always names, if it is that simple.
    pub(super) fn fixed(&self) -> Option<u32> {
        match (&self.begin, &self.find) {
            (Begin::Index(index), Find::Range { last: 0, .. }) => Some(*index),
            _ => None,
        }
    }

    /// The place of the first key, where it does not depend on the request.
    pub(super) fn first(&self) -> Option<u32> {
        match (&self.begin, &self.find) {
            (Begin::Index(index), Find::Range { .. }) => Some(*index),
            _ => None,
        }
    }

    /// Appends the places of the keys this specification names in `request`.
    pub(super) fn apply(&self, request: &Request<'_>, out: &mut Keys) -> Result<(), KeyError> {
        let Some(begin) = self.begin.find(request)? else {
            return Ok(());
        };
        let count = request.len() as i64;
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = match (last, limit) {
                    (0.., _) => begin + i64::from(last),
                    (_, 0 | 1) => count + i64::from(last),
                    (_, limit) => begin + (count - begin) / i64::from(limit) + i64::from(last),
                };
                (begin, last, step)
            }
            Find::Keynum { index, first, step } => {
                let at =
                    usize::try_from(begin + i64::from(index)).map_err(|_| KeyError::Malformed)?;
                let number = request.get(at).map(number_of_keys);
                let number = number
                    .filter(|n| (0..=count).contains(n))
                    .ok_or(KeyError::Malformed)?;
                let first = begin + i64::from(first);
                if number == 0 {
                    return Ok(());
                }
                (first, first + (number - 1) * i64::from(step.max(1)), step)
            }
            Find::Unknown => return Err(KeyError::Undescribed),
        };
        if first == count && self.may_be_empty() {
            return Ok(());
        }
        if first >= count || last >= count || last < first {
            return Err(KeyError::Malformed);
        }
        // `first` and `last` are within the request, whose length is a u32 by its limits.
        out.extend((first as u32..=last as u32).step_by(step.max(1) as usize));
        Ok(())
    }

    /// Whether it may find nothing where its keys would be, and the keys of the other specifications still count:
    /// PFMERGE without a source, GEORADIUS that ends with STORE.
    fn may_be_empty(&self) -> bool {
        match (&self.begin, &self.find) {
            (Begin::Index(_), Find::Range { last, limit, .. }) => *last == -1 && *limit <= 1,
            (Begin::Keyword { .. }, Find::Range { last, .. }) => *last == 0,
            _ => false,
        }
    }

    /// Reads the compact form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (begin, find) = text.split_once(':')?;
        let begin = match begin.split_once('@') {
            Some((word, from)) => Begin::Keyword {
                word: word.into(),
                from: from.parse().ok()?,
            },
            None if begin == "?" => Begin::Unknown,
            None => Begin::Index(begin.parse().ok()?),
        };
        let find = match find.strip_prefix('#') {
            None if find == "?" => Find::Unknown,
            None => {
                let [last, step, limit] = numbers(find)?;
                Find::Range {
                    last,
                    step: step.try_into().ok()?,
                    limit: limit.try_into().ok()?,
                }
            }
            Some(find) => {
                let [index, first, step] = numbers(find)?;
                let (index, first) = (index.try_into().ok()?, first.try_into().ok()?);
                Find::Keynum {
                    index,
                    first,
                    step: step.try_into().ok()?,
                }
            }
        };
        Some(Self { begin, find })
    }
}

impl Begin {
    /// Where it is in `request`; `None` if its keyword does not appear.
    fn find(&self, request: &Request<'_>) -> Result<Option<i64>, KeyError> {
        match self {
            Self::Index(index) => Ok(Some(i64::from(*index))),
            Self::Keyword { word, from } => {
                let count = request.len();
                let is_word = |i: &usize| request.arg(*i).eq_ignore_ascii_case(word.as_bytes());
                let found = if *from >= 0 {
                    (*from as usize..count).find(is_word)
                } else {
                    (1..=count.saturating_sub(from.unsigned_abs() as usize))
                        .rev()
                        .find(is_word)
                };
                Ok(found.map(|i| i as i64 + 1))
            }
            Self::Unknown => Err(KeyError::Undescribed),
        }
    }
}

/// A number of keys as the servers read it to find them. For some commands that is C's `atoi` (` 1`, `+1`, `1x` are
/// 1): such a request is wrong, but only the owner of its keys says so, the others redirect it.
fn number_of_keys(text: &[u8]) -> i64 {
    if let Some(number) = strict_integer(text) {
        return number;
    }
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = std::str::from_utf8(&digits[..end.unwrap_or(digits.len())]);
    // -1 is no number of keys at all.
    digits
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(-1)
}

fn numbers(text: &str) -> Option<[i32; 3]> {
    let numbers: SmallVec<[i32; 3]> = text
        .split('/')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    numbers.into_inner().ok()
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.begin {
            Begin::Index(index) => write!(f, "{index}:")?,
            Begin::Keyword { word, from } => write!(f, "{word}@{from}:")?,
            Begin::Unknown => f.write_str("?:")?,
        }
        match self.find {
            Find::Range { last, step, limit } => write!(f, "{last}/{step}/{limit}"),
            Find::Keynum { index, first, step } => write!(f, "#{index}/{first}/{step}"),
            Find::Unknown => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{encode, parse_request};

    fn keys(spec: &str, words: &str) -> Result<Vec<u32>, KeyError> {
        let words: Vec<_> = words.split(' ').collect();
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let mut out = Keys::new();
        KeySpec::parse(spec).unwrap().apply(&request, &mut out)?;
        Ok(out.to_vec())
    }

    #[test]
    fn ranges() {
        assert_eq!(keys("1:0/1/0", "GET a"), Ok(vec![1]));
        assert_eq!(keys("1:-1/2/0", "MSET a 1 b 2"), Ok(vec![1, 3]));
        assert_eq!(keys("1:-2/1/0", "BLPOP a b 0"), Ok(vec![1, 2]));
        assert_eq!(keys("1:0/1/0", "GET"), Err(KeyError::Malformed));
        assert_eq!(keys("1:-2/1/0", "BLPOP a"), Err(KeyError::Malformed));
    }

    #[test]
    fn keywords() {
        assert_eq!(
            keys("STREAMS@1:-1/1/2", "XREAD COUNT 1 streams a b 0 0"),
            Ok(vec![4, 5])
        );
        assert_eq!(keys("STREAMS@1:-1/1/2", "XREAD COUNT 1"), Ok(vec![]));
        assert_eq!(
            keys("STREAMS@1:-1/1/2", "XREAD STREAMS"),
            Err(KeyError::Malformed)
        );
        assert_eq!(
            keys("KEYS@-2:-1/1/0", "MIGRATE h p x 0 5 KEYS a b"),
            Ok(vec![7, 8])
        );
    }

    #[test]
    fn numbers_of_keys() {
        assert_eq!(keys("2:#0/1/1", "EVAL s 2 a b c"), Ok(vec![3, 4]));
        assert_eq!(keys("2:#0/1/1", "EVAL s 0 a"), Ok(vec![]));
        assert_eq!(keys("1:#0/1/2", "MSETEX 2 a 1 b 2"), Ok(vec![2, 4]));
        // The node that owns the key says what is wrong.
        for lenient in ["+1", "01", "1x", "1.5"] {
            let words = format!("EVAL s {lenient} a b");
            assert_eq!(keys("2:#0/1/1", &words), Ok(vec![3]), "{lenient}");
        }
        for bad in ["3", "-1", "x", "9223372036854775807", "9223372036854775808"] {
            assert_eq!(
                keys("2:#0/1/1", &format!("EVAL s {bad} a b")),
                Err(KeyError::Malformed),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_the_server_cannot_describe_is_an_error() {
        assert_eq!(keys("?:?", "X a"), Err(KeyError::Undescribed));
        assert_eq!(keys("1:?", "X a"), Err(KeyError::Undescribed));
    }
}
