//! Sends one sequence to the plain server and through the proxy, and compares.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use slotway::resp;

use super::compare;
use super::steps::{Batch, CLIENTS_MAX, Ending, Sequence, Step};
use super::wire::{cuts, show};
use crate::support::{RawClient, encode};

/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_secs(30);
/// Most calls of one SCAN: an end that never comes.
const SCAN_CALLS_MAX: usize = 100_000;

/// Where the same is expected.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// One plain server.
    pub plain: SocketAddr,
    /// The proxy.
    pub proxied: SocketAddr,
}

/// What was different.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The pipeline and the step in it.
    pub at: (usize, usize),
    /// For a person.
    pub text: String,
}

impl Difference {
    /// Roughly what is different: the command's name and how the proxy's reply begins.
    pub fn kind(&self) -> String {
        const TELLING: usize = 30;
        let words = self.text.split("\\r\\n").take(3);
        let reply = self.text.split("proxied: ").nth(1).unwrap_or_default();
        let reply = reply.chars().filter(|c| !c.is_ascii_digit()).take(TELLING);
        words.collect::<Vec<_>>().join(" ").to_ascii_lowercase() + &reply.collect::<String>()
    }
}

/// One client's two connections.
struct Client {
    plain: RawClient,
    proxied: RawClient,
}

impl Pair {
    /// Sends a sequence to both.
    pub fn run(&self, sequence: &Sequence) -> Result<(), Difference> {
        self.run_within(sequence, REPLY_MAX)
    }

    pub fn run_within(&self, sequence: &Sequence, timeout: Duration) -> Result<(), Difference> {
        let connect = |addr| {
            let mut client = RawClient::connect(addr);
            client.wait_at_most(timeout);
            client
        };
        let both = |_| Client {
            plain: connect(self.plain),
            proxied: connect(self.proxied),
        };
        let mut clients: Vec<Client> = (0..CLIENTS_MAX).map(both).collect();
        for (number, batch) in sequence.batches.iter().enumerate() {
            let client = &mut clients[batch.client];
            for part in batch.steps.chunk_by(|a, b| !is_scan(a) && !is_scan(b)) {
                client
                    .pipeline(part, batch.cuts_seed)
                    .map_err(|(step, text)| Difference {
                        at: (number, offset(batch, part) + step),
                        text,
                    })?;
            }
        }
        clients[0].end(sequence.ending).map_err(|text| Difference {
            at: (sequence.batches.len(), 0),
            text,
        })
    }
}

impl Client {
    fn pipeline(&mut self, steps: &[Step], cuts_seed: u64) -> Result<(), (usize, String)> {
        if let [Step::Scan(options)] = steps {
            return self.scan(options).map_err(|text| (0, text));
        }
        let mut all = Vec::new();
        let mut expected = 0;
        for step in steps {
            if let Step::Command { bytes, replies, .. } = step {
                all.extend_from_slice(bytes);
                expected += replies;
            }
        }
        let mut rng = StdRng::seed_from_u64(cuts_seed);
        self.plain.send(&all);
        self.proxied
            .send_in_pieces(&all, &cuts(all.len(), &mut rng));
        let mut plain = self.plain.try_replies(expected).into_iter();
        let mut proxied = self.proxied.try_replies(expected).into_iter();
        for (number, step) in steps.iter().enumerate() {
            let Step::Command {
                bytes,
                replies,
                mode,
            } = step
            else {
                continue;
            };
            for _ in 0..*replies {
                let (plain, proxied) = (plain.next(), proxied.next());
                let is_same = match (&plain, &proxied) {
                    (Some(plain), Some(proxied)) => compare::same(*mode, plain, proxied),
                    _ => false,
                };
                if !is_same {
                    let text = describe(bytes, plain.as_deref(), proxied.as_deref());
                    return Err((number, text));
                }
            }
        }
        Ok(())
    }

