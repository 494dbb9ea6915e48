//! The scripts that clients have sent, by their SHA-1, so that a node that never saw one can be given it. One store
//! for the process. Bounded by `limits.scripts` and `limits.script_bytes`: scripts that came with EVAL go first, then
//! those of SCRIPT LOAD, the oldest first. Sends nothing: that is `healing`'s.

use crate::observe::Limit;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// SHA-1 of a script, in lower-case hexadecimal digits.
pub(super) type Sha = [u8; 40];

/// Moments that were read from a command's stamp may be late by less than this.
const STAMP: Duration = Duration::from_micros(1);

/// See the module.
#[derive(Debug)]
pub struct Scripts {
    kept: Mutex<Kept>,
    scripts_max: usize,
    bytes_max: usize,
    /// Memory that it takes, in bytes.
    held: AtomicUsize,
    /// How often SCRIPT FLUSH has emptied it.
    flushes: AtomicU64,
    /// Changes when anything was dropped.
    drops: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    by_sha: HashMap<Sha, Script>,
    /// Those that came with EVAL, the oldest first. Those that were loaded since are skipped when their turn comes.
    evaluated: VecDeque<Sha>,
    /// Those that came with SCRIPT LOAD, the oldest first.
    loaded: VecDeque<Sha>,
    bytes: usize,
}

#[derive(Debug)]
struct Script {
    body: Bytes,
    origin: Origin,
    since: Instant,
}

/// How a script came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// With EVAL: it is dropped before any that was loaded.
    Eval,
    /// With SCRIPT LOAD.
    Load,
}

impl Scripts {
    /// Keeps at most so many scripts, and so many bytes of them.
    pub fn new(scripts_max: usize, bytes_max: usize) -> Self {
        Self {
            kept: Mutex::default(),
            scripts_max,
            bytes_max,
            held: AtomicUsize::new(0),
            flushes: AtomicU64::new(0),
            drops: AtomicU64::new(0),
        }
    }

    /// Keeps a script, unless it is larger than all scripts together may be. Says which limit was reached, if any.
    pub(super) fn keep(&self, body: &[u8], origin: Origin, now: Instant) -> Option<Limit> {
        if body.len() > self.bytes_max {
            return Some(Limit::ScriptBytes);
        }
        let sha = sha_of(body);
        let mut kept = self.kept();
        let kept = &mut *kept;
        match kept.by_sha.get_mut(&sha) {
            Some(script) if script.origin == Origin::Eval && origin == Origin::Load => {
                script.origin = Origin::Load;
                kept.loaded.push_back(sha);
            }
            Some(_) => {}
            None => {
                kept.bytes += body.len();
                let body = Bytes::copy_from_slice(body);
                kept.by_sha.insert(
                    sha,
                    Script {
                        body,
                        origin,
                        since: now,
                    },
                );
                kept.queue(origin).push_back(sha);
            }
        }
        let mut reached = None;
        while kept.by_sha.len() > self.scripts_max || kept.bytes > self.bytes_max {
            reached = Some(if kept.by_sha.len() > self.scripts_max {
                Limit::Scripts
            } else {
                Limit::ScriptBytes
            });
            if !kept.drop_oldest() {
                break;
            }
            self.drops.fetch_add(1, Ordering::Release);
        }
        // What was loaded after it came with EVAL is in both queues.
        if kept.evaluated.len() > 2 * self.scripts_max {
            let by_sha = &kept.by_sha;
            kept.evaluated
                .retain(|sha| by_sha.get(sha).is_some_and(|s| s.origin == Origin::Eval));
        }
        self.held.store(kept.held(), Ordering::Relaxed);
        reached
    }

    /// The script with that SHA-1.
    pub(super) fn body(&self, sha: &Sha) -> Option<Bytes> {
        self.kept()
            .by_sha
            .get(sha)
            .map(|script| script.body.clone())
    }

    /// The same, if it was known before that moment.
    pub(super) fn body_before(&self, sha: &Sha, moment: Instant) -> Option<Bytes> {
        let kept = self.kept();
        let script = kept.by_sha.get(sha)?;
        (script.since + STAMP < moment).then(|| script.body.clone())
    }

    /// SCRIPT FLUSH: nothing is known any more.
    pub(super) fn flush(&self) {
        let mut kept = self.kept();
        *kept = Kept::default();
        self.held.store(0, Ordering::Relaxed);
        drop(kept);
        self.flushes.fetch_add(1, Ordering::Release);
        self.drops.fetch_add(1, Ordering::Release);
    }

