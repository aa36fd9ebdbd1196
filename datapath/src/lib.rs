//! Packets in, packets out. Does not know what a controller is.
//!
//! | module | what |
//! | --- | --- |
//! | [`packet`] | `Packet`, `Batch`: ownership, headroom, offload state |
//! | [`flow_key`] | `FlowKey`, `FlowMask`: three 64-byte lanes |
//! | [`extract`] | headers to a key and a layout, scalar and AVX-512 |
//! | [`emc`], [`classifier`] | which megaflow a packet matches |
//! | [`megaflow`] | what megaflows count |
//! | [`condemned`] | removing very many of them at once |
//! | [`action`], [`upcall`] | what ofproto and the workers agree on |
//! | [`program`], [`edit`] | actions compiled and executed; header changes with their checksums |
//! | [`pmd`] | a worker: the loop from receive to transmit |
//! | [`rxq`] | which PMD serves which receive queue |
//! | [`datapath`] | the control side: ports, workers, commands, the barrier |
//! | [`port`] | ports and their drivers |
//! | [`meter`], [`stats`], [`text`] | token buckets; counters and drop reasons; OVS's words for keys and actions |
//! | [`isa`], [`sys`] | which kernels; the few system calls of workers |
//! | `helper` | a thread that takes memory for workers ahead of need |
//!
//! **Threads.** A worker owns its queues, megaflows and cache: no lock, plain loads. Control owns ports and talks to workers by a command
//! queue each ([`datapath`]). They share counters (one writer, relaxed), meters (atomics) and nothing else. Lock order: `Datapath`'s one lock,
//! then a worker's `sending`; workers take neither.
//!
//! **Unsafe** is denied but in the modules that docs/unsafe.md lists.

#![deny(unsafe_code)]

pub mod action;
pub mod classifier;
pub mod condemned;
pub mod datapath;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod edit;
pub mod emc;
pub mod extract;
pub mod flow_key;
pub(crate) mod helper;
pub mod isa;
pub mod megaflow;
pub mod meter;
pub mod packet;
pub mod pmd;
pub mod port;
pub mod program;
pub mod queue;
pub mod rxq;
pub mod stats;
pub mod sys;
pub mod text;
pub mod upcall;

pub use action::{DpAction, DpMeterId, KeyPatch, PortId};
pub use datapath::{Datapath, DatapathConfig};
pub use flow_key::{FlowKey, FlowMask};
