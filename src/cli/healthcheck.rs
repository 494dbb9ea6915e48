//! `slotway healthcheck`: asks a running proxy whether it is ready, for images without a shell or curl.

use slotway::admin::{ask, is_ok, reachable};
use slotway::config::{Sources, admin_listen};
use std::process::ExitCode;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Prints one line; success if /readyz says 200.
#[expect(clippy::print_stdout, reason = "printing is what it is for")]
pub(crate) fn healthcheck(sources: &Sources) -> ExitCode {
    // Of the configuration only this option matters: flags of the running proxy need not be repeated.
    let addr = match admin_listen(sources) {
        Ok(Some(addr)) => reachable(addr),
        Ok(None) => {
            println!("not ready: admin.listen is off, there is nobody to ask");
            return ExitCode::FAILURE;
        }
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    match ask(addr, "/readyz", ANSWER_BYTES_MAX) {
        Ok(answer) if is_ok(&answer) => {
            println!("ready");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            println!("not ready: {addr} says {}", summary(&answer));
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("not ready: no answer from {addr}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The status and the first line of the body.
fn summary(answer: &str) -> String {
    let status = answer.lines().next().unwrap_or("nothing");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match body.lines().next() {
        Some(line) if !line.is_empty() => format!("{status}: {line}"),
        _ => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_passed_on() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno topology yet\nmore\n";
        assert_eq!(
            summary(answer),
            "HTTP/1.1 503 Service Unavailable: no topology yet"
        );
        assert_eq!(summary(""), "nothing");
    }
}
