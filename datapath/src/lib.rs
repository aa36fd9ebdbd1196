//! Packets in, packets out. Does not know what a controller is.

pub mod action;
pub mod flow_key;
pub mod port;
pub mod upcall;

pub use action::{DpAction, DpMeterId, KeyPatch, PortId};
pub use flow_key::{FlowKey, FlowMask};
