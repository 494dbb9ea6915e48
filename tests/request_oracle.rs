//! A real server as the oracle of the request decoder: what one refuses the other refuses, in the same words, and
//! both split inline requests into the same arguments.
//!
//! Where we are stricter on purpose is in `STRICTER`, and nowhere else.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use slotway::resp::{self, Decoded, ProtocolError, RequestDecoder, RequestLimits};

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(20);
/// How long a reply may take.
const REPLY_MAX: Duration = Duration::from_secs(20);

const MB: u32 = 1024 * 1024;

const LIMITS: RequestLimits = RequestLimits {
    arguments: i32::MAX as u32,
    argument: 512 * MB,
    request: 512 * MB,
    inline: 64 * 1024,
    preauth: false,
};

/// Before authentication, as Redis has it.
const PREAUTH: RequestLimits = RequestLimits {
    arguments: 10,
    argument: 16 * 1024,
    preauth: true,
    ..LIMITS
};

/// What the server takes and we refuse. Each would leave it unclear where the next request begins.
const STRICTER: &[(&[u8], ProtocolError)] = &[
    (b"*1\r\n$4\r\nPINGxx", ProtocolError::MissingCrlf),
    (
        b"*1\rx$4\r\nPING\r\n",
        ProtocolError::InvalidMultibulkLength,
    ),
    (b"*1\r\n$4\rxPING\r\n", ProtocolError::InvalidBulkLength),
];

/// A server of its own, on a socket in a directory of its own; both are gone afterwards.
struct Server {
    process: Child,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "socket"])
            .args(options)
            .current_dir(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on PATH");
        let server = Self { process, dir };
        let started = Instant::now();
        while server.try_connect().is_err() {
            assert!(started.elapsed() < START_MAX, "the server does not start");
            std::thread::yield_now();
        }
        server
    }

    fn try_connect(&self) -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("socket"))?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        Ok(stream)
    }

    /// Sends `bytes`, half-closes, and returns all that comes back.
    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.try_connect().expect("the server accepts");
        // The server may have seen enough and gone.
        let _ = stream
            .write_all(bytes)
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("no end of the answer: {error}")
            }
            _ => answer,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What we would answer to the first request in `bytes`, if it is one that is refused.
fn refusal(bytes: &[u8], limits: &RequestLimits) -> Option<Vec<u8>> {
    let error = RequestDecoder::new().decode(bytes, limits).err()?;
    let mut reply = Vec::new();
    error.reply(&mut reply);
    Some(reply)
}

fn long(prefix: &str) -> Vec<u8> {
    [prefix.as_bytes(), &[b'1'; 70_000]].concat()
}

