//! The proxy under test: the built binary as a child process on free ports, with its log, its admin endpoints
//! and its process figures. It dies with the test, whatever happens to the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use slotway::demo::{Cluster, Process, Reservation, Stop, mortal, wait_until};

use super::metrics::Metrics;
use super::raw::{RawClient, show};

/// How long the proxy may take from its start to `/readyz` saying 200, or from a signal to its end.
const PROXY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an admin endpoint may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of the log a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    listen: Reservation,
    admin: Reservation,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
    // Its arguments, for a restart.
    words: Vec<String>,
}

impl Proxy {
    /// Starts a proxy in front of a cluster, with more arguments for `slotway run`, and waits until it is ready.
    pub fn start(cluster: &Cluster, args: &[&str]) -> Self {
        Self::start_with(&cluster.addrs(), args)
    }

    /// The same with any seed nodes.
    pub fn start_with(seeds: &[SocketAddr], args: &[&str]) -> Self {
        let proxy = Self::spawn(seeds, args);
        proxy.wait_ready();
        proxy
    }

    /// Starts it and does not wait: it may be meant never to be ready. It does listen when this returns.
    pub fn spawn(seeds: &[SocketAddr], args: &[&str]) -> Self {
        let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
        Self::spawn_as("run", &["--nodes", &seeds.join(",")], args)
    }

    /// `slotway audit` in front of a server or a node of a cluster.
    pub fn audit(upstream: SocketAddr, args: &[&str]) -> Self {
        let proxy = Self::spawn_as("audit", &["--upstream", &upstream.to_string()], args);
        proxy.wait_ready();
        proxy
    }

    fn spawn_as(command: &str, upstream: &[&str], args: &[&str]) -> Self {
        let listen = Reservation::any().expect("a free port");
        let admin = Reservation::any().expect("a free port");
        let mut words = vec![command.to_owned()];
        words.extend(["--listen".to_owned(), listen.addr().to_string()]);
        words.extend(["--admin".to_owned(), admin.addr().to_string()]);
        words.extend(upstream.iter().chain(args).map(|arg| (*arg).to_owned()));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (process, readers) = launch(&words, &log);
        let mut proxy = Self {
            process,
            listen,
            admin,
            log,
            readers,
            words,
        };
        proxy.wait_listening();
        proxy.wait_alone();
        proxy
    }

    /// Ends it as an operator would and starts it again on the same port, ready when this returns.
    pub fn restart(&mut self) {
        self.signal(Signal::TERM);
        self.wait_exit();
        (self.process, self.readers) = launch(&self.words, &self.log);
        self.wait_listening();
        self.wait_ready();
    }

    fn wait_listening(&mut self) {
        // Clients last, so that this is one client.
        let addrs = [self.admin_addr(), self.addr()];
        let process = &mut self.process;
        let mut ended = None;
        let result = wait_until("the proxy listens", PROXY_TIMEOUT, &Stop::default(), || {
            ended = process.exit_status().ok().flatten();
            let connected = addrs.iter().try_for_each(|addr| {
                let stream = TcpStream::connect(addr);
                stream.map(drop).map_err(|error| format!("{addr}: {error}"))
            });
            match ended {
                Some(_) => Ok(()),
                None => connected,
            }
        });
        if let Some(status) = ended {
            self.drain_log();
            panic!(
                "the proxy ended at once: {status}\n{}",
                self.log().join("\n")
            );
        }
        result.unwrap();
    }

    /// The client that [`Self::wait_listening`] was has come and gone: no test counts it.
    fn wait_alone(&self) {
        self.wait_for("no client is connected", PROXY_TIMEOUT, || {
            let metrics = self.metrics();
            let [came, there] = [
                "slotway_client_connections_total",
                "slotway_client_connections",
            ]
            .map(|name| metrics.sum(name, &[]));
            match (came, there) {
                (1.0.., 0.0) => Ok(()),
                _ => Err(format!("{came} came, {there} are there")),
            }
        });
    }

