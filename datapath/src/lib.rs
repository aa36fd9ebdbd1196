//! Packets in, packets out. Does not know what a controller is.

pub mod action;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod flow_key;
pub mod port;
pub mod upcall;

pub use action::{DpAction, DpMeterId, KeyPatch, PortId};
pub use flow_key::{FlowKey, FlowMask};
