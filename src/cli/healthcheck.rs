//! `slotway healthcheck`: asks a running proxy whether it is ready, for images without a shell or curl.

use slotway::config::{Sources, admin_listen};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// How long connecting, writing and each read may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

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
    match ask(addr) {
        Ok(answer) if is_ready(&answer) => {
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

/// Where a listener on every address is reached from here.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addr
}

fn ask(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    // One write: a server that answers and closes early must not break a second one.
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_ready(answer: &str) -> bool {
    let mut words = answer.split_ascii_whitespace();
    words.next().is_some_and(|word| word.starts_with("HTTP/")) && words.next() == Some("200")
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
    fn only_status_200_is_ready() {
        assert!(is_ready("HTTP/1.0 200 OK\r\n\r\nready\n"));
        for not in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\n200",
            "",
            "SSH-2.0 200",
            "HTTP/1.1 2000 x",
        ] {
            assert!(!is_ready(not), "{not}");
        }
    }

    #[test]
    fn the_reason_is_passed_on() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno topology yet\nmore\n";
        assert_eq!(
            summary(answer),
            "HTTP/1.1 503 Service Unavailable: no topology yet"
        );
        assert_eq!(summary(""), "nothing");
    }

    #[test]
    fn a_wildcard_is_asked_on_loopback() {
        assert_eq!(
            reachable("0.0.0.0:1".parse().unwrap()).to_string(),
            "127.0.0.1:1"
        );
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(
            reachable("10.0.0.1:1".parse().unwrap()).to_string(),
            "10.0.0.1:1"
        );
    }
}
