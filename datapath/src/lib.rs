//! Packets in, packets out. Does not know what a controller is.
//!
//! | module | what |
//! | --- | --- |
//! | [`packet`] | `Packet`, `Batch`: ownership, headroom, offload state |
//! | [`flow_key`] | `FlowKey`, `FlowMask`: three 64-byte lanes |
//! | [`action`], [`upcall`] | what ofproto and the workers agree on |
//! | [`port`] | ports and their drivers |
//! | [`datapath`] | the control side: ports, workers, commands |
//! | [`meter`], [`stats`] | token buckets; counters and drop reasons |

pub mod action;
pub mod classifier;
pub mod datapath;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod edit;
pub mod emc;
pub mod extract;
pub mod flow_key;
pub mod isa;
pub mod meter;
pub mod packet;
pub mod pmd;
pub mod port;
pub mod program;
pub mod stats;
pub mod sys;
pub mod text;
pub mod upcall;

pub use action::{DpAction, DpMeterId, KeyPatch, PortId};
pub use datapath::{Datapath, DatapathConfig};
pub use flow_key::{FlowKey, FlowMask};
