//! The admin socket: accepts, bounds and times connections, and hands requests to `endpoints`. Every connection
//! serves one request and is closed, so that its whole life has one deadline: scrapes and probes are rare, and a
//! reader that stalls anywhere (request, response, in between) is gone in time. Who has not asked yet makes room for
//! who comes, so that a probe is answered at once however many connections say nothing.

use super::endpoints::{AdminState, respond};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Connections at a time. One more takes the place of the one that has been without a whole request for longest; as
/// long as all are being answered, it waits, and those behind it wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 64;

/// From accepting a connection to the last byte of its response.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Request line and headers of a request, in bytes.
pub const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// Headers of a request.
pub const HEADERS_MAX: usize = 64;

/// After accepting failed (no file descriptor left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves the endpoints on `listener`, forever. Dropping the future ends the connections too: it owns their tasks.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>) {
    serve_within(listener, state, Bounds::default()).await;
}

#[derive(Clone, Copy)]
struct Bounds {
    connections: usize,
    request_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            request_time: REQUEST_TIME_MAX,
        }
    }
}

async fn serve_within(listener: TcpListener, state: Arc<AdminState>, bounds: Bounds) {
    let mut connections = Connections::default();
    loop {
        // Both branches are cancel safe: no connection is accepted and lost, no finished task forgotten.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.make_room(bounds.connections).await;
                    connections.spawn(stream, &state, bounds.request_time);
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.tasks.join_next() => log_failure(ended),
        }
    }
}

/// Everybody who is connected.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Who has been there for longest first; some have ended.
    waiting: VecDeque<Waiting>,
}

/// A connection without a whole request, when it was last looked at.
struct Waiting {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    /// Returns when one more stays within `most`.
    async fn make_room(&mut self, most: usize) {
        if self.tasks.len() < most {
            return;
        }
        // What has arrived is read first: who has asked is not among those who wait.
        tokio::task::yield_now().await;
        self.forget();
        if self.tasks.len() >= most
            && let Some(Waiting { task, .. }) = self.waiting.pop_front()
        {
            tracing::debug!("an admin connection without a request makes room for another");
            task.abort();
        }
        while self.tasks.len() >= most {
            if let Some(ended) = self.tasks.join_next().await {
                log_failure(ended);
            }
        }
    }

    fn spawn(&mut self, stream: TcpStream, state: &Arc<AdminState>, time: Duration) {
        self.forget();
        let has_asked = Arc::new(AtomicBool::new(false));
        let serving = connection(stream, Arc::clone(state), time, Arc::clone(&has_asked));
        let task = self.tasks.spawn(serving);
        self.waiting.push_back(Waiting { task, has_asked });
    }

    /// Nobody among those who wait has asked or is gone: they are no more than there are tasks.
    fn forget(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            log_failure(ended);
        }
        self.waiting
            .retain(|w| !w.has_asked.load(Relaxed) && !w.task.is_finished());
    }
}

fn log_failure(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(%error, "an admin request failed");
    }
}

