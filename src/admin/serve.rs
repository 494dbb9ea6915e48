//! The admin socket: accepts, bounds and times connections, and hands requests to `endpoints`. Every connection
//! serves one request and is closed, so that its whole life has one deadline: scrapes and probes are rare, and a
//! reader that stalls anywhere (request, response, in between) is gone in time.

use super::endpoints::{AdminState, respond};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections at a time; further ones wait in the listener's backlog.
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
    let mut connections = JoinSet::new();
    loop {
        // Both branches are cancel safe: no connection is accepted and lost, no finished task forgotten.
        tokio::select! {
            accepted = listener.accept(), if connections.len() < bounds.connections => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&state), bounds.request_time));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an admin request failed");
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>, time: Duration) {
    let service = service_fn(|request| {
        let response = respond(request.method(), request.uri().path(), &state);
        async { Ok::<_, Infallible>(response) }
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
    use crate::observe::Metrics;
    use serde_json::json;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A loop that never ends fails the test instead of hanging it.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn state(ready: Result<(), String>) -> AdminState {
        let metrics = Metrics::new(vec!["a".into()]).unwrap();
        AdminState::new(metrics, move || ready.clone(), || json!({"epoch": 7}))
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
        let (status, _, list) = ask(addr, "GET", "/").await;
        assert_eq!(status, 200);
        for line in list.lines() {
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

    /// One connection is allowed and held by a client that has not asked yet. The one behind it is answered, but
    /// only after the first.
    #[tokio::test]
    async fn connections_beyond_the_bound_wait_for_their_turn() {
        let bounds = Bounds {
            connections: 1,
            ..Bounds::default()
        };
        let asked = AtomicUsize::new(0);
        let metrics = Metrics::new(Vec::new()).unwrap();
        let count = move || Err(format!("{}", asked.fetch_add(1, Relaxed)));
        let addr = start(AdminState::new(metrics, count, || json!({})), bounds).await;
        let request = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut first = send(addr, "").await;
        let second = send(addr, request).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await; // every chance to be answered too early
        }
        first.write_all(request.as_bytes()).await.unwrap();
        assert!(receive(first).await.ends_with("not ready: 0\n"));
        assert!(receive(second).await.ends_with("not ready: 1\n"));
    }
}
