//! Reads Prometheus' text format, as far as `top` needs it. Pure, and lenient where a collector would not be: who
//! answers may be of another version or no slotway at all, so that a line that is no sample is left out, not an error.

/// Samples of one page that are read; 1,000 nodes and all commands are fewer.
const SAMPLES_MAX: usize = 100_000;
/// Labels of one sample that are read.
const LABELS_MAX: usize = 16;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name: for a histogram with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels, in the order of the page.
    pub labels: Vec<(String, String)>,
    /// Its value; a number.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }
}

/// The samples of one page.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: Vec<Sample>,
}

impl Scrape {
    /// Reads a page. A last line without its end is cut off, and is left out: its number may be half a number.
    pub fn parse(page: &str) -> Self {
        let whole = page.rfind('\n').map_or("", |end| &page[..end]);
        let samples = whole.lines().filter_map(sample).take(SAMPLES_MAX);
        Self {
            samples: samples.collect(),
        }
    }

    /// All samples of a name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    /// The sum over all samples of a name; `None` if there is none.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.of(name)
            .map(|sample| sample.value)
            .reduce(|a, b| a + b)
    }

    /// Whether the page is one of slotway.
    pub fn is_of_slotway(&self) -> bool {
        self.samples
            .iter()
            .any(|sample| sample.name.starts_with("slotway_"))
    }
}

/// A line, unless it is a comment or nonsense. A timestamp after the value is allowed and not read.
fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || !name.bytes().all(is_of_name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
    value.is_finite().then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// The labels after a `{`, and what follows their `}`.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (name, quoted) = rest.split_once('=')?;
        let (value, after) = quoted_text(quoted.trim_start().strip_prefix('"')?)?;
        if found.len() < LABELS_MAX {
            found.push((name.trim().to_owned(), value));
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// The text up to a closing quote without its escapes, and what follows the quote.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(sample: &Sample) -> Vec<(&str, &str)> {
        sample
            .labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a_total x\n# TYPE a_total counter\na_total{cmd=\"g\\\"e\\\\t\\n\",b=\"}, c=\"} 1e3\n\
                    a_total{ b = \"2\" , } 2 1700000000\nb 0.5\nb_bucket{le=\"+Inf\"} 7\n";
        let scrape = Scrape::parse(page);
        let a: Vec<_> = scrape.of("a_total").collect();
        assert_eq!(pairs(a[0]), [("cmd", "g\"e\\t\n"), ("b", "}, c=")]);
        assert_eq!((a[0].value, a[1].value), (1000.0, 2.0));
        assert_eq!((a[1].label("b"), a[1].label("cmd")), ("2", ""));
        assert_eq!(scrape.sum("a_total"), Some(1002.0));
        assert_eq!((scrape.sum("b"), scrape.sum("c")), (Some(0.5), None));
        assert!(!scrape.is_of_slotway());
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in [
            "",
            "a",
            "a ",
            "a x",
            "a NaN",
            "a +Inf",
            "{} 1",
            "a{ 1",
            "a{b} 1",
            "a{b=} 1",
            "a{b=\"} 1",
            "a{b=\"\\",
            "a{b=\"\"c=\"\"} 1",
            "a{b=\"\"}",
            "\u{1b}[2J 1",
            "<html> 1",
        ] {
            let scrape = Scrape::parse(&format!("{line}\nz 1\n"));
            assert_eq!(scrape.samples.len(), 1, "{line:?}: {scrape:?}");
        }
    }

    #[test]
    fn half_a_line_is_no_sample() {
        assert_eq!(Scrape::parse("a 1\nb 12").samples.len(), 1);
        assert_eq!(Scrape::parse("a 1").samples.len(), 0);
    }

    #[test]
    fn a_huge_page_is_read_to_the_bound() {
        let page = "a 1\n".repeat(SAMPLES_MAX + 10);
        assert_eq!(Scrape::parse(&page).samples.len(), SAMPLES_MAX);
        let line = format!("a{{{}}} 1\n", "b=\"c\",".repeat(100_000));
        assert_eq!(Scrape::parse(&line).samples[0].labels.len(), LABELS_MAX);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a{}=\", \\\\\\n0-9é#]{0,60}") {
            Scrape::parse(&text);
        }
    }
}
