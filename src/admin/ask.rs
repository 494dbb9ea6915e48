//! The other side of the admin endpoint: asks a running proxy for one path, for `healthcheck` and `top`. Blocking, in
//! bounded time and memory, since anybody may listen there.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long connecting, writing and each read may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the whole answer may take once it is asked for.
const WHOLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a listener on every address is reached from here.
pub fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addr
}

/// The whole answer to a GET, headers included: its first `bytes_max` bytes.
pub fn ask(addr: SocketAddr, path: &str, bytes_max: usize) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    // One write: a server that answers and closes early must not break a second one.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let until = Instant::now() + WHOLE_ANSWER_TIMEOUT;
    let mut chunk = vec![0; CHUNK_BYTES];
    while answer.len() < bytes_max {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.min(ANSWER_TIMEOUT)))?;
        let room = chunk.len().min(bytes_max - answer.len());
        match stream.read(&mut chunk[..room]) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether an answer says 200.
pub fn is_ok(answer: &str) -> bool {
    let mut words = answer.split_ascii_whitespace();
    words.next().is_some_and(|word| word.starts_with("HTTP/")) && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_200_is_ok() {
        assert!(is_ok("HTTP/1.0 200 OK\r\n\r\nready\n"));
        for not in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\n200",
            "",
            "SSH-2.0 200",
            "HTTP/1.1 2000 x",
        ] {
            assert!(!is_ok(not), "{not}");
        }
    }

    #[test]
    fn a_wildcard_is_asked_on_loopback() {
        let asked = |addr: &str| reachable(addr.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(asked("[::]:1"), "[::1]:1");
        assert_eq!(asked("10.0.0.1:1"), "10.0.0.1:1");
    }
}
