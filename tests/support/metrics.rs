//! Samples of a Prometheus text page, parsed strictly: a line that is none fails the test.

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name.
    pub name: String,
    /// Labels in the order of the page.
    pub labels: Vec<(String, String)>,
    /// Value.
    pub value: f64,
}

/// Gauges of slotway that are zero when no client is there and nothing of one is left.
const OF_CLIENTS: &[&str] = &[
    "slotway_client_connections",
    "slotway_leases",
    "slotway_memory_bytes",
    "slotway_blocked_clients",
    "slotway_watchers",
    "slotway_bulk_clients",
    "slotway_pubsub_clients",
    "slotway_upstream_in_flight",
];

/// All samples of a page.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// In the order of the page.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Parses a page.
    pub fn parse(page: &str) -> Self {
        let lines = page
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines
            .map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}")))
            .collect();
        Self { samples }
    }

    /// Whether slotway is as without clients; if not, in what.
    pub fn nothing_of_clients(&self) -> Result<(), String> {
        let mut sums = OF_CLIENTS.iter().map(|name| (name, self.sum(name, &[])));
        match sums.find(|(_, sum)| *sum != 0.0) {
            Some((name, sum)) => Err(format!("{name} = {sum}")),
            None => Ok(()),
        }
    }

    /// The sum of all samples of this name that have all these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample, (name, value): &(&str, &str)| {
            sample.labels.iter().any(|(n, v)| n == name && v == value)
        };
        let all = self.samples.iter().filter(|sample| sample.name == name);
        all.filter(|sample| labels.iter().all(|label| has(sample, label)))
            .map(|sample| sample.value)
            .sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Sample {
            name: head.to_owned(),
            labels: Vec::new(),
            value,
        });
    };
    Some(Sample {
        name: name.to_owned(),
        labels: parse_labels(labels.strip_suffix('}')?)?,
        value,
    })
}

/// `a="x",b="y"` with `\"`, `\\` and `\n` in values.
fn parse_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (at, '"') => break at,
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(labels)
}
