//! The log: one line per event on standard error, as text or JSON. Nothing is logged per command or per
//! reply; metrics count those. Set up once by the binary, before anything else starts.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Starts logging to standard error. Fails if something in the process already logs.
pub fn init(log: &Log) -> Result<(), TryInitError> {
    let color = std::io::stderr().is_terminal();
    subscriber(log, color, std::io::stderr).try_init()
}

/// The level is slotway's own; libraries are heard from `warn` upward only, whatever it is.
fn subscriber<W>(log: &Log, color: bool, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = fmt::layer().with_ansi(color).with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, info, warn};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let log = Log { level, format };
        let subscriber = subscriber(&log, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_the_fields_at_the_top() {
        let text = logged(LogLevel::Info, LogFormat::Json, || {
            info!(node = "a:1", "connected")
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["node"], "a:1");
        assert_eq!(line["message"], "connected");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn text_is_one_line_per_event_without_escapes() {
        let text = logged(LogLevel::Info, LogFormat::Text, || {
            info!(node = "a:1", "connected")
        });
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.contains(" INFO ") && text.contains("connected") && text.contains("node=\"a:1\""),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn the_level_is_slotways_own_and_libraries_only_warn() {
        let all = || {
            debug!("ours");
            info!(target: "hyper::proto", "theirs");
            warn!(target: "hyper::proto", "their warning");
        };
        let text = logged(LogLevel::Debug, LogFormat::Text, all);
        assert!(
            text.contains("ours") && text.contains("their warning") && !text.contains("theirs"),
            "{text}"
        );
        let text = logged(LogLevel::Error, LogFormat::Text, all);
        assert_eq!(text, "");
    }
}
