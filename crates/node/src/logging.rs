//! How the node speaks: lines on stderr, a file that holds more, and counters of what went wrong.
//!
//! One layer does all three, because they look at the same record. The layouts
//! are those of the Chainlink node, so that what people and programs parse today
//! keeps parsing. Nothing goes to stdout: that belongs to the answers of commands.
//!
//! A line that somebody should get up for is an error with the field
//! `crit = true`; it shows as level `crit`.
//!
//! Limits: a line that cannot be written (disk full, closed pipe) is dropped; the
//! node goes on. Files set aside are not compressed.

mod file;
mod layout;
mod record;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogLevel};
use file::RotatingFile;
use layout::Layout;
use record::{Fields, Record};

/// Changes what the console shows while the node runs.
#[derive(Clone)]
pub struct LogHandle {
    level: Arc<AtomicU8>,
}

impl LogHandle {
    pub fn level(&self) -> LogLevel {
        LogLevel::from_rank(self.level.load(Ordering::Relaxed))
    }

    /// Holds until the next start. The file is not affected.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

impl LogLevel {
    fn from_rank(rank: u8) -> Self {
        use LogLevel::*;
        [Trace, Debug, Info, Warn, Error]
            .into_iter()
            .find(|level| *level as u8 == rank)
            .unwrap_or(Crit)
    }

    /// As it is written in lines and settings.
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::Crit => "crit",
        }
    }
}

/// Sends the lines of this process where the settings say; call once, before anything speaks.
///
/// # Errors
/// When the log file cannot be opened, or somebody else took the lines already.
pub fn init(config: &LogConfig, log_queries: bool) -> anyhow::Result<LogHandle> {
    let file =
        match &config.file {
            Some(settings) => {
                let dir: &Path = &settings.dir;
                Some(RotatingFile::open(settings).with_context(|| {
                    format!("the log file in {} cannot be opened", dir.display())
                })?)
            }
            None => None,
        };
    let console: Box<dyn Write + Send> = Box::new(std::io::stderr());
    let (layer, handle) = NodeLog::new(config, log_queries, console, file);
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .context("somebody else already takes the log lines")?;
    report_panics();
    Ok(handle)
}

/// A panic is a line like any other, and the loudest.
fn report_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message");
        metrics::counter!("log_panic_count").increment(1);
        tracing::error!(crit = true, place, "panic: {what}");
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(info);
        }
    }));
}

/// Makes the counters of warnings and errors show as 0 before the first one; call once the metrics are collected.
pub fn register_metrics() {
    for (name, what) in COUNTERS {
        metrics::describe_counter!(*name, *what);
        metrics::counter!(*name).increment(0);
    }
}

const COUNTERS: &[(&str, &str)] = &[
    ("log_warn_count", "Lines of level warn."),
    ("log_error_count", "Lines of level error."),
    (
        "log_critical_count",
        "Lines of level crit: somebody should get up.",
    ),
    ("log_panic_count", "Panics."),
    ("log_fatal_count", "Errors that ended the process."),
];

struct NodeLog {
    console: Mutex<Box<dyn Write + Send>>,
    console_layout: Layout,
    level: Arc<AtomicU8>,
    file: Option<Mutex<RotatingFile>>,
    log_queries: bool,
}

impl NodeLog {
    fn new(
        config: &LogConfig,
        log_queries: bool,
        console: Box<dyn Write + Send>,
        file: Option<RotatingFile>,
    ) -> (Self, LogHandle) {
        let level = Arc::new(AtomicU8::new(config.level as u8));
        let layer = Self {
            console: Mutex::new(console),
            console_layout: match config.json_console {
                true => Layout::Json {
                    unix_timestamps: config.unix_timestamps,
                },
                false => Layout::Pretty {
                    color: config.color,
                },
            },
            level: Arc::clone(&level),
            file: file.map(Mutex::new),
            log_queries,
        };
        (layer, LogHandle { level })
    }

    fn console_level(&self) -> LogLevel {
        LogLevel::from_rank(self.level.load(Ordering::Relaxed))
    }

