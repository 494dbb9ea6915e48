//! Prometheus itself (Debian package `prometheus`), on a free loopback port and with a directory that goes with it. It
//! scrapes one proxy and evaluates `dashboards/rules.yaml` once a second.

use serde_json::Value;
use slotway::demo::{Process, Reservation, Stop, mortal, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use crate::support::SHOWN_WITHIN;

/// How long it may take to start, to scrape several times, and to answer for all panels.
const SCRAPED_WITHIN: Duration = Duration::from_secs(120);

pub(crate) struct Prometheus {
    _process: Process,
    port: Reservation,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts it; what it scrapes is known as this job.
    pub(crate) fn start(job: &str, scraped: SocketAddr, rules: &Path) -> Self {
        let port = Reservation::any().expect("a free port");
        let dir = TempDir::new().expect("a directory");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  - job_name: {job}\n    static_configs: [{{targets: ['{scraped}']}}]\n",
            rules.display()
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("it is writable");
        let mut command = mortal(Path::new("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={}", port.addr()))
            .arg("--log.level=warn")
            .stdout(Stdio::null());
        let process =
            Process::start(command).expect("prometheus starts (apt-get install prometheus)");
        Self {
            _process: process,
            port,
            _dir: dir,
        }
    }

    /// The `data` of an answer, or what it says against the question.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        let text = self.http(path).map_err(|error| error.to_string())?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("no body")?;
        let answer: Value =
            serde_json::from_str(body).map_err(|error| format!("{error}: {text}"))?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer.to_string()),
        }
    }

    /// The samples of an instant query.
    pub(crate) fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let data = self.get(&format!("/api/v1/query?query={}", escaped(expr)))?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Polls until `check` says that it is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, check: impl FnMut() -> Result<(), String>) {
        wait_until(what, SCRAPED_WITHIN, &Stop::default(), check)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    // By HTTP/1.0 nothing comes in chunks.
    fn http(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.port.addr())?;
        stream.set_read_timeout(Some(SHOWN_WITHIN))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Runs `promtool` with this input in the folder `dashboards`; what it says, and whether it is content.
pub(crate) fn promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(super::folder());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .expect("promtool (apt-get install prometheus)");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
