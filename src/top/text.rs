//! How names and numbers are written: names without what a terminal would act on, numbers in few columns. Pure.

/// A name that came from the network, in at most `max` columns of printable ASCII: what a terminal could act on, or
/// show out of place, is a `?`.
pub(super) fn clean(name: &str, max: usize) -> String {
    let printable = |c: char| {
        if c == ' ' || c.is_ascii_graphic() {
            c
        } else {
            '?'
        }
    };
    let mut text: String = name.chars().map(printable).take(max).collect();
    if name.chars().nth(max).is_some() && max > 0 {
        text.pop();
        text.push('~');
    }
    text
}

/// Something per second, or a number of things.
pub(super) fn number(n: f64) -> String {
    match n {
        0.0 => "0".to_owned(),
        n if n < 9.95 => format!("{n:.1}"),
        n if n < 99_999.5 => format!("{n:.0}"),
        n if n < 9_999_500.0 => format!("{:.0}k", n / 1e3),
        n if n < 1e10 => format!("{:.0}M", n / 1e6),
        n => format!("{n:.0e}"),
    }
}

/// A whole number.
pub(super) fn count(n: f64) -> String {
    if n < 99_999.5 {
        format!("{n:.0}")
    } else {
        number(n)
    }
}

/// Bytes, in steps of 1024 as the configuration writes them.
pub(super) fn bytes(n: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut n, mut unit) = (n, 0);
    while n >= 1023.5 && unit + 1 < UNITS.len() {
        n /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n:.0}B"),
        _ if n > 99_999.5 => format!("{n:.0e}{}", UNITS[unit]),
        _ if n < 9.95 => format!("{n:.1}{}", UNITS[unit]),
        _ => format!("{n:.0}{}", UNITS[unit]),
    }
}

/// Seconds that something took; `-` if nothing did.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(s) if s < 0.000_999_5 => format!("{:.0}us", s * 1e6),
        Some(s) if s < 0.009_95 => format!("{:.1}ms", s * 1e3),
        Some(s) if s < 0.999_5 => format!("{:.0}ms", s * 1e3),
        Some(s) if s < 99_999.5 => format!("{s:.1}s"),
        Some(s) => format!("{s:.0e}s"),
    }
}

/// A share; `-` if there is nothing to share.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_bytes() {
        assert_eq!(clean("get", 8), "get");
        assert_eq!(clean("\u{1b}[2J\r\n\u{9b}x", 20), "?[2J???x");
        assert_eq!(clean("\u{202e}é", 8), "??");
        assert_eq!(clean("0123456789", 4), "012~");
        assert_eq!(clean("0123", 4), "0123");
        assert_eq!(clean("0123", 0), "");
    }

    #[test]
    fn numbers_are_short() {
        for (n, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (9.96, "10"),
            (12345.0, "12345"),
            (123_456.0, "123k"),
            (12_345_678.0, "12M"),
            (1e300, "1e300"),
        ] {
            assert_eq!(number(n), text);
        }
        assert_eq!((count(3.0), count(1e6)), ("3".into(), "1000k".into()));
        assert_eq!(
            [0.0, 1023.0, 1536.0, 1e9, 1e300].map(bytes),
            ["0B", "1023B", "1.5KB", "954MB", "9e287TB"]
        );
        assert_eq!(
            [0.00012, 0.0012, 0.12, 12.0, 1e300].map(|s| seconds(Some(s))),
            ["120us", "1.2ms", "120ms", "12.0s", "1e300s"]
        );
        assert_eq!(percent(Some(0.5)), "50.0%");
        assert_eq!((percent(None), seconds(None)), ("-".into(), "-".into()));
    }
}
