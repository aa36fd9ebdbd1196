//! The switch daemon: arguments, logging, start, one line "ready", loop, stop.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use tokio::signal::unix::{signal, SignalKind};
use tools::config::{Asked, Config, USAGE};
use tools::daemon::Daemon;

/// Flow tables are millions of small things that come and go together: their memory is to be quick to get, and to be given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Usage or configuration.
const EX_USAGE: u8 = 64;
/// Our fault.
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let asked = match Config::from_args(std::env::args().skip(1)) {
        Ok(a) => a,
        Err(e) => return refuse(&e, EX_USAGE),
    };
    let config = match asked {
        Asked::Help => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Asked::Version => {
            println!("ofswitchd {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Asked::Run(c) => *c,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return refuse(&e.to_string(), EX_SOFTWARE),
    };
    let local = tokio::task::LocalSet::new();
    match local.block_on(&runtime, run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => refuse(&e, EX_USAGE),
    }
}

fn refuse(why: &str, code: u8) -> ExitCode {
    eprintln!("ofswitchd: {}", why.trim_end());
    ExitCode::from(code)
}

async fn run(config: Config) -> Result<(), String> {
    let log = tools::logging::start(&config.log)?;
    ofproto::conn::tls::install_provider();
    let fault = |e: std::io::Error| e.to_string();
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    tracing::info!("ofswitchd {}", env!("CARGO_PKG_VERSION"));
    let mut daemon = Daemon::start(config, log).await?;
    {
        let mut out = std::io::stdout().lock();
        // Whoever waits for this line may have gone; that is no reason to end.
        let _ = writeln!(out, "{}", daemon.ready_line()).and_then(|()| out.flush());
    }
    let stop = daemon.stop_handle();
    tokio::task::spawn_local(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop();
    });
    daemon.run().await;
    Ok(())
}
