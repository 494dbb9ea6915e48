//! A document that is written from front to back; what is not a literal of ours is escaped.

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup: only what is written in this program.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, also within a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Neither markup nor readable, and some turn text around.
                c if c.is_control() || is_format(c) => {
                    self.0.extend(c.escape_unicode());
                }
                c => self.0.push(c),
            }
        }
        self
    }

    /// A cell of a table.
    pub(super) fn cell(&mut self, text: &str) -> &mut Self {
        self.raw("<td>").text(text).raw("</td>")
    }

    /// A cell with sentences, in which what stands between backticks is code.
    pub(super) fn prose(&mut self, text: &str) -> &mut Self {
        self.raw("<td class=p>");
        for (n, piece) in text.split('`').enumerate() {
            match n % 2 {
                0 => self.text(piece),
                _ => self.raw("<code>").text(piece).raw("</code>"),
            };
        }
        self.raw("</td>")
    }

    /// A cell with a number.
    pub(super) fn number(&mut self, text: &str) -> &mut Self {
        self.raw("<td class=n>").text(text).raw("</td>")
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Invisible characters that change how others are shown.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A number as it is read at a glance: three digits.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    match value {
        v if v >= 100.0 || v == v.trunc() => format!("{v:.0}{unit}"),
        v if v >= 10.0 => format!("{v:.1}{unit}"),
        v => format!("{v:.2}{unit}"),
    }
}

/// Seconds, in the unit that fits.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// The same for what may be absent.
pub(super) fn time_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), time)
}

/// Bytes, in the unit that fits.
pub(super) fn bytes(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}

/// A part of the whole.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_escaped() {
        let mut html = Html::default();
        html.raw("<b title=\"").text("\"><script>'&\u{1b}\u{202e}é");
        assert_eq!(
            html.finish(),
            "<b title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\\u{1b}\\u{202e}é"
        );
    }

    #[test]
    fn backticks_are_code() {
        let mut html = Html::default();
        html.prose("set `a<b` or `c");
        assert_eq!(
            html.finish(),
            "<td class=p>set <code>a&lt;b</code> or <code>c</code></td>"
        );
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.123, 1.5, 12.34, 999.4, 9_999.0, 12_345.0, 1.5e6, 2e9];
        let shown = [
            "0", "0.12", "1.50", "12.3", "999", "9999", "12.3k", "1.50M", "2G",
        ];
        assert_eq!(numbers.map(short), shown.map(str::to_owned));
        let times = [0.00005, 0.0123, 2.0].map(time);
        assert_eq!(times, ["50 µs", "12.3 ms", "2.0 s"].map(str::to_owned));
    }
}
