//! One local server: its program, its settings, its directory and its process. A cluster is made of several
//! ([`super::Cluster`]); a test that compares with one plain server boots [`Server`] alone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::Error;
use super::client::{Client, Reply};
use super::dir::Dir;
use super::ports::Reservation;
use super::process::{Process, mortal};
use super::wait::{Stop, wait_until};

/// How long a server may take from its start to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a dead server's log is shown.
const LOG_LINES_SHOWN: usize = 12;
/// Settings of every local server: nothing is kept on disk, nobody but this machine may connect.
const SETTINGS: &[(&str, &str)] = &[
    ("bind", "127.0.0.1"),
    ("protected-mode", "no"),
    ("daemonize", "no"),
    ("save", ""),
    ("appendonly", "no"),
    ("logfile", "server.log"),
    ("repl-diskless-sync-delay", "0"),
];

/// The server program on PATH: `redis-server`, else `valkey-server`.
pub fn find_server() -> Result<PathBuf, Error> {
    ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| find_on_path(name))
        .ok_or(Error::NoServer)
}

/// Where PATH has a program of this name.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// One server process and all that is needed to start it again. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    port: Reservation,
    settings: Vec<(String, String)>,
    password: Option<String>,
    process: Option<Process>,
    // Dropped last: the process writes into it.
    dir: Dir,
}

impl Server {
    /// Boots one plain server (no cluster) with `settings` on top of the usual ones, and waits for its first
    /// answer.
    pub fn boot(program: &Path, settings: &[(&str, &str)]) -> Result<Self, Error> {
        Self::boot_at(Reservation::any()?, program, settings)
    }

    /// The same on a port that was reserved before.
    pub fn boot_at(
        port: Reservation,
        program: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let mut server = Self::new(program, port, Dir::temporary()?);
        server.set(settings);
        server.start()?;
        server.wait_for_answer(&Stop::default())?;
        Ok(server)
    }

    /// A server that has yet to be started.
    pub(super) fn new(program: &Path, port: Reservation, dir: Dir) -> Self {
        Self {
            program: program.to_owned(),
            port,
            settings: Vec::new(),
            password: None,
            process: None,
            dir,
        }
    }

    /// Adds settings for the next start; a later one of the same name wins.
    pub(super) fn set(&mut self, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            if *name == "requirepass" {
                self.password = Some((*value).to_owned());
            }
            self.settings.push(((*name).into(), (*value).into()));
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Starts the process; does not wait for its first answer.
    pub fn start(&mut self) -> Result<(), Error> {
        let mut command = mortal(&self.program);
        command
            .current_dir(self.dir.path())
            .args(["--port", &self.port.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let usual = SETTINGS.iter().map(|&(name, value)| (name, value));
        let own = self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in usual.chain(own) {
            command.arg(format!("--{name}")).arg(value);
        }
        // `setpriv` would start and then fail in silence.
        fs::metadata(&self.program).map_err(|source| Error::NotAServer {
            path: self.program.clone(),
            source,
        })?;
        let process = Process::start(command).map_err(|source| Error::NotAServer {
            path: self.program.clone(),
            source,
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it answers PING, whatever it answers, once it has loaded.
    pub(super) fn wait_for_answer(&mut self, stop: &Stop) -> Result<(), Error> {
        let what = format!("the server on port {} answers", self.port.port());
        let mut died = None;
        let result = wait_until(&what, START_TIMEOUT, stop, || {
            if self.process.as_mut().is_some_and(has_ended) {
                died = Some(self.died());
                return Ok(());
            }
            match self.command(&["PING"]) {
                Ok(Reply::Error(text)) if text.starts_with("LOADING") => Err(text),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        });
        died.map_or(result, Err)
    }

    fn died(&self) -> Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        Error::Died {
            port: self.port.port(),
            log: lines[from..].join("\n"),
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// A new connection to it, authenticated.
    pub fn connect(&self) -> io::Result<Client> {
        Client::connect(self.addr(), self.password.as_deref())
    }

    /// Asks one question on a connection of its own.
    pub fn command<A: AsRef<[u8]>>(&self, args: &[A]) -> io::Result<Reply> {
        self.connect()?.command(args)
    }

    /// Its process id; `None` while it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Whether its process runs (a paused one does).
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL, and waits until the process is gone. Its files stay for a restart.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port with the same files, and waits for its first answer.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill();
        self.start()?;
        self.wait_for_answer(&Stop::default())
    }

    /// The same on another port. Returns the one that it had.
    pub(super) fn restart_elsewhere(&mut self) -> Result<Reservation, Error> {
        self.kill();
        let before = std::mem::replace(&mut self.port, Reservation::any_node()?);
        self.restart()?;
        Ok(before)
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        let port = self.port.port();
        let failed = |source| Error::io(format!("signal for the server on port {port}"), source);
        match &self.process {
            Some(process) => process.signal(signal).map_err(failed),
            None => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }
}

fn has_ended(process: &mut Process) -> bool {
    !matches!(process.exit_status(), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_server_boots_answers_and_leaves_nothing() {
        let program = find_server().unwrap();
        let mut server = Server::boot(&program, &[("requirepass", "secret")]).unwrap();
        let dir = server.dir.path().to_owned();
        assert_eq!(
            server.command(&["SET", "a", "1"]).unwrap(),
            Reply::Simple("OK".into())
        );
        let open = Client::connect(server.addr(), None).and_then(|mut c| c.command(&["GET", "a"]));
        assert!(
            open.unwrap().text().is_empty(),
            "answers without a password"
        );
        server.restart().unwrap();
        assert_eq!(server.command(&["GET", "a"]).unwrap(), Reply::Null);
        let addr = server.addr();
        assert!(dir.exists());
        drop(server);
        assert!(!dir.exists());
        assert!(Client::connect(addr, None).is_err());
    }

    #[test]
    fn a_server_that_ends_at_once_shows_its_log() {
        let program = find_server().unwrap();
        let error = Server::boot(&program, &[("maxmemory-policy", "no-such-policy")]).unwrap_err();
        assert!(matches!(error, Error::Died { .. }), "{error}");
        let error = Server::boot(Path::new("/nonexistent/redis-server"), &[]).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/redis-server"),
            "{error}"
        );
    }
}