    /// Waits until `/readyz` says 200.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.wait_for("the proxy is ready", PROXY_TIMEOUT, || {
            match self.get("/readyz") {
                Some((200, _)) => Ok(()),
                other => Err(format!("/readyz: {other:?}")),
            }
        });
    }

    /// Polls a condition of this proxy; the error says what is missing.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        at_most: Duration,
        check: impl FnMut() -> Result<(), String>,
    ) {
        if let Err(error) = wait_until(what, at_most, &Stop::default(), check) {
            panic!("{error}");
        }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.listen.addr()
    }

    /// Where the admin endpoints are.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// A new client connection.
    pub fn client(&self) -> RawClient {
        RawClient::connect(self.addr())
    }

    /// GET of an admin path: status and body; `None` if nobody answers there.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin_addr(), ADMIN_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(ADMIN_TIMEOUT)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let body = if chunked {
            unchunk(body)
        } else {
            body.to_owned()
        };
        Some((status, body))
    }

    /// The JSON of an admin path.
    #[track_caller]
    pub fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path).expect("the admin endpoint answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Where `/topology` says that a slot is.
    #[track_caller]
    pub fn owner_of(&self, slot: u16) -> Option<String> {
        let topology = self.json("/topology");
        let range = topology["ranges"].as_array()?.iter().find(|range| {
            let [first, last] = ["first", "last"].map(|end| range[end].as_u64());
            first <= Some(slot.into()) && Some(slot.into()) <= last
        })?;
        range["owner"].as_str().map(str::to_owned)
    }

    /// The samples of `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        match self.get("/metrics") {
            Some((200, body)) => Metrics::parse(&body),
            other => panic!("/metrics: {other:?}"),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until every worker knows the commands of its nodes, which are those of a plain server of their kind. Before,
    /// each is taken for a command that some server has.
    #[track_caller]
    pub fn wait_commands_of(&self, plain: SocketAddr) {
        // So many clients that each worker has some.
        const CLIENTS: usize = 16;
        const NEWEST: &str = "HTTL";
        let expected = RawClient::connect(plain).line(NEWEST);
        self.wait_for("the nodes' own commands", PROXY_TIMEOUT, || {
            let mut answers = (0..CLIENTS).map(|_| self.client().line(NEWEST));
            let other = answers.find(|answer| *answer != expected);
            other.map_or(Ok(()), |answer| Err(show(&answer)))
        });
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        self.status_kb("VmRSS:") * 1024
    }

    /// The most that was ever resident, as the kernel counts it, in bytes.
    pub fn peak(&self) -> u64 {
        self.status_kb("VmHWM:") * 1024
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("running");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
        kb.expect("a number of kB")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal).expect("the proxy runs");
    }

    /// Stops it, and returns when none of its threads does anything any more. SIGCONT has it go on.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_for("it is stopped", PROXY_TIMEOUT, || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
            for task in tasks.map_err(|error| error.to_string())?.flatten() {
                let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // After the name, which is in brackets.
                let state = stat
                    .rsplit_once(") ")
                    .map(|(_, rest)| rest.starts_with('T'));
                if state == Some(false) {
                    return Err(stat);
                }
            }
            Ok(())
        });
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let process = &mut self.process;
        let mut status = None;
        wait_until("the proxy ends", PROXY_TIMEOUT, &Stop::default(), || {
            status = process.exit_status().map_err(|error| error.to_string())?;
            status.map(drop).ok_or_else(|| "still running".into())
        })
        .unwrap();
        self.drain_log();
        status.expect("it has ended")
    }

    /// What it has logged so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panics").clone()
    }

    /// The process has ended, so its pipes end too.
    fn drain_log(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- the proxy's log, last {} lines ---", log.len() - from);
            for line in &log[from..] {
                eprintln!("{line}");
            }
        }
    }
}

/// The built binary with these arguments, and what copies its output into the log.
fn launch(words: &[String], log: &Arc<Mutex<Vec<String>>>) -> (Process, Vec<JoinHandle<()>>) {
    let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_slotway")));
    command
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        // The tests' own variables are no configuration of the proxy.
        if name.as_encoded_bytes().starts_with(b"SLOTWAY_") {
            command.env_remove(name);
        }
    }
    let mut process = Process::start(command).expect("the built binary starts");
    let child = process.child();
    let out = child.stdout.take().expect("piped");
    let err = child.stderr.take().expect("piped");
    (process, vec![collect(out, log), collect(err, log)])
}

fn collect(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.lock().expect("nobody panics with it").push(line);
        }
    })
}

/// The body of a chunked HTTP answer.
fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    out
}
