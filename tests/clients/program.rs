//! A client program that is run to its end: its output, and a test that fails with it if the program does.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use slotway::demo::{Process, Stop, mortal, wait_until};

/// How long a program may take, on a machine that is busy with other tests.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(180);

/// A program to run.
pub(crate) struct Program {
    command: std::process::Command,
    shown: String,
    input: Vec<u8>,
}

impl Program {
    pub(crate) fn new(program: &str) -> Self {
        Self {
            command: mortal(Path::new(program)),
            shown: program.to_owned(),
            input: Vec::new(),
        }
    }

    pub(crate) fn arg(&mut self, arg: impl AsRef<str>) -> &mut Self {
        self.command.arg(arg.as_ref());
        self.shown = format!("{} {}", self.shown, arg.as_ref());
        self
    }

    pub(crate) fn args<A: AsRef<str>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// What it reads; nothing otherwise.
    pub(crate) fn input(&mut self, input: &[u8]) -> &mut Self {
        self.input = input.to_vec();
        self
    }

    /// Runs it; what it printed, errors included. The test fails if it does not exit with 0.
    #[track_caller]
    pub(crate) fn expect_success(&mut self) -> String {
        let (code, output) = self.run();
        assert_eq!(code, Some(0), "{}\n{output}", self.shown);
        output
    }

    /// Runs it; its exit code and what it printed, errors included.
    #[track_caller]
    pub(crate) fn run(&mut self) -> (Option<i32>, String) {
        let mut command = std::mem::replace(&mut self.command, mortal(Path::new("true")));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(command).unwrap_or_else(|e| panic!("{}: {e}", self.shown));
        let child = process.child();
        let readers = [
            read(child.stdout.take().expect("piped")),
            read(child.stderr.take().expect("piped")),
        ];
        let mut stdin = child.stdin.take().expect("piped");
        let input = std::mem::take(&mut self.input);
        // It may end without having read all of it.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let mut status = None;
        let ended = wait_until(&self.shown, PROGRAM_TIMEOUT, &Stop::default(), || {
            status = process.exit_status().map_err(|e| e.to_string())?;
            status.map(drop).ok_or_else(|| "still running".to_owned())
        });
        process.kill().expect("it can be killed");
        writer.join().expect("no panic");
        let output: String = readers.map(|r| r.join().expect("no panic")).concat();
        ended.unwrap_or_else(|e| panic!("{e}\n{output}"));
        (status.expect("it has ended").code(), output)
    }
}

/// The path of a script beside this file.
pub(crate) fn script(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    path.join(name)
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Killed in the middle: what there was.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
