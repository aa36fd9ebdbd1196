//! Log lines to stderr, with a level that can be changed while running.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, reload, util::SubscriberInitExt, Registry};

/// Changes the level of the running process.
pub struct LogLevel {
    handle: reload::Handle<LevelFilter, Registry>,
    name: String,
}

/// The level of a name.
///
/// # Errors
/// The names there are.
pub fn level(name: &str) -> Result<LevelFilter, String> {
    match name {
        "off" => Ok(LevelFilter::OFF),
        "error" | "err" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" | "dbg" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!("log level {name:?} is unknown; there are off, error, warn, info, debug and trace")),
    }
}

/// Starts logging.
///
/// # Errors
/// An unknown level.
pub fn start(name: &str) -> Result<LogLevel, String> {
    let (filter, handle) = reload::Layer::new(level(name)?);
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false))
        .try_init();
    Ok(LogLevel { handle, name: name.into() })
}

impl LogLevel {
    /// The level's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Logs at this level from now on.
    ///
    /// # Errors
    /// An unknown level.
    pub fn set(&mut self, name: &str) -> Result<(), String> {
        self.handle.reload(level(name)?).map_err(|e| e.to_string())?;
        self.name = name.into();
        Ok(())
    }
}
