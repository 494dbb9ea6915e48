//! Child processes that cannot outlive this one: started from one thread that lives as long as the process,
//! in a process group of their own (a Ctrl-C at the terminal reaches the parent alone), and killed by the
//! kernel when the parent dies, SIGKILL included. Used for the demo's servers and, by the tests, for the
//! proxy under test. What is started, and when it is ready, is the caller's business.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, kill_process};

/// Starts that may wait for the thread that starts processes.
const STARTS_QUEUED_MAX: usize = 16;

/// A running child. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts what [`mortal`] has prepared.
    pub fn start(command: Command) -> io::Result<Self> {
        start_on_lasting_thread(command).map(|child| Self { child })
    }

    /// Its process id. The same program keeps it to its end: [`mortal`] replaces itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// The child as the standard library knows it: for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.kill();
    }
}

/// A command that runs `program` and dies with this process. Where `setpriv` cannot arrange that (macOS,
/// busybox) only [`Process`]'s own drop ends it.
pub fn mortal(program: &Path) -> Command {
    let mut command = if setpriv_works() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0).stdin(Stdio::null());
    command
}

fn setpriv_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

struct Start {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// The kernel sends the parent-death signal when the *thread* that forked ends, so the threads of callers,
/// which come and go, must not fork. This one ends with the process.
fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<SyncSender<Start>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, receiver) = sync_channel::<Start>(STARTS_QUEUED_MAX);
        std::thread::spawn(move || {
            for mut start in receiver {
                // The caller waits for the answer; if it is gone, the child must not stay.
                if let Err(unsent) = start.answer.send(start.command.spawn()) {
                    let _ = unsent.0.map(|mut child| child.kill());
                }
            }
        });
        sender
    });
    let (answer, child) = sync_channel(1);
    starter
        .send(Start { command, answer })
        .map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = std::thread::spawn(|| {
            let mut command = mortal(Path::new("sleep"));
            command.arg("60");
            Process::start(command).unwrap()
        })
        .join()
        .unwrap();
        // A signal from the kernel for the ended thread would be pending by now: it is sent before the join
        // returns. SIGSTOP and SIGCONT give it the chance to be acted on.
        child.signal(Signal::STOP).unwrap();
        child.signal(Signal::CONT).unwrap();
        assert!(child.exit_status().unwrap().is_none());
        child.kill().unwrap();
        assert!(child.exit_status().unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_started_is_an_error_of_the_caller() {
        assert!(Process::start(Command::new("/nonexistent/program")).is_err());
    }
}
