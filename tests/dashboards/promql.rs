//! What a PromQL expression names: metrics with the labels they are selected by, and labels it groups by. Reads as much
//! of the language as the rules and the dashboard use; that they are well formed is Prometheus' to say.

/// A metric with its matchers: label, operator, value.
#[derive(Debug, PartialEq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<(String, String, String)>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Metrics of slotway, of its process, and what rules record of them; `up` is Prometheus' own.
pub(crate) fn selectors(expr: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find(is_word) {
        rest = &rest[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if !(word.contains("slotway_") || word.starts_with("process_") || word == "up") {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').expect("it closes");
            matchers = inside[..end].split("\",").filter_map(matcher).collect();
            rest = &inside[end..];
        }
        found.push(Selector {
            metric: word.to_owned(),
            matchers,
        });
    }
    found
}

/// `a=~"x` or `a=~"x"`.
fn matcher(text: &str) -> Option<(String, String, String)> {
    let (head, value) = text.split_once('"')?;
    let label = head.trim().trim_end_matches(['=', '!', '~']);
    let operator = &head.trim()[label.len()..];
    let value = value.trim_end().trim_end_matches('"');
    Some((label.to_owned(), operator.to_owned(), value.to_owned()))
}

/// The labels of every `by (…)` and `on (…)`.
pub(crate) fn groupings(expr: &str) -> Vec<String> {
    let lists = ["by (", "on ("]
        .into_iter()
        .flat_map(|open| expr.split(open).skip(1));
    let lists = lists.map(|rest| rest.split(')').next().unwrap_or_default());
    lists
        .flat_map(|list| list.split(','))
        .map(|label| label.trim().to_owned())
        .collect()
}

#[test]
fn expressions_are_read() {
    let expr = "sum by (job, le) (rate(slotway_a_total{x!=\"1\", y=~\"a|b\"}[5m])) / on (job) up";
    let matchers = [("x", "!=", "1"), ("y", "=~", "a|b")];
    let owned = matchers.map(|(l, o, v)| (l.to_owned(), o.to_owned(), v.to_owned()));
    let [a, up] = ["slotway_a_total", "up"].map(str::to_owned);
    assert_eq!(
        selectors(expr),
        [
            Selector {
                metric: a,
                matchers: owned.to_vec()
            },
            Selector {
                metric: up,
                matchers: Vec::new()
            }
        ]
    );
    assert_eq!(groupings(expr), ["job", "le", "job"]);
}
