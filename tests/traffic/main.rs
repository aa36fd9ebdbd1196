//! End-to-end tests: the real `ofswitchd` and `ofctl`, real hosts (network namespaces), real clients.
//!
//! One file per subject; `cargo test -p tests` runs all, `cargo test -p tests barrier` one subject.

mod afxdp_ports;
mod barrier;
mod bridges;
mod bundles;
mod cli;
mod connections;
mod dpdk_ports;
mod json;
mod learning;
mod linux_ports;
mod ofctl_rest;
mod ovs_ofctl;
mod refusals;
mod restart;
mod semantics;
mod state_dir;
mod upkeep;
