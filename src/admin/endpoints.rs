//! What each path answers: a method and a path in, a response out; `serve` does the sockets.

use super::explained::{Explaining, explained};
use super::{page, seen};
use crate::audit::Audit;
use crate::cluster::{NodeAddr, Slot};
use crate::config::Settings;
use crate::explain::{Explanation, Said};
use crate::observe::{History, Metrics};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::Value;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;

/// Everything the endpoints show.
pub struct AdminState {
    pub(super) metrics: Metrics,
    pub(super) ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    pub(super) topology: Box<dyn Fn() -> Value + Send + Sync>,
    pub(super) owner: seen::Owner,
    pub(super) settings: Settings,
    pub(super) history: Arc<History>,
    clients: Clients,
    pub(super) explain: Explaining,
    audit: Option<Arc<Audit>>,
    /// There is nothing to show but the audit.
    only_audit: bool,
}

impl AdminState {
    /// `ready` says why slotway is not ready, if it is not; `topology` is what `/topology` shows; `owner` knows which node
    /// has a slot. All are called per request and must not block.
    pub fn new(
        metrics: Metrics,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
        topology: impl Fn() -> Value + Send + Sync + 'static,
        owner: impl Fn(Slot) -> Option<NodeAddr> + Send + Sync + 'static,
    ) -> Self {
        Self {
            metrics,
            ready: Box::new(ready),
            topology: Box::new(topology),
            owner: Box::new(owner),
            settings: Settings::defaults(),
            history: Arc::default(),
            clients: Box::new(|_| Box::pin(async { Ok((0, Vec::new())) })),
            explain: Box::new(|_| Err("nobody is here to explain it".to_owned())),
            audit: None,
            only_audit: false,
        }
    }

    /// With somebody who asks the workers for the lines of CLIENT LIST, as many as it is told at most.
    pub fn with_clients<F>(self, ask: impl Fn(usize) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(usize, Vec<String>), String>> + Send + 'static,
    {
        Self {
            clients: Box::new(move |most| Box::pin(ask(most))),
            ..self
        }
    }

    /// With somebody who explains commands.
    pub fn with_explain(
        self,
        explain: impl Fn(&[Said]) -> Result<Vec<Explanation>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            explain: Box::new(explain),
            ..self
        }
    }

    /// With what is audited (`policy.audit`).
    pub fn with_audit(self, audit: Option<Arc<Audit>>) -> Self {
        Self { audit, ..self }
    }

    /// With nothing but that: of what passes by a tap only clients are counted.
    pub fn only_audit(self) -> Self {
        Self {
            only_audit: true,
            ..self
        }
    }

    /// With the configuration in force, and the samples that somebody takes of `metrics`, for the status page.
    pub fn with(self, settings: Settings, history: Arc<History>) -> Self {
        Self {
            settings,
            history,
            ..self
        }
    }
}

/// A path that can be read.
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// What is there, in a few words.
    pub about: &'static str,
    answer: Answering,
}

/// Whether the answer is there at once.
enum Answering {
    Now(fn(&AdminState) -> Answer),
    /// Workers are asked.
    Clients,
    /// It depends on the query.
    Explained,
}

use Answering::Now;

/// So many clients are listed in `/clients`.
pub const CLIENTS_LISTED_MAX: usize = 1000;

/// Asks for so many lines of CLIENT LIST; how many clients there are, and the lines, or why there are none.
type Clients = Box<
    dyn Fn(usize) -> Pin<Box<dyn Future<Output = Result<(usize, Vec<String>), String>> + Send>>
        + Send
        + Sync,
>;

