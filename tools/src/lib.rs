//! What the two binaries are assembled from.
//!
//! `ofswitchd`: [`config`] (flags and TOML) · [`logging`] · [`daemon`] (start, loop, stop) · [`control`] (the command socket) ·
//! [`commands`] (what it understands) · [`metrics`] (OpenMetrics) · [`state`] (what outlives a restart).
//! `ofctl`: [`ofctl`] (options, connections, commands) · [`offline`] (what needs no switch) · [`pki`] (certificates to try TLS with).
#![forbid(unsafe_code)]

pub mod commands;
pub mod config;
pub mod control;
pub mod daemon;
pub mod logging;
pub mod metrics;
pub mod ofctl;
pub mod offline;
pub mod pki;
pub mod state;
