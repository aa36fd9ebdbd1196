//! OpenFlow tables, groups, meters, translation and connections: the only crate that knows both sides.
#![forbid(unsafe_code)]

pub mod api;
pub mod bridge;
pub mod buffers;
pub mod check;
pub mod classifier;
pub mod columns;
pub mod conn;
pub mod entries;
pub mod fields;
pub mod flow;
pub mod group;
pub mod handle;
pub mod index;
pub mod intern;
pub mod learned;
pub mod mac_learning;
pub mod meter;
pub mod prefix_trie;
pub mod queue;
pub mod revalidator;
pub mod rule;
pub mod snapshot;
pub mod switch;
pub mod table;
pub mod table_features;
pub mod trace;
pub mod upcall;
pub mod xlate;

pub use api::{BridgeConfig, BridgeId, ConfigError, Journaling, PortSpec, Waker};
pub use switch::{BridgeView, Switch};
