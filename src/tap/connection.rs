//! One client and its connection to the server: two ways, each as fast as its reader, ended as the two sides end it.

use super::follow::Follower;
use crate::audit::Audit;
use crate::cluster::NodeAddr;
use crate::command::CommandTable;
use crate::io::{ReadHalf, WriteHalf, split_tcp, tune_tcp};
use crate::resp::encode;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long a client may take to close after the server has.
const LINGER: Duration = Duration::from_secs(1);

/// Without an acknowledgement for so long a connection is given up.
const UNACKED: Duration = Duration::from_secs(30);

thread_local! {
    static CHUNK: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK_BYTES].into());
}

/// What all clients of a tap share.
#[derive(Debug)]
pub struct Tap {
    /// The server.
    pub upstream: NodeAddr,
    /// `timeouts.connect`
    pub connect: Duration,
    /// `timeouts.drain`
    pub drain: Duration,
    /// What the server can do.
    pub table: Arc<CommandTable>,
    /// Where findings go.
    pub audit: Arc<Audit>,
    /// Clients whose replies have all come are closed, the others once they have.
    pub stop: CancellationToken,
}

impl Tap {
    /// Serves one client until it or the server ends it.
    pub async fn serve(&self, client: (ReadHalf, WriteHalf)) {
        let (reads, writes) = client;
        let server = match self.dial().await {
            Ok(stream) => split_tcp(stream),
            Err(error) => {
                tracing::warn!(upstream = %self.upstream, %error, "cannot reach the audited server");
                let mut text = Vec::new();
                let upstream = &self.upstream;
                encode::error(
                    &mut text,
                    &format!(
                        "ERR slotway: the audited server {upstream} cannot be reached: {error}"
                    ),
                );
                let _ = writes.try_write(&text);
                return linger(reads, &writes).await;
            }
        };
        let follower = Follower::new(self.audit.clone(), self.table.clone());
        let passing = Passing {
            follower: RefCell::new(follower),
            answered: Notify::new(),
        };
        passing.pass(self, (reads, writes), server).await;
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let to = (self.upstream.host(), self.upstream.port());
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = timeout(self.connect, TcpStream::connect(to))
            .await
            .map_err(late)??;
        tune_tcp(&stream, UNACKED)?;
        Ok(stream)
    }
}

/// A client with its server.
struct Passing {
    follower: RefCell<Follower>,
    /// Something came from the server.
    answered: Notify,
}

impl Passing {
    async fn pass(
        &self,
        tap: &Tap,
        (mut from_client, to_client): (ReadHalf, WriteHalf),
        (mut from_server, to_server): (ReadHalf, WriteHalf),
    ) {
        let upwards = async {
            let look = |bytes: &[u8]| self.with(|follower| follower.sent(bytes));
            tokio::select! {
                ended = pass(&mut from_client, &to_server, look) => match ended {
                    Ended::AtSource | Ended::AtTarget => Ending::OfRequests,
                    Ended::SourceLost => Ending::AtOnce,
                },
                () = self.nothing_under_way(tap) => Ending::AtOnce,
            }
        };
        let downwards = async {
            let look = |bytes: &[u8]| {
                self.with(|follower| follower.answered(bytes));
                self.answered.notify_one();
            };
            pass(&mut from_server, &to_client, look).await
        };
        let mut downwards = std::pin::pin!(downwards);
        let of_replies = |ended| match ended {
            Ended::AtSource | Ended::SourceLost => Ending::OfReplies,
            Ended::AtTarget => Ending::AtOnce,
        };
        let mut ending = tokio::select! {
            ending = upwards => ending,
            ended = &mut downwards => of_replies(ended),
        };
        if let Ending::OfRequests = ending {
            // What the server has said, and still says to requests that it has.
            ending = of_replies(downwards.await);
        }
        if let Ending::OfReplies = ending {
            linger(from_client, &to_client).await;
        }
    }

    /// Returns once the tap is to stop and no reply is outstanding; those that never come are waited for no longer than
    /// `drain`.
    async fn nothing_under_way(&self, tap: &Tap) {
        tap.stop.cancelled().await;
        let all = async {
            while self.with(|follower| follower.is_under_way()) {
                self.answered.notified().await;
            }
        };
        let _ = timeout(tap.drain, all).await;
    }

    fn with<T>(&self, then: impl FnOnce(&mut Follower) -> T) -> T {
        then(&mut self.follower.borrow_mut())
    }
}

enum Ending {
    /// No more requests come, or the server takes none.
    OfRequests,
    /// No more replies come.
    OfReplies,
    AtOnce,
}

/// How one way ended.
enum Ended {
    /// Nothing more comes, and the target was told so.
    AtSource,
    /// It takes no more.
    AtTarget,
    SourceLost,
}

/// Passes on all that comes, and the end of it.
async fn pass(from: &mut ReadHalf, to: &WriteHalf, mut look: impl FnMut(&[u8])) -> Ended {
    loop {
        match poll_fn(|cx| poll_pass(cx, from, to, &mut look)).await {
            Ok(Passed::Left(bytes)) => match to.write_all(&bytes).await {
                Ok(()) => {}
                Err(_) => return Ended::AtTarget,
            },
            Ok(Passed::End) => {
                to.shut_down();
                return Ended::AtSource;
            }
            Ok(Passed::Refused) => return Ended::AtTarget,
            Err(_) => return Ended::SourceLost,
        }
    }
}

enum Passed {
    /// This is still to be written.
    Left(Vec<u8>),
    /// Nothing more comes.
    End,
    /// The target takes no more.
    Refused,
}

/// Passes on what there is, as long as it is taken.
fn poll_pass(
    cx: &mut Context<'_>,
    from: &mut ReadHalf,
    to: &WriteHalf,
    look: &mut impl FnMut(&[u8]),
) -> Poll<io::Result<Passed>> {
    CHUNK.with_borrow_mut(|chunk| {
        let mut into = ReadBuf::new(chunk);
        ready!(from.poll_read(cx, &mut into))?;
        let bytes = into.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(Passed::End));
        }
        // First: who waits for a reply is expected when it comes.
        look(bytes);
        let written = match to.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Poll::Ready(Ok(Passed::Refused)),
        };
        Poll::Ready(Ok(Passed::Left(bytes[written..].to_vec())))
    })
}

/// Lets a client read what it was sent before the connection is closed: what it sends meanwhile would reset it.
async fn linger(mut reads: ReadHalf, writes: &WriteHalf) {
    writes.shut_down();
    let rest = async {
        while let Ok(Passed::Left(_)) = poll_fn(|cx| {
            CHUNK.with_borrow_mut(|chunk| {
                let mut into = ReadBuf::new(chunk);
                ready!(reads.poll_read(cx, &mut into))?;
                Poll::Ready(io::Result::Ok(match into.filled().is_empty() {
                    true => Passed::End,
                    false => Passed::Left(Vec::new()),
                }))
            })
        })
        .await
        {}
    };
    let _ = timeout(LINGER, rest).await;
}