    /// How often it was flushed.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    /// Changes when scripts were dropped, for whatever reason.
    pub(super) fn drops(&self) -> u64 {
        self.drops.load(Ordering::Acquire)
    }

    /// Bytes of memory that it takes.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How many there may be.
    pub(super) fn scripts_max(&self) -> usize {
        self.scripts_max
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn held(&self) -> usize {
        let entries = self.by_sha.capacity() * size_of::<(Sha, Script)>();
        let queued = self.evaluated.capacity() + self.loaded.capacity();
        self.bytes + entries + queued * size_of::<Sha>()
    }

    fn queue(&mut self, origin: Origin) -> &mut VecDeque<Sha> {
        match origin {
            Origin::Eval => &mut self.evaluated,
            Origin::Load => &mut self.loaded,
        }
    }

    /// `false`: there is none.
    fn drop_oldest(&mut self) -> bool {
        for origin in [Origin::Eval, Origin::Load] {
            while let Some(sha) = self.queue(origin).pop_front() {
                if self.by_sha.get(&sha).is_some_and(|s| s.origin == origin)
                    && let Some(script) = self.by_sha.remove(&sha)
                {
                    self.bytes -= script.body.len();
                    return true;
                }
            }
        }
        false
    }
}

/// What EVALSHA calls it.
pub(super) fn sha_of(body: &[u8]) -> Sha {
    let mut sha = [0; 40];
    let digits = sha1_smol::Sha1::from(body).digest().to_string();
    sha.copy_from_slice(digits.as_bytes());
    sha
}

/// The SHA-1 that an argument means: servers take capital letters too.
pub(super) fn sha_from(arg: &[u8]) -> Option<Sha> {
    let sha: Sha = arg.try_into().ok()?;
    Some(sha.map(|digit| digit.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_by_its_sha_in_any_case() {
        let scripts = Scripts::new(10, 1000);
        scripts.keep(b"return 1", Origin::Eval, Instant::now());
        let sha = sha_from(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB").unwrap();
        assert_eq!(scripts.body(&sha).unwrap(), &b"return 1"[..]);
        assert_eq!(sha, sha_of(b"return 1"));
        assert!(sha_from(b"e0e1").is_none());
        scripts.flush();
        assert!(scripts.body(&sha).is_none());
        assert_eq!((scripts.flushes(), scripts.drops()), (1, 1));
    }

    #[test]
    fn those_of_eval_make_room_first_then_the_oldest() {
        let scripts = Scripts::new(3, 1000);
        let has = |body: &str| scripts.body(&sha_of(body.as_bytes())).is_some();
        scripts.keep(b"loaded 1", Origin::Load, Instant::now());
        scripts.keep(b"eval 1", Origin::Eval, Instant::now());
        scripts.keep(b"eval 2", Origin::Eval, Instant::now());
        // Loaded after all: it stays with the others that were.
        scripts.keep(b"eval 1", Origin::Load, Instant::now());
        assert_eq!(scripts.drops(), 0);
        scripts.keep(b"loaded 2", Origin::Load, Instant::now());
        assert!(has("loaded 1") && has("eval 1") && !has("eval 2") && has("loaded 2"));
        scripts.keep(b"loaded 3", Origin::Load, Instant::now());
        assert!(!has("loaded 1") && has("eval 1"));
        assert_eq!(scripts.drops(), 2);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let scripts = Scripts::new(100, 20);
        let has = |body: &str| scripts.body(&sha_of(body.as_bytes())).is_some();
        scripts.keep(b"0123456789", Origin::Eval, Instant::now());
        scripts.keep(b"abcdefghij", Origin::Load, Instant::now());
        scripts.keep(b"0123456789abcdefghijk", Origin::Load, Instant::now());
        assert!(has("0123456789") && has("abcdefghij") && !has("0123456789abcdefghijk"));
        scripts.keep(b"x", Origin::Load, Instant::now());
        assert!(!has("0123456789") && has("abcdefghij") && has("x"));
        for i in 0..1000 {
            scripts.keep(format!("{i}").as_bytes(), Origin::Eval, Instant::now());
        }
        let held = scripts.held();
        assert!(held > 20 && held < 200_000, "{held}");
        let kept = scripts.kept();
        assert!(kept.bytes <= 20 && kept.by_sha.len() <= 20 && kept.evaluated.len() <= 200);
    }
}