async fn connection(
    stream: TcpStream,
    state: Arc<AdminState>,
    time: Duration,
    has_asked: Arc<AtomicBool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Relaxed);
        let (method, uri, state) = (
            request.method().clone(),
            request.uri().clone(),
            state.clone(),
        );
        async move { Ok::<_, Infallible>(respond(&method, &uri, &state).await) }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .header_read_timeout(None) // `time` covers it
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(time, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended early"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Audit, Rules};
    use crate::config::Config;
    use crate::observe::Metrics;
    use serde_json::json;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A loop that never ends fails the test instead of hanging it.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn state(ready: Result<(), String>) -> AdminState {
        let metrics = Metrics::new(vec!["a".into()]).unwrap();
        let state = AdminState::new(
            metrics,
            move || ready.clone(),
            || json!({"epoch": 7}),
            |_| None,
        );
        let audit = Audit::new(Rules::of(&Config::default()));
        state.with_audit(Some(Arc::new(audit)))
    }

    /// The address of a server that lives as long as the test's runtime.
    async fn start(state: AdminState, bounds: Bounds) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve_within(listener, Arc::new(state), bounds));
        addr
    }

    async fn send(addr: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn receive(mut stream: TcpStream) -> String {
        let mut response = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut response));
        // A reset after the response is how a server closes that did not read everything.
        let _ = read.await.expect("the server closes the connection");
        String::from_utf8(response).unwrap()
    }

    async fn ask(addr: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = receive(send(addr, &request).await).await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    #[tokio::test]
    async fn every_endpoint_in_the_list_answers() {
        let addr = start(state(Ok(())), Bounds::default()).await;
        let (status, _, list) = ask(addr, "GET", "/nothing").await;
        assert_eq!(status, 404);
        let list = list.lines().skip(1);
        assert!(list.clone().count() > 5);
        for line in list {
            let path = line.split(' ').next().unwrap();
            let (status, head, body) = ask(addr, "GET", path).await;
            assert_eq!(status, 200, "{path}");
            assert!(head.contains("cache-control: no-store"), "{head}");
            assert!(body.ends_with('\n'), "{path}");
        }
    }

    #[tokio::test]
    async fn endpoints_say_what_they_should() {
        let addr = start(state(Ok(())), Bounds::default()).await;
        let (_, head, body) = ask(addr, "GET", "/metrics?name=x").await;
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(body.contains("# TYPE slotway_build_info gauge\n"), "{body}");
        let (_, head, body) = ask(addr, "GET", "/topology").await;
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&body).unwrap(),
            json!({"epoch": 7})
        );
        assert_eq!(ask(addr, "GET", "/readyz").await.2, "ready\n");
    }

    #[tokio::test]
    async fn not_ready_is_503_with_one_line_why_and_still_alive() {
        let addr = start(
            state(Err("no topology yet:\r\nrefused".into())),
            Bounds::default(),
        )
        .await;
        let (status, _, body) = ask(addr, "GET", "/readyz").await;
        assert_eq!(
            (status, body.as_str()),
            (503, "not ready: no topology yet: refused\n")
        );
        assert_eq!(ask(addr, "GET", "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn wrong_paths_and_methods_get_a_hint() {
        let addr = start(state(Ok(())), Bounds::default()).await;
        let (status, _, body) = ask(addr, "GET", "/metric").await;
        assert_eq!(status, 404);
        assert!(body.contains("/metrics"), "{body}");
        let (status, head, body) = ask(addr, "POST", "/metrics").await;
        assert_eq!(status, 405);
        assert!(
            head.contains("allow: get, head") && body.contains("GET"),
            "{head} {body}"
        );
    }

    #[tokio::test]
    async fn head_has_the_length_and_no_body() {
        let addr = start(state(Ok(())), Bounds::default()).await;
        let (status, head, body) = ask(addr, "HEAD", "/livez").await;
        assert_eq!((status, body.as_str()), (200, ""));
        assert!(head.contains("content-length: 3"), "{head}");
    }

    #[tokio::test]
    async fn headers_are_bounded() {
        let addr = start(state(Ok(())), Bounds::default()).await;
        let long = format!(
            "GET /livez HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "a".repeat(HEADERS_BYTES_MAX)
        );
        assert!(
            receive(send(addr, &long).await)
                .await
                .starts_with("HTTP/1.1 431 ")
        );
        let many = format!(
            "GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: a\r\n".repeat(HEADERS_MAX)
        );
        assert!(
            receive(send(addr, &many).await)
                .await
                .starts_with("HTTP/1.1 431 ")
        );
    }

    #[tokio::test]
    async fn who_sends_nothing_is_closed() {
        let bounds = Bounds {
            request_time: Duration::from_millis(10),
            ..Bounds::default()
        };
        let addr = start(state(Ok(())), bounds).await;
        assert_eq!(receive(send(addr, "").await).await, "");
        assert_eq!(
            receive(send(addr, "GET /livez HTTP/1.1\r\n").await).await,
            ""
        );
    }

    /// No time is up before a test is over.
    fn patient(connections: usize) -> Bounds {
        Bounds {
            connections,
            request_time: PATIENCE * 1000,
        }
    }

    const REQUEST: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    const HALF: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\n";

    #[tokio::test]
    async fn who_has_not_asked_makes_room_in_the_order_of_coming() {
        let addr = start(state(Ok(())), patient(3)).await;
        let mut silent = Vec::new();
        for request in ["", HALF, "", HALF, ""] {
            silent.push(send(addr, request).await);
        }
        assert_eq!(ask(addr, "GET", "/readyz").await.2, "ready\n");
        // Three of them have made room, those who came first. Two are left, and may still ask.
        let rest = silent.split_off(3);
        for stream in silent {
            assert_eq!(receive(stream).await, "");
        }
        for (mut stream, request) in rest.into_iter().zip(["\r\n", REQUEST]) {
            stream.write_all(request.as_bytes()).await.unwrap();
            assert!(receive(stream).await.ends_with("ready\n"));
        }
    }

    /// All of them have asked before the first is accepted.
    #[tokio::test]
    async fn who_has_asked_is_answered_whoever_comes_after() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut asked = Vec::new();
        for _ in 0..100 {
            asked.push(send(addr, REQUEST).await);
        }
        tokio::spawn(serve_within(listener, Arc::new(state(Ok(()))), patient(1)));
        for stream in asked {
            assert!(receive(stream).await.ends_with("ready\n"));
        }
    }

    /// One connection is allowed, and has asked for more than fits into the buffers between. The one behind it is
    /// answered, but only after the first has read all.
    #[tokio::test]
    async fn who_is_being_answered_is_waited_for() {
        const LONG: usize = 32 << 20;
        let answers = AtomicUsize::new(0);
        let metrics = Metrics::new(Vec::new()).unwrap();
        let long = move || Err("x".repeat(LONG >> (16 * answers.fetch_add(1, Relaxed))));
        let addr = start(
            AdminState::new(metrics, long, || json!({}), |_| None),
            patient(1),
        )
        .await;
        let mut first = send(addr, REQUEST).await;
        let mut begun = [0; 1024];
        first.read_exact(&mut begun).await.unwrap();
        let second = send(addr, REQUEST).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await; // every chance to be answered too early, or to cut the first
        }
        assert!(receive(first).await.len() > LONG - begun.len());
        assert!(receive(second).await.len() > LONG >> 16);
    }
}
