//! OpenFlow tables, groups, meters, translation and connections: the only crate that knows both sides.
#![forbid(unsafe_code)]

pub mod api;
pub mod conn;
pub mod fields;
pub mod flow;
pub mod switch;
pub mod xlate;

pub use api::{BridgeConfig, BridgeId, ConfigError, PortSpec, Waker};
pub use switch::{BridgeView, Switch};