#[test]
fn broken_requests_are_refused_in_the_words_of_the_server() {
    let server = Server::start(&[]);
    let mut broken: Vec<Vec<u8>> = [
        "*\r\n",
        "*+1\r\n",
        "*01\r\n",
        "*00\r\n",
        "*-0\r\n",
        "* 1\r\n",
        "*1 \r\n",
        "*a\r\n",
        "*2147483648\r\n",
        "*9223372036854775808\r\n",
        "*-9223372036854775809\r\n",
        "*1\r\n:4\r\n",
        "*1\r\n*1\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n\r\n",
        "*1\r\n\nx\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-5\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$+1\r\n",
        "*1\r\n$01\r\n",
        "*1\r\n$1 \r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$9223372036854775807\r\n",
        "*1\r\n$18446744073709551617\r\n",
        "PING \"a\r\n",
        "'a'b\r\n",
        "\"a\\\"\r\n",
        "POST / HTTP/1.1\r\n",
        "hOsT: a\r\n",
        "*1\r\n$4\r\npost\r\n",
        "*2\r\n$5\r\nHost:\r\n$1\r\na\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    broken.push(b"*1\r\n\xff\r\n".to_vec());
    broken.extend(["*", "*1\r\n$", "a"].map(long));
    for bytes in broken {
        let shown = bytes[..bytes.len().min(40)].escape_ascii();
        let ours = refusal(&bytes, &LIMITS).unwrap_or_else(|| panic!("{shown} is not refused"));
        assert_eq!(
            server.answer(&bytes).escape_ascii().to_string(),
            ours.escape_ascii().to_string(),
            "{shown}"
        );
    }
}

#[test]
fn before_authentication_too() {
    let server = Server::start(&["--requirepass", "secret"]);
    for text in [
        "*11\r\n",
        "*2147483648\r\n",
        "*1\r\n$16385\r\n",
        "*1\r\n$536870913\r\n",
    ] {
        let ours = refusal(text.as_bytes(), &PREAUTH).unwrap();
        assert_eq!(server.answer(text.as_bytes()), ours, "{text:?}");
    }
}

#[test]
fn what_the_server_ignores_we_ignore() {
    let server = Server::start(&[]);
    for text in ["\r\n", "\n", " \t\x0b\r\n", "*0\r\n", "*-5\r\n"] {
        let consumed = text.len();
        let decoded = RequestDecoder::new().decode(text.as_bytes(), &LIMITS);
        assert_eq!(decoded, Ok(Decoded::Nothing { consumed }), "{text:?}");
        assert_eq!(
            server.answer(format!("{text}PING\r\n").as_bytes()),
            b"+PONG\r\n",
            "{text:?}"
        );
    }
}

#[test]
fn where_we_are_stricter() {
    let server = Server::start(&[]);
    for (bytes, error) in STRICTER {
        assert_eq!(RequestDecoder::new().decode(bytes, &LIMITS), Err(*error));
        assert_eq!(
            server.answer(bytes),
            b"+PONG\r\n",
            "no longer a difference: {}",
            bytes.escape_ascii()
        );
    }
}

/// The arguments that we see in an inline request behind those of `ECHO_ARGUMENTS`, or our refusal.
fn our_arguments(line: &[u8]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut decoder = RequestDecoder::new();
    match decoder.decode(line, &LIMITS) {
        Ok(Decoded::Request { consumed }) => {
            assert_eq!(consumed, line.len());
            Ok(decoder
                .request(line)
                .args()
                .skip(3)
                .map(<[u8]>::to_vec)
                .collect())
        }
        Ok(other) => panic!("{other:?} for {}", line.escape_ascii()),
        Err(error) => {
            let mut reply = Vec::new();
            error.reply(&mut reply);
            Err(reply)
        }
    }
}

#[test]
fn inline_requests_are_split_as_the_server_splits_them() {
    /// A command that answers with the arguments that follow it.
    const ECHO_ARGUMENTS: &[u8] = b"EVAL 'return ARGV' 0 ";

    let server = Server::start(&[]);
    let token = prop_oneof![
        8 => prop::sample::select(&[
            "\"", "'", "\\", "\\\"", "\\'", "\\x41", "\\xZ1", "\\x0", "\\n", "\\t", "\\a", "\\b", "\\r", "\\q", " ", "\t", "\r",
            "\x0b", "\x0c", "a", "0", "\" ", "' ", " \"", " '",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>()
            .prop_filter("neither ends the line nor hides its end", |byte| !matches!(byte, b'\n' | 0))
            .prop_map(|byte| vec![byte]),
    ];
    let lines = prop::collection::vec(token, 0..16).prop_map(|tokens| tokens.concat());
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&lines, |line| {
        let line = [ECHO_ARGUMENTS, &line, b"\r\n"].concat();
        let answer = server.answer(&line);
        match our_arguments(&line) {
            Err(refusal) => prop_assert_eq!(answer, refusal),
            Ok(ours) => {
                let ranges = resp::elements(&answer);
                prop_assert!(
                    ranges.is_some(),
                    "the server answers {}",
                    answer.escape_ascii()
                );
                let theirs: Vec<_> = ranges
                    .into_iter()
                    .flatten()
                    .map(|range| resp::bulk(&answer[range]).map(<[u8]>::to_vec))
                    .collect();
                prop_assert_eq!(ours.into_iter().map(Some).collect::<Vec<_>>(), theirs);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
