//! Waits with an end. A timer says that the time is up, not that nothing has come: where slotway itself was stopped (a
//! signal, a machine that was put to sleep), timers run before anybody has looked at the sockets.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

/// What that comes to until then, if it does; what lies in a socket by then has come.
pub async fn until<F: Future>(latest: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Ok(output) = timeout_at(latest, future.as_mut()).await {
        return Some(output);
    }
    // The runtime looks at its sockets before it comes back.
    yield_now().await;
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// The same, within that time from now on.
pub async fn in_time<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    until(Instant::now() + time, future).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// The runtime does nothing for a while in which the answer comes and the time is up.
    #[tokio::test]
    async fn what_came_in_time_counts_though_nobody_looked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut ours = TcpStream::connect(addr).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let latest = Instant::now();
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(until(latest, ours.read_u8()).await.unwrap().unwrap(), b'x');
        assert!(until(latest, ours.read_u8()).await.is_none());
    }
}