    fn scan(&mut self, options: &[Vec<u8>]) -> Result<(), String> {
        let plain = scan_all(&mut self.plain, options)?;
        let proxied = scan_all(&mut self.proxied, options)?;
        if plain == proxied {
            return Ok(());
        }
        let names = |keys: &mut dyn Iterator<Item = &Vec<u8>>| {
            let names: Vec<String> = keys.map(|key| show(key)).collect();
            names.join(" ")
        };
        Err(format!(
            "SCAN … {}\n  only the plain server has: {}\n  only the proxy has: {}",
            names(&mut options.iter()),
            names(&mut plain.difference(&proxied)),
            names(&mut proxied.difference(&plain)),
        ))
    }

    fn end(&mut self, ending: Ending) -> Result<(), String> {
        let bytes: &[u8] = match ending {
            Ending::Close => return Ok(()),
            // Short replies: a server that reads the end does not write what it has not written yet. We do.
            Ending::HalfClose => b"*1\r\n$6\r\nDBSIZE\r\n*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGE",
            Ending::Quit => b"*1\r\n$6\r\nDBSIZE\r\n*1\r\n$4\r\nQUIT\r\n",
            Ending::Broken(bytes) => bytes,
        };
        let mut answers = Vec::new();
        for client in [&mut self.plain, &mut self.proxied] {
            if ending == Ending::HalfClose {
                client.send(bytes);
                client.half_close();
            } else {
                client.send(&encode(&["MGET", "str0", "str1", "str2"]));
                client.send(bytes);
            }
            answers.push(client.try_rest().map_err(|so_far| {
                let who = if answers.is_empty() {
                    "the plain server"
                } else {
                    "the proxy"
                };
                format!(
                    "{}\n  {who} does not close; so far: {}",
                    show(bytes),
                    show(&so_far)
                )
            })?);
        }
        if answers[0] == answers[1] {
            return Ok(());
        }
        Err(describe(bytes, Some(&answers[0]), Some(&answers[1])))
    }
}

/// All keys of a SCAN from 0 to 0, or the error that it ends with.
fn scan_all(client: &mut RawClient, options: &[Vec<u8>]) -> Result<BTreeSet<Vec<u8>>, String> {
    let mut cursor = b"0".to_vec();
    let mut keys = BTreeSet::new();
    for _ in 0..SCAN_CALLS_MAX {
        let mut args = vec![b"SCAN".to_vec(), cursor];
        args.extend_from_slice(options);
        let reply = client.command(&args);
        let Some([next, found]) =
            resp::elements(&reply).and_then(|both| <[_; 2]>::try_from(both).ok())
        else {
            return Ok(BTreeSet::from([reply]));
        };
        let found = &reply[found];
        let names = resp::elements(found).unwrap_or_default();
        keys.extend(names.into_iter().map(|name| found[name].to_vec()));
        cursor = resp::bulk(&reply[next]).unwrap_or_default().to_vec();
        if cursor == b"0" {
            return Ok(keys);
        }
    }
    Err(format!("SCAN does not end: {}", show(&encode(options))))
}

fn is_scan(step: &Step) -> bool {
    matches!(step, Step::Scan(_))
}

/// Where a part of the batch's steps begins in it.
fn offset(batch: &Batch, part: &[Step]) -> usize {
    let begins = |step: &&Step| std::ptr::eq(*step, &raw const part[0]);
    batch.steps.iter().take_while(|step| !begins(step)).count()
}

fn describe(request: &[u8], plain: Option<&[u8]>, proxied: Option<&[u8]>) -> String {
    let shown = |reply: Option<&[u8]>| reply.map_or_else(|| "nothing".to_owned(), show);
    let mut text = format!(
        "{}\n  plain:   {}\n  proxied: {}",
        show(request),
        shown(plain),
        shown(proxied)
    );
    if let (Some(plain), Some(proxied)) = (plain, proxied)
        && let Some(at) = plain.iter().zip(proxied).position(|(a, b)| a != b)
        && at > 100
    {
        let around = |reply: &[u8]| show(&reply[at - 20..reply.len().min(at + 60)]);
        text += &format!(
            "\n  first difference at {at}: {} and {}",
            around(plain),
            around(proxied)
        );
    }
    text
}
