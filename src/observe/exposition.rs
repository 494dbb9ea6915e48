//! A strict reader of Prometheus' text format, for tests: whatever it accepts, every collector accepts. It
//! also knows the conventions that `promtool check metrics` enforces.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a scrape by name and labels, as written: `slotway_commands_total{cmd="get"}`.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Reads a scrape, or says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Samples, String> {
    let mut reader = Reader::default();
    if !text.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for line in text.lines() {
        reader.line(line).map_err(|e| format!("{e}: {line}"))?;
    }
    reader.end_family()?;
    Ok(reader.samples)
}

#[derive(Default)]
struct Reader {
    families: BTreeSet<String>,
    name: String,
    kind: String,
    /// Of the current family, if it is a histogram: labels without `le` → (bound, cumulative count).
    buckets: BTreeMap<String, Vec<(f64, f64)>>,
    samples: Samples,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.end_family()?;
            let (name, help) = rest.split_once(' ').ok_or("no help text")?;
            check(!help.trim().is_empty(), "empty help text")?;
            check(self.families.insert(name.to_owned()), "family twice")?;
            (self.name, self.kind) = (name.to_owned(), String::new());
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            check(
                name == self.name && self.kind.is_empty(),
                "TYPE without its HELP",
            )?;
            check(
                ["counter", "gauge", "histogram"].contains(&kind),
                "unknown type",
            )?;
            check(
                (kind == "counter") == name.ends_with("_total"),
                "counters end in _total, nothing else does",
            )?;
            kind.clone_into(&mut self.kind);
            return Ok(());
        }
        check(!line.starts_with('#'), "comment")?;
        self.sample(line)
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (series, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = value.parse().map_err(|_| "no number")?;
        check(value.is_finite() && value >= 0.0, "negative or not finite")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').ok_or("no }")?)?),
            None => (series, Vec::new()),
        };
        let suffix = name
            .strip_prefix(self.name.as_str())
            .ok_or("of another family")?;
        match (self.kind.as_str(), suffix) {
            ("counter" | "gauge", "") => {}
            ("histogram", "_bucket" | "_sum" | "_count") => {}
            _ => return Err("suffix does not fit the type".into()),
        }
        check(
            self.samples.insert(series.to_owned(), value).is_none(),
            "sample twice",
        )?;
        if suffix == "_bucket" {
            let (last, others) = labels.split_last().ok_or("no le")?;
            check(last.0 == "le", "le is not the last label")?;
            let bound = if last.1 == "+Inf" {
                Ok(f64::INFINITY)
            } else {
                last.1.parse()
            };
            let bound = bound.map_err(|_| "le is no number")?;
            let of = others
                .iter()
                .map(|(n, v)| format!("{n}=\"{v}\""))
                .collect::<Vec<_>>()
                .join(",");
            self.buckets.entry(of).or_default().push((bound, value));
        }
        Ok(())
    }

    fn end_family(&mut self) -> Result<(), String> {
        for (labels, buckets) in std::mem::take(&mut self.buckets) {
            let of = format!("{}{{{labels}}}", self.name);
            let ascending = buckets
                .windows(2)
                .all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1);
            check(ascending, &format!("{of}: buckets do not ascend"))?;
            let last = buckets.last().ok_or("no bucket")?;
            check(last.0.is_infinite(), &format!("{of}: no +Inf"))?;
            let series = |suffix: &str| match labels.as_str() {
                "" => format!("{}{suffix}", self.name),
                _ => format!("{}{suffix}{{{labels}}}", self.name),
            };
            check(
                self.samples.get(&series("_count")) == Some(&last.1),
                &format!("{of}: +Inf is not the count"),
            )?;
            check(
                self.samples.contains_key(&series("_sum")),
                &format!("{of}: no sum"),
            )?;
        }
        let prefix = if self.kind == "histogram" {
            "_count"
        } else {
            ""
        };
        let first = format!("{}{prefix}", self.name);
        let any = self
            .samples
            .keys()
            .any(|k| k.split('{').next() == Some(&first));
        check(self.name.is_empty() || any, "family without a sample")
    }
}

/// `a="x",b="y"` as pairs.
fn labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("label without a value")?;
        check(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "label name",
        )?;
        let end = closing_quote(after).ok_or("label value does not end")?;
        found.push((name.to_owned(), after[..end].to_owned()));
        rest = &after[end + 1..];
        if let Some(next) = rest.strip_prefix(',') {
            check(!next.is_empty(), "trailing comma")?;
            rest = next;
        } else {
            check(rest.is_empty(), "no comma between labels")?;
        }
    }
    Ok(found)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|b| {
        let closes = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        closes
    })
}

fn check(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

#[test]
fn the_reader_accepts_what_is_right_and_refuses_what_is_not() {
    let right = "# HELP a_total x\n# TYPE a_total counter\na_total{cmd=\"g\\\"et\"} 1\na_total{cmd=\"set\"} 2\n\
                 # HELP b x\n# TYPE b histogram\nb_bucket{le=\"1\"} 1\nb_bucket{le=\"+Inf\"} 2\nb_sum 3\nb_count 2\n";
    assert_eq!(parse(right).unwrap()["a_total{cmd=\"set\"}"], 2.0);
    for (from, to) in [
        ("a_total{cmd=\"set\"} 2", "a_total{cmd=\"g\\\"et\"} 2"),
        ("a_total{cmd=\"set\"} 2", "c_total 2"),
        ("a_total{cmd=\"set\"} 2", "a_total{cmd=\"set\"} x"),
        ("a_total{cmd=\"set\"} 2", "a_total{cmd=\"set} 2"),
        ("a_total counter", "a_total gauge"),
        ("# HELP b x", "# HELP a_total x"),
        ("# TYPE b histogram\n", ""),
        ("le=\"+Inf\"} 2", "le=\"+Inf\"} 0"),
        ("b_bucket{le=\"+Inf\"} 2\n", ""),
        ("b_count 2", "b_count 3"),
        ("b_sum 3\n", ""),
    ] {
        let wrong = right.replace(from, to);
        assert!(parse(&wrong).is_err(), "{from} -> {to} was accepted");
    }
}