    /// Our own lines in full; of the libraries only what went wrong.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = *metadata.level();
        let target = metadata.target();
        let ours =
            target.starts_with("dodona") || (self.log_queries && target.starts_with("sqlx::query"));
        let deepest = match (ours, &self.file, self.console_level()) {
            (false, _, _) => tracing::Level::WARN,
            (true, _, LogLevel::Trace) => tracing::Level::TRACE,
            (true, Some(_), _) | (true, None, LogLevel::Debug) => tracing::Level::DEBUG,
            (true, None, LogLevel::Info) => tracing::Level::INFO,
            // Warnings and errors are counted although they are not shown.
            (true, None, _) => tracing::Level::WARN,
        };
        level <= deepest
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for NodeLog {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() || self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The level may be lowered while we run, so the hint has to allow everything.
        Some(LevelFilter::TRACE)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            if let Some(more) = span.extensions().get::<Fields>() {
                fields.extend(more);
            }
        }
        event.record(&mut fields);
        let record = Record::new(event.metadata(), fields);
        match record.level {
            LogLevel::Warn => metrics::counter!("log_warn_count").increment(1),
            LogLevel::Error => metrics::counter!("log_error_count").increment(1),
            LogLevel::Crit => metrics::counter!("log_critical_count").increment(1),
            _ => {}
        }
        if record.level >= self.console_level() {
            let line = self.console_layout.line(&record);
            let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody is left to tell when stderr is gone.
            let _ = console.write_all(line.as_bytes());
        }
        if let Some(file) = &self.file {
            let line = Layout::File.line(&record);
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFileConfig;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn settings(json: bool) -> LogConfig {
        LogConfig {
            level: LogLevel::Info,
            json_console: json,
            unix_timestamps: false,
            color: false,
            file: None,
        }
    }

    /// What the console shows while `speak` runs.
    fn console(
        config: &LogConfig,
        file: Option<RotatingFile>,
        speak: impl FnOnce(&LogHandle),
    ) -> String {
        let sink = Sink::default();
        let (layer, handle) = NodeLog::new(config, false, Box::new(sink.clone()), file);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            speak(&handle)
        });
        sink.text()
    }

    #[test]
    fn a_pretty_line_has_time_level_message_place_and_sorted_fields() {
        let text = console(&settings(false), None, |_| {
            tracing::info!(target: "dodona_txm", { tx.hash = "0xab", job.id = 7, note = "two words" }, "sent transaction 5");
        });
        let (time, rest) = text.split_at(24);
        assert!(time.ends_with('Z') && time.contains('T'), "{text}");
        assert!(
            rest.starts_with(" [INFO]   sent transaction 5                                 "),
            "{text}"
        );
        assert!(rest.contains("node/logging.rs:"), "{text}");
        assert!(
            rest.ends_with("job.id=7 note=\"two words\" tx.hash=0xab\n"),
            "{text}"
        );
    }

    #[test]
    fn a_json_line_is_one_object_with_the_words_that_parsers_know() {
        let text = console(&settings(true), None, |_| {
            let span = tracing::info_span!(target: "dodona_jobs", "run", run.id = 3);
            span.in_scope(|| tracing::warn!(target: "dodona_jobs::runner", attempts = 2_u64, ok = false, "run {} failed\nbadly", 3));
        });
        assert_eq!(text.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["logger"], "dodona_jobs::runner");
        assert_eq!(line["msg"], "run 3 failed\nbadly");
        assert_eq!(
            (&line["attempts"], &line["ok"], &line["run.id"]),
            (&2.into(), &false.into(), &3.into())
        );
        assert!(
            line["version"]
                .as_str()
                .unwrap()
                .starts_with(env!("CARGO_PKG_VERSION"))
        );
        assert!(
            line["ts"].as_str().unwrap().ends_with('Z')
                && line["caller"].as_str().unwrap().contains("logging.rs:")
        );
    }

    #[test]
    fn an_error_with_crit_is_of_level_crit() {
        let text = console(
            &settings(true),
            None,
            |_| tracing::error!(target: "dodona", crit = true, "no money left"),
        );
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "crit");
        assert!(line.get("crit").is_none());
    }

    #[test]
    fn a_password_that_somebody_logs_is_masked() {
        let text = console(
            &settings(false),
            None,
            |_| tracing::info!(target: "dodona", oldPassword = "hunter2", "import"),
        );
        assert!(
            text.contains("oldPassword=•••") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn libraries_are_heard_only_when_something_is_wrong() {
        let text = console(&settings(false), None, |_| {
            tracing::info!(target: "hyper::client", "chatter");
            tracing::warn!(target: "hyper::client", "trouble");
        });
        assert!(
            !text.contains("chatter") && text.contains("trouble"),
            "{text}"
        );
    }

    #[test]
    fn the_console_level_can_be_changed_while_the_node_runs() {
        let text = console(&settings(false), None, |handle| {
            tracing::debug!(target: "dodona", "one");
            handle.set_level(LogLevel::Debug);
            tracing::debug!(target: "dodona", "two");
            handle.set_level(LogLevel::Crit);
            tracing::error!(target: "dodona", "three");
        });
        assert!(
            !text.contains("one") && text.contains("two") && !text.contains("three"),
            "{text}"
        );
    }

    #[test]
    fn the_file_holds_debug_lines_whatever_the_console_shows() {
        let dir = tempfile::tempdir().unwrap();
        let file = LogFileConfig {
            dir: dir.path().to_owned(),
            max_size_bytes: 1_000_000,
            max_age_days: 0,
            max_backups: 1,
        };
        let file = RotatingFile::open(&file).unwrap();
        let text = console(
            &settings(false),
            Some(file),
            |_| tracing::debug!(target: "dodona_txm", nonce = 4, "quiet"),
        );
        assert_eq!(text, "");
        let held = std::fs::read_to_string(dir.path().join("dodona_debug.log")).unwrap();
        let parts: Vec<&str> = held.trim_end().split('\t').collect();
        assert_eq!(parts[1..3], ["debug", "dodona_txm"]);
        assert_eq!(parts[4..], ["quiet", r#"{"nonce":4}"#]);
    }
}
