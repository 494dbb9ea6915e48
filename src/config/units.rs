//! How sizes and durations are written: `64MB` (1 KB = 1024 bytes), `2s`, `150ms`. Both ways, nothing else.

use std::time::Duration;

const SIZES: [(&str, u64); 4] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("b", 1)];
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes. The error says how sizes are written.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" => Some(1),
        unit => SIZES
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor),
    };
    factor
        .zip(number.parse::<u64>().ok())
        .and_then(|(factor, number)| number.checked_mul(factor))
        .ok_or_else(|| {
            format!("`{text}` is not a size: write 64MB, 64KB, 1GB (1KB is 1024 bytes) or a number of bytes")
        })
}

/// A duration; a bare number is refused because its unit would be a guess.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    DURATIONS
        .iter()
        .find(|(name, _)| *name == unit)
        .zip(number.parse::<u64>().ok())
        .and_then(|((_, factor), number)| number.checked_mul(*factor))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is not a duration: write 2s, 150ms, 1m, 1h"))
}

/// In the largest unit that shows it without loss.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES).to_ascii_uppercase()
}

/// In the largest unit that shows it without loss; durations here are whole milliseconds.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match ms {
        0 => "0s".to_owned(),
        // 90 s stays "90s", 600 s becomes "10m": minutes and hours only when they are whole.
        ms => show(ms, &DURATIONS),
    }
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .map_or_else(
            || value.to_string(),
            |(name, factor)| format!("{}{name}", value / factor),
        )
}

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_count_in_steps_of_1024() {
        for (text, bytes) in [
            ("64MB", 64 << 20),
            ("64mb", 64 << 20),
            ("64KB", 64 << 10),
            ("1GB", 1 << 30),
            ("512", 512),
            ("512B", 512),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "MB",
            "-1",
            "1.5GB",
            "64 MB",
            "64MiB",
            "1TB",
            "99999999999999GB",
            "+1",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("2s", 2000),
            ("150ms", 150),
            ("1m", 60_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for bad in [
            "",
            "2",
            "s",
            "1.5s",
            "2 s",
            "2S",
            "1d",
            "-1s",
            "99999999999999999h",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(n in any::<u64>(), shift in 0u32..64) {
            let n = n >> shift;
            prop_assert_eq!(parse_size(&show_size(n)), Ok(n));
            let d = Duration::from_millis(n);
            prop_assert_eq!(parse_duration(&show_duration(d)), Ok(d));
        }
    }
}
