//! One scenario program: what it says, line by line, and the restart that it asks for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use slotway::demo::{Process, mortal};

use crate::clients::Client;

/// How long a program may take in all, on a machine that is busy with other tests.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(90);

/// Lines that were read and not yet looked at.
const LINES_WAITING: usize = 64;

/// What a program has said.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Its library's version.
    pub(crate) version: String,
    /// The groups that it has ended, and why they failed.
    pub(crate) groups: BTreeMap<String, Result<(), String>>,
    /// Why it did not end the others.
    pub(crate) trouble: String,
}

/// Runs a client's program; `restart` is called where it asks for it.
pub(crate) fn converse(
    client: &Client,
    addr: SocketAddr,
    protocol: u8,
    prefix: &str,
    mut restart: impl FnMut(),
) -> Outcome {
    let mut command = mortal(Path::new(&client.command[0]));
    command
        .args(&client.command[1..])
        .args([addr.ip().to_string(), addr.port().to_string()])
        .args([protocol.to_string().as_str(), prefix])
        .envs(client.environment.iter().map(|(n, v)| (*n, v.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process =
        Process::start(command).unwrap_or_else(|e| panic!("{:?}: {e}", client.command));
    let child = process.child();
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (say, lines) = mpsc::sync_channel(LINES_WAITING);
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let _ = say.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let mut outcome = Outcome::default();
    let deadline = Instant::now() + PROGRAM_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.trim() == "restart" => {
                restart();
                // It may have ended already: then its next line is missing.
                let _ = stdin.write_all(b"restarted\n");
            }
            Ok(line) => outcome.note(&line),
            Err(RecvTimeoutError::Disconnected) => {
                outcome.trouble = "the program ended before this group".to_owned();
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                outcome.trouble = format!("not done after {PROGRAM_TIMEOUT:?}");
                break;
            }
        }
    }
    process.kill().expect("it can be killed");
    reader.join().expect("no panic");
    let errors = errors.join().expect("no panic");
    if !errors.is_empty() {
        outcome.trouble = format!("{}; it said: {errors}", outcome.trouble);
    }
    outcome
}

impl Outcome {
    fn note(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "version" => rest.clone_into(&mut self.version),
            "ok" => drop(self.groups.insert(rest.to_owned(), Ok(()))),
            "fail" => {
                let (group, why) = rest.split_once(": ").unwrap_or((rest, "no reason"));
                self.groups.insert(group.to_owned(), Err(why.to_owned()));
            }
            // What a library prints by itself.
            _ => {}
        }
    }
}
