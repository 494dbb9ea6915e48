//! The dashboard, as Grafana reads it: its form, and the queries of its panels.

use serde_json::Value;

/// One query of a panel.
pub(crate) struct Query {
    /// Row and title of the panel.
    pub(crate) whose: String,
    /// With the dashboard's variables in it.
    pub(crate) expr: String,
}

/// What stands for a variable where a query is tried out: all series of the job that the test scrapes, once a second.
const TRIED_WITH: [(&str, &str); 3] = [
    ("$__rate_interval", "5s"),
    ("$job", "slotway"),
    ("$instance", ".*"),
];

impl Query {
    /// Without variables.
    pub(crate) fn tried(&self) -> String {
        let with = |expr: String, (variable, value): &(&str, &str)| expr.replace(variable, value);
        TRIED_WITH.iter().fold(self.expr.clone(), with)
    }
}

/// The queries of all panels.
pub(crate) fn queries(board: &Value) -> Vec<Query> {
    let mut row = String::new();
    let mut queries = Vec::new();
    for panel in list(&board["panels"]) {
        let title = panel["title"].as_str().expect("a title");
        if panel["type"] == "row" {
            row = title.to_owned();
            continue;
        }
        for target in list(&panel["targets"]) {
            queries.push(Query {
                whose: format!("{row}: {title}"),
                expr: target["expr"].as_str().expect("an expression").to_owned(),
            });
        }
    }
    queries
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(values: &Value, field: &str) -> Vec<String> {
    let texts = list(values)
        .iter()
        .filter_map(|value| value[field].as_str());
    texts.map(str::to_owned).collect()
}

/// Can be loaded by a file or by hand, any number of times; says everything that a panel needs to be understood.
pub(crate) fn check_form(board: &Value) {
    assert_eq!(board["uid"], "slotway");
    assert!(board.as_object().expect("an object").contains_key("id") && board["id"].is_null());
    assert_eq!(board["editable"], false);
    let variables = &board["templating"]["list"];
    assert_eq!(names(variables, "name"), ["datasource", "job", "instance"]);
    assert_eq!(names(variables, "type"), ["datasource", "query", "query"]);
    let rows = list(&board["panels"])
        .iter()
        .filter(|panel| panel["type"] == "row");
    let rows: Vec<&str> = rows.filter_map(|row| row["title"].as_str()).collect();
    let expected = [
        "Overview",
        "Latency by command",
        "Hit rate",
        "Nodes",
        "Topology and redirections",
        "Limits and backpressure",
        "Process",
    ];
    assert_eq!(rows, expected);
    let mut places = Vec::new();
    let mut ids = Vec::new();
    for panel in list(&board["panels"]) {
        let title = panel["title"]
            .as_str()
            .filter(|title| !title.is_empty())
            .expect("a title");
        ids.push(panel["id"].as_u64().expect("a number"));
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect(side));
        assert!(x + w <= 24, "{title} is too wide");
        places.extend((x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))));
        if panel["type"] == "row" {
            continue;
        }
        let described = panel["description"]
            .as_str()
            .is_some_and(|text| text.ends_with('.'));
        assert!(described, "{title} has no description");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(
            unit.is_some_and(|unit| !unit.is_empty()),
            "{title} has no unit"
        );
        assert!(!list(&panel["targets"]).is_empty(), "{title} shows nothing");
        check_axes(panel, title);
        for source in [panel].into_iter().chain(list(&panel["targets"])) {
            assert_eq!(source["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let (panels, cells) = (ids.len(), places.len());
    ids.sort_unstable();
    ids.dedup();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        (ids.len(), places.len()),
        (panels, cells),
        "twice the same id, or one above another"
    );
}

/// What is of another kind has an axis of its own: a dozen threads cannot be seen beside gigabytes.
fn check_axes(panel: &Value, title: &str) {
    let kind = |target: &Value| {
        let expr = target["expr"].as_str().unwrap_or_default();
        ["rate(", "_bytes{", "_epoch{"].map(|mark| expr.contains(mark))
    };
    let targets = list(&panel["targets"]);
    for target in targets {
        let overrides = list(&panel["fieldConfig"]["overrides"]);
        let own_axis = overrides
            .iter()
            .any(|own| own["matcher"]["options"] == target["refId"]);
        let fits = kind(target) == kind(&targets[0]);
        assert!(fits || own_axis, "{title}: {}", target["expr"]);
    }
}
