//! `slotway top` before a real proxy and a real cluster: `--once` tells what was sent, and the live view, in tmux, shows
//! it, obeys its keys and leaves the terminal as it was.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use slotway::demo::{Process, Stop, mortal, wait_until};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Proxy, SHOWN_WITHIN, StopOnDrop, boot_cluster, redis};

#[track_caller]
fn wait(what: &str, check: impl FnMut() -> Result<(), String>) {
    if let Err(error) = wait_until(what, SHOWN_WITHIN, &Stop::default(), check) {
        panic!("{error}");
    }
}

/// Takes the next question on its way to the proxy's admin endpoint, which must be for this path, and answers it as the
/// proxy does.
fn pass_on(path: &str, listener: &TcpListener, proxy: &Proxy) {
    let mut accepted = None;
    wait("somebody asks", || match listener.accept() {
        Ok((stream, _)) => {
            accepted = Some(stream);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err("nobody".to_owned()),
        Err(error) => panic!("{error}"),
    });
    let mut stream = accepted.expect("waited for");
    stream.set_nonblocking(false).expect("a socket");
    stream
        .set_read_timeout(Some(SHOWN_WITHIN))
        .expect("a socket");
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let n = stream.read(&mut chunk).expect("a request");
        assert!(n > 0, "a request that ends early");
        head.extend_from_slice(&chunk[..n]);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with(&format!("GET {path} ")), "{head}");
    let (_, body) = proxy.get(path).expect("the proxy answers");
    let length = body.len();
    let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).expect("it reads");
}

/// What each look at the proxy asks for.
const ASKED: [&str; 4] = ["/metrics", "/topology", "/hotkeys", "/slowlog"];

/// The cells of the row that begins with this name.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = rows.filter(|cells| cells.first() == Some(&name));
    found
        .next()
        .unwrap_or_else(|| panic!("no row {name} in\n{text}"))
}

#[test]
fn once_tells_what_was_sent_in_the_interval() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &[]);
    let mut client = proxy.client();
    // Before the interval: not to be counted.
    client.expect("SET there 1", b"+OK\r\n");
    client.expect("GET there", b"$1\r\n1\r\n");
    let answered = |name: &str, commands: f64| {
        wait("all are counted", || {
            match proxy
                .metrics()
                .sum("slotway_commands_total", &[("cmd", name)])
            {
                n if n == commands => Ok(()),
                n => Err(n.to_string()),
            }
        });
    };
    answered("set", 1.0);
    answered("get", 1.0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_slotway")));
    // The second look waits for as long as the interval, and for its answer a little longer.
    command.args(["top", "--once", "--interval", "5s", "--admin", &admin]);
    command.stdout(Stdio::piped());
    let mut top = Process::start(command).unwrap();
    let mut out = top.child().stdout.take().unwrap();
    for path in ASKED {
        pass_on(path, &listener, &proxy);
    }
    for key in 0..30 {
        client.expect(&format!("SET key{key} 1"), b"+OK\r\n");
    }
    for _ in 0..60 {
        client.expect("GET there", b"$1\r\n1\r\n");
    }
    for _ in 0..20 {
        client.expect("GET nowhere", b"$-1\r\n");
    }
    client.command(&["SHUTDOWN"]);
    client.command(&["INCR", "there", "much"]);
    answered("set", 31.0);
    answered("get", 81.0);
    for path in ASKED {
        pass_on(path, &listener, &proxy);
    }
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let set = row(&text, "set");
    assert_eq!((set[2], set[5]), ("30", "-"), "{text}");
    let get = row(&text, "get");
    assert_eq!((get[2], get[5]), ("80", "75.0%"), "{text}");
    assert!(text.contains("hit rate 75.0%"), "{text}");
    assert!(text.contains("proxy ERR "), "{text}");
    assert!(text.contains("16384/16384 slots"), "{text}");
    assert!(text.contains("clients 1 "), "{text}");
    for node in cluster.addrs() {
        let cells = row(&text, &node.to_string());
        let (slots, expected) = (cells[2] != "0", cells[1] == "primary");
        assert_eq!(slots, expected, "{text}");
    }
}