/// Every path there is.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/",
        about: "the status page, for a browser",
        answer: Now(|state| Answer::html(page::page(state))),
    },
    Endpoint {
        path: "/page.js",
        about: "what refreshes the status page",
        answer: Now(|_| Answer::text(page::SCRIPT).of_type("text/javascript; charset=utf-8")),
    },
    Endpoint {
        path: "/metrics",
        about: "metrics in Prometheus' text format",
        answer: Now(metrics),
    },
    Endpoint {
        path: "/livez",
        about: "200 while the process runs",
        answer: Now(|_| Answer::text("ok\n")),
    },
    Endpoint {
        path: "/readyz",
        about: "200 once the topology is known and unless draining, else 503 and why",
        answer: Now(ready),
    },
    Endpoint {
        path: "/topology",
        about: "the slot map, its age and where it comes from, as JSON",
        answer: Now(topology),
    },
    Endpoint {
        path: "/hotkeys",
        about: "the keys that are asked for most now, estimated, as JSON",
        answer: Now(|state| Answer::json(&seen::hot_keys(&state.metrics, &state.owner))),
    },
    Endpoint {
        path: "/bigkeys",
        about: "the keys with the largest values that went through in the last hour, as JSON",
        answer: Now(|state| Answer::json(&seen::big_keys(&state.metrics, &state.owner))),
    },
    Endpoint {
        path: "/errors",
        about: "the errors that clients got lately, with cause and remedy, as JSON",
        answer: Now(|state| Answer::json(&seen::errors(&state.metrics))),
    },
    Endpoint {
        path: "/clients",
        about: "the clients that are connected, as CLIENT LIST has them, as JSON",
        answer: Answering::Clients,
    },
    Endpoint {
        path: "/explain",
        about: "what would become of commands: /explain?command=MGET+a+b, as JSON",
        answer: Answering::Explained,
    },
    Endpoint {
        path: "/audit",
        about: "what would fail or change on a cluster, by client and command (policy.audit), as JSON",
        answer: Now(|state| audited(state, |audit| Answer::json(&audit.json()))),
    },
    Endpoint {
        path: "/audit.txt",
        about: "the same for a terminal",
        answer: Now(|state| audited(state, |audit| Answer::text(audit.text()))),
    },
    Endpoint {
        path: "/audit.html",
        about: "the same for a browser",
        answer: Now(|state| audited(state, |audit| Answer::html(audit.html()))),
    },
    Endpoint {
        path: "/config",
        about: "the configuration in force, and where each value comes from, as JSON",
        answer: Now(|state| Answer::json(&seen::configuration(&state.settings))),
    },
    Endpoint {
        path: "/slowlog",
        about: "the last commands that took long, and where their time went, as JSON",
        answer: Now(|state| Answer::json(&seen::slow_log(&state.metrics))),
    },
];

/// What there is where nothing is shown but the audit.
const OF_AUDIT: [&str; 6] = [
    "/audit",
    "/audit.txt",
    "/audit.html",
    "/metrics",
    "/livez",
    "/readyz",
];

/// The response to a request.
pub(super) async fn respond(
    method: &Method,
    uri: &Uri,
    state: &AdminState,
) -> Response<Full<Bytes>> {
    let path = match state.only_audit && uri.path() == "/" {
        true => "/audit.html",
        false => uri.path(),
    };
    let Some(endpoint) = all(state).find(|e| e.path == path) else {
        let text = format!("There is nothing here. What there is:\n{}", list(state));
        return Answer::text(text).with(StatusCode::NOT_FOUND).response();
    };
    // The server leaves the body out of the answer to a HEAD.
    if method != Method::GET && method != Method::HEAD {
        let refused = Answer::text("This can only be read: use GET or HEAD.\n");
        let mut response = refused.with(StatusCode::METHOD_NOT_ALLOWED).response();
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let answer = match endpoint.answer {
        Now(answer) => answer(state),
        Answering::Clients => clients(state).await,
        Answering::Explained => explained(state, uri.query().unwrap_or_default()),
    };
    answer.response()
}

const HTML: &str = "text/html; charset=utf-8";

/// What an endpoint says.
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Answer {
    pub(super) fn text(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    fn html(body: String) -> Self {
        Self::text(body).of_type(HTML)
    }

    pub(super) fn json(value: &Value) -> Self {
        Self::text(format!("{value:#}\n")).of_type("application/json")
    }

    pub(super) fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn of_type(self, content_type: &'static str) -> Self {
        Self {
            content_type,
            ..self
        }
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
        if self.content_type == HTML {
            headers.insert(
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(page::POLICY),
            );
        }
        response
    }
}

fn metrics(state: &AdminState) -> Answer {
    match state.metrics.scrape() {
        Ok(text) => Answer::text(text).of_type("text/plain; version=0.0.4; charset=utf-8"),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be rendered");
            Answer::text(format!("{error}\n")).with(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn ready(state: &AdminState) -> Answer {
    match (state.ready)() {
        Ok(()) => Answer::text("ready\n"),
        Err(why) => {
            let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
            Answer::text(format!("not ready: {line}\n")).with(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

async fn clients(state: &AdminState) -> Answer {
    match (state.clients)(CLIENTS_LISTED_MAX).await {
        Ok((count, lines)) => Answer::json(&seen::clients(count, &lines)),
        Err(why) => Answer::text(format!("{why}\n")).with(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// What is audited, if anything is.
fn audited(state: &AdminState, tell: impl Fn(&Audit) -> Answer) -> Answer {
    match &state.audit {
        Some(audit) => tell(audit),
        None => Answer::text("Nothing is audited: set policy.audit = true.\n")
            .with(StatusCode::NOT_FOUND),
    }
}

fn topology(state: &AdminState) -> Answer {
    Answer::json(&(state.topology)())
}

/// What there is to be read.
fn all(state: &AdminState) -> impl Iterator<Item = &'static Endpoint> {
    let only_audit = state.only_audit;
    let is_shown = move |e: &&Endpoint| !only_audit || OF_AUDIT.contains(&e.path);
    ENDPOINTS.iter().filter(is_shown)
}

fn list(state: &AdminState) -> String {
    let mut text = String::new();
    for Endpoint { path, about, .. } in all(state) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{path:<12}{about}");
    }
    text
}
