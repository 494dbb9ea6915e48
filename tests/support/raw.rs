//! A strict blocking client that speaks bytes: what is sent is what the test wrote, what is received is compared
//! byte for byte. Its reply scanner is its own, small and slow, so that it cannot share a mistake with the
//! proxy's.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take before the test fails.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the proxy or to a server. Everything that goes wrong fails the test.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawClient {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream =
            TcpStream::connect(addr).unwrap_or_else(|e| panic!("connecting to {addr}: {e}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Waits so long for replies, instead of half a minute.
    pub fn wait_at_most(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).unwrap();
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sending");
    }

    /// Sends bytes in pieces that end at `cuts`, each in a segment of its own as far as the kernel allows.
    pub fn send_in_pieces(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for &cut in cuts.iter().filter(|&&cut| cut <= bytes.len()) {
            if cut > from {
                self.send(&bytes[from..cut]);
                from = cut;
            }
        }
        self.send(&bytes[from..]);
    }

    /// The same; the other side may have seen enough and gone.
    pub fn try_send_in_pieces(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            if from < cut && self.stream.write_all(&bytes[from..cut]).is_err() {
                return;
            }
            from = from.max(cut);
        }
    }

    /// One reply, as the bytes that came.
    pub fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = reply_end(&self.unread, 0) {
                return self.unread.drain(..end).collect();
            }
            let n = self.read_some().unwrap_or_else(|e| {
                panic!("reading a reply: {e}; so far: {}", show(&self.unread));
            });
            assert!(n > 0, "closed in a reply; so far: {}", show(&self.unread));
        }
    }

    /// `n` replies.
    pub fn replies(&mut self, n: usize) -> Vec<Vec<u8>> {
        let replies = self.try_replies(n);
        let got = replies.len();
        assert!(
            got == n,
            "{got} replies of {n}, then: {}",
            show(&self.unread)
        );
        replies
    }

    /// `n` replies, or those that came before the other side closed or fell silent.
    pub fn try_replies(&mut self, n: usize) -> Vec<Vec<u8>> {
        let mut replies = Vec::with_capacity(n);
        let mut at = 0;
        while replies.len() < n {
            if let Some(end) = reply_end(&self.unread, at) {
                replies.push(self.unread[at..end].to_vec());
                at = end;
            } else if !matches!(self.read_some(), Ok(1..)) {
                break;
            }
        }
        self.unread.drain(..at);
        replies
    }

    /// Sends one command and gives its reply, as bytes.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        self.send(&encode(args));
        self.reply()
    }

    /// The same with the words of a line: `client.line("SET a 1")`.
    pub fn line(&mut self, line: &str) -> Vec<u8> {
        self.send_lines(&[line]);
        self.reply()
    }

    /// Sends a command for each line, in one piece.
    pub fn send_lines(&mut self, lines: &[&str]) {
        let commands = lines.iter().flat_map(|line| encode_line(line));
        self.send(&commands.collect::<Vec<_>>());
    }

    /// Sends one command and compares its reply.
    #[track_caller]
    pub fn expect(&mut self, line: &str, reply: &[u8]) {
        let got = self.line(line);
        assert!(
            got == reply,
            "{line}: got {}, expected {}",
            show(&got),
            show(reply)
        );
    }

    /// No more will be sent; replies can still be read, unless the other side has closed already.
    pub fn half_close(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            Err(e) if e.kind() == ErrorKind::NotConnected => {}
            result => result.expect("half-closing"),
        }
    }

    /// Closes with a reset: what was not read on either side is lost.
    pub fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Everything until the other side closes.
    pub fn rest(&mut self) -> Vec<u8> {
        self.try_rest().unwrap_or_else(|so_far| {
            panic!("waiting for the close; so far: {}", show(&so_far));
        })
    }

    /// The same; `Err` with what came if the other side falls silent instead.
    pub fn try_rest(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        loop {
            match self.read_some() {
                Ok(0) => return Ok(std::mem::take(&mut self.unread)),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(_) => return Err(std::mem::take(&mut self.unread)),
            }
        }
    }

    /// The other side closes without another byte.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "bytes before the close: {}", show(&rest));
    }

    fn read_some(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let n = self.stream.read(&mut chunk)?;
        self.unread.extend_from_slice(&chunk[..n]);
        Ok(n)
    }
}

/// A command in canonical form.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A command of the words of a line.
pub fn encode_line(line: &str) -> Vec<u8> {
    encode(&line.split_ascii_whitespace().collect::<Vec<_>>())
}

/// Bytes in a form that can be read in a message.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 400;
    let cut = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more} ({} bytes)", cut.escape_ascii(), bytes.len())
}

/// Where the reply that starts at `at` ends; `None` if it is not all there. RESP2 and RESP3.
///
/// # Panics
/// When the bytes are no reply.
pub fn reply_end(buf: &[u8], at: usize) -> Option<usize> {
    let line_end = at + buf.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
    let after = line_end + 2;
    let line = std::str::from_utf8(&buf[at + 1..line_end]);
    let number = || -> i64 {
        let line = line.unwrap_or_default();
        line.parse()
            .unwrap_or_else(|_| panic!("no length in {}", show(&buf[at..after])))
    };
    match buf[at] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Some(after),
        b'$' | b'=' | b'!' => match usize::try_from(number()) {
            Err(_) => Some(after),
            Ok(len) => {
                let end = after + len + 2;
                let tail = buf.get(end - 2..end)?;
                assert!(
                    tail == b"\r\n",
                    "no CRLF after a bulk: {}",
                    show(&buf[at..end])
                );
                Some(end)
            }
        },
        kind @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
            let elements = match (kind, number()) {
                (b'%', n) => n * 2,
                // Attributes precede the reply that they belong to.
                (b'|', n) => n * 2 + 1,
                (_, n) => n,
            };
            (0..elements).try_fold(after, |at, _| reply_end(buf, at))
        }
        _ => panic!("no reply starts with {}", show(&buf[at..])),
    }
}