#[test]
fn nobody_to_ask_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap().to_string();
    drop(listener);
    for (args, said) in [
        (&["--once"][..], "no answer from"),
        (&[], "standard output is no terminal"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_slotway"))
            .args(["top", "--admin", &admin])
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(error.contains(said), "{error}");
    }
}

/// A terminal of its own: a tmux server that dies with the test.
struct Tmux {
    socket: String,
    _server: Process,
}

impl Tmux {
    fn start(name: &str, width: u16, height: u16) -> Self {
        let socket = format!("slotway-top-{}-{name}", std::process::id());
        let mut command = mortal(Path::new("tmux"));
        // In the foreground, so that it is the process that is ended.
        command.args(["-D", "-f", "/dev/null", "-L", &socket]);
        // It says there that it has no terminal; that it listens is waited for.
        command.stderr(Stdio::null());
        let server = Process::start(command).expect("tmux: apt-get install tmux");
        let tmux = Self {
            socket,
            _server: server,
        };
        let (width, height) = (width.to_string(), height.to_string());
        let session = [
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "env PS1='ready> ' sh",
        ];
        wait("the tmux server listens", || {
            tmux.try_tell(&session).map(drop)
        });
        tmux
    }

    fn try_tell(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("tmux");
        command
            // It must not start a server of its own.
            .args(["-N", "-L", &self.socket])
            .args(args)
            .env_remove("TMUX");
        let output = command.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn tell(&self, args: &[&str]) -> String {
        self.try_tell(args)
            .unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn press(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Waits for a screen, and returns it.
    #[track_caller]
    fn wait_screen(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        wait(what, || {
            screen = self.screen();
            if is(&screen) {
                Ok(())
            } else {
                Err(format!("\n{screen}"))
            }
        });
        screen
    }
}

/// Ends a process when the test fails, too.
struct Killed(Pid);

impl Killed {
    /// Whether it has ended, reaped or not.
    fn is_gone(&self) -> Result<(), String> {
        let stat = format!("/proc/{}/stat", self.0.as_raw_nonzero());
        match std::fs::read_to_string(stat) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if self.is_gone().is_err() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

/// The terminal goes away, with whoever had it.
#[test]
fn it_ends_with_its_terminal() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &[]);
    let tmux = Tmux::start("gone", 100, 30);
    tmux.wait_screen("the shell", |screen| screen.contains("ready>"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let program = env!("CARGO_BIN_EXE_slotway");
    let (file_name, admin) = (file.display(), proxy.admin_addr());
    let line = format!(
        "sh -c 'echo $$ > {file_name}; exec {program} top --interval 200ms --admin {admin}'"
    );
    tmux.tell(&["send-keys", "-l", &line]);
    tmux.press("Enter");
    tmux.wait_screen("the view", |screen| screen.contains("commands 0/s"));
    let pid = std::fs::read_to_string(file).unwrap();
    let top = Killed(Pid::from_raw(pid.trim().parse().unwrap()).unwrap());
    assert!(top.is_gone().is_err(), "it runs");
    drop(tmux);
    wait("it ends", || top.is_gone());
}

/// Whether both are there, the first above the second.
fn in_order(screen: &str, first: &str, second: &str) -> bool {
    let line = |name: &str| screen.lines().position(|line| line.starts_with(name));
    line(first).is_some_and(|first| line(second).is_some_and(|second| first < second))
}

/// From nodes over the hot keys and the slow commands back to nodes.
fn tables_in_turn(tmux: &Tmux, proxy: &Proxy) {
    tmux.press("Tab");
    tmux.wait_screen("the key that is asked for", |screen| {
        in_order(screen, "HOT KEY ", "key ") && in_order(screen, "key ", "NODE ")
    });
    let mut client = proxy.client();
    client.command(&["EVAL", "for i = 1, 30000000 do end", "0"]);
    tmux.press("Tab");
    tmux.wait_screen("the command that took long", |screen| {
        in_order(screen, "SLOW COMMAND ", "EVAL (") && !screen.contains("HOT KEY")
    });
    tmux.press("Right");
    tmux.press("Right");
    tmux.wait_screen("nodes again", |screen| {
        screen.contains("table: nodes") && screen.contains("COMMAND ")
    });
}

#[test]
fn the_live_view_follows_load_keys_and_size_and_leaves_the_terminal_as_it_was() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &[]);
    let tmux = Tmux::start("live", 100, 30);
    tmux.wait_screen("the shell", |screen| screen.contains("ready>"));
    let mut line = String::new();
    let program = env!("CARGO_BIN_EXE_slotway");
    write!(
        line,
        "{program} top --interval 200ms --admin {}",
        proxy.admin_addr()
    )
    .unwrap();
    tmux.tell(&["send-keys", "-l", &line]);
    tmux.press("Enter");
    tmux.wait_screen("the view without load", |screen| {
        screen.contains("commands 0/s") && screen.contains("16384/16384 slots")
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopped = StopOnDrop(&stop);
        for line in ["GET key", "BLPOP nothing 0.2"] {
            let mut client = proxy.client();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.line(line);
                }
            });
        }
        let screen = tmux.wait_screen("load, the most frequent command first", |screen| {
            in_order(screen, "get ", "blpop ") && screen.contains("sort: rate")
        });
        println!("{screen}");
        tmux.press("s");
        tmux.wait_screen("the slowest command first", |screen| {
            in_order(screen, "blpop ", "get ") && screen.contains("sort: p99")
        });
        tmux.press("Tab");
        tmux.wait_screen("keys are for nodes", |screen| {
            screen.contains("table: nodes   s sort: rate")
        });
        tables_in_turn(&tmux, &proxy);
        for (width, height) in [(80, 24), (140, 40)] {
            let size = [width, height].map(|n: usize| n.to_string());
            tmux.tell(&["resize-window", "-x", &size[0], "-y", &size[1]]);
            tmux.wait_screen("the keys are in the last line", |screen| {
                let last = screen.lines().nth(height - 1);
                last.is_some_and(|line| line.starts_with("q quit"))
            });
        }
        tmux.tell(&["resize-window", "-x", "40", "-y", "10"]);
        tmux.wait_screen("little room", |screen| screen.contains("needs 64x14"));
        tmux.tell(&["resize-window", "-x", "100", "-y", "30"]);
        proxy.stop();
        tmux.wait_screen("nobody answers, the last figures stay", |screen| {
            screen.contains("NO ANSWER since") && screen.contains("get ")
        });
        proxy.signal(Signal::CONT);
        tmux.wait_screen("it answers again", |screen| {
            !screen.contains("NO ANSWER") && in_order(screen, "blpop ", "get ")
        });
    });
    tmux.wait_screen("the load is over", |screen| screen.contains("commands 0/s"));
    tmux.press("q");
    assert_given_back(&tmux, 1);
    // A signal ends it as orderly; `exec`, so that the pid is its own.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let own_pid = format!("sh -c 'echo $$ > {}; exec {line}'", file.display());
    tmux.tell(&["send-keys", "-l", &own_pid]);
    tmux.press("Enter");
    tmux.wait_screen("the view again", |screen| screen.contains("commands 0/s"));
    let pid = std::fs::read_to_string(file).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_given_back(&tmux, 2);
}

/// The shell is back, and the terminal as it was before the view.
#[track_caller]
fn assert_given_back(tmux: &Tmux, time: u32) {
    tmux.wait_screen("the shell is back", |screen| {
        screen.contains("ready>") && !screen.contains("q quit")
    });
    let flags = "#{alternate_on} #{cursor_flag}";
    assert_eq!(tmux.tell(&["display-message", "-p", flags]), "0 1\n");
    // Typed text is echoed, and lines are edited and begin at the left: not raw.
    let line = format!("echo 'ti'me {time} $(stty -a | grep -o ' icanon')");
    tmux.tell(&["send-keys", "-l", &line]);
    tmux.press("Enter");
    let told = format!("\ntime {time} icanon\nready>");
    tmux.wait_screen("the terminal is as it was", |screen| {
        screen.contains(&line) && screen.contains(&told)
    });
}
