//! `/explain?command=MGET+a+b`: what would become of commands, as this proxy knows commands, nodes and options now. Several
//! are those of one client, one after the other; `as=text` gives lines.

use super::endpoints::{AdminState, Answer};
use crate::explain::{Explanation, Said, json, text};
use hyper::StatusCode;

/// Who explains.
pub(super) type Explaining = Box<dyn Fn(&[Said]) -> Result<Vec<Explanation>, String> + Send + Sync>;

/// Without a command.
const USAGE: &str = "Ask for commands of one client, in order: /explain?command=MULTI&command=GET+a (as=text for lines).\n";

/// The answer to a query.
pub(super) fn explained(state: &AdminState, query: &str) -> Answer {
    let (mut said, mut as_text) = (Vec::new(), false);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "command" => said.push(Said::Line(value.into_owned())),
            "as" => as_text = value == "text",
            _ => {
                let problem = format!("there is no parameter {}\n{USAGE}", name.escape_debug());
                return Answer::text(problem).with(StatusCode::BAD_REQUEST);
            }
        }
    }
    if said.is_empty() {
        return Answer::text(USAGE);
    }
    match (state.explain)(&said) {
        Ok(told) if as_text => Answer::text(text(&told)),
        Ok(told) => Answer::json(&json(&told)),
        Err(problem) => Answer::text(format!("{problem}\n")).with(StatusCode::BAD_REQUEST),
    }
}
