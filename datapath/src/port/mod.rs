//! What a port is to the datapath: receive queues, transmit queues, and a few things to ask and set.
//!
//! A [`Port`] belongs to the control side. Its queues are taken out of it and given to workers, each queue to one thread (`&mut self`,
//! no lock). Counters are shared through [`counters::PortCounters`]. [`open`] knows all drivers.

pub mod af_packet;
pub mod af_xdp;
pub mod counters;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod dummy;
pub mod monitor;
pub mod netlink;
pub mod offload;
pub mod sys;
pub mod tap;
pub mod xdp_filter;
pub mod xdp_sys;

use crate::packet::Batch;
use monitor::LinkMonitor;
use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// What a port is made from: `name`, `type`, and `key=value` options.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PortConfig {
    /// Name; of a Linux interface for the Linux types.
    pub name: String,
    /// `system`, `internal`, `afxdp`, `dpdk`, `dummy`, ...
    pub kind: String,
    /// The rest.
    pub options: BTreeMap<String, String>,
}

/// Why a port cannot be made or changed. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The operator asked for something that makes no sense.
    #[error("port {name}: {what}")]
    Config {
        /// Port.
        name: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// The system refused.
    #[error("port {name}: {what}: {reason}")]
    System {
        /// Port.
        name: String,
        /// What was tried.
        what: String,
        /// What the system said.
        reason: String,
    },
    /// No such port in the datapath.
    #[error("no such port: {0}")]
    NoSuchPort(String),
    /// The name is taken.
    #[error("port {0} exists already")]
    Exists(String),
}

impl PortError {
    /// A [`PortError::Config`].
    pub fn config(name: &str, what: impl Into<String>) -> Self {
        Self::Config { name: name.into(), what: what.into() }
    }
    /// A [`PortError::System`] of an OS error.
    pub fn system(name: &str, what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::System { name: name.into(), what: what.into(), reason: reason.to_string() }
    }
}

/// State of a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PortInfo {
    /// Name.
    pub name: String,
    /// Type, as in [`PortConfig::kind`].
    pub kind: String,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Largest payload.
    pub mtu: u32,
    /// Carrier.
    pub link_up: bool,
    /// Administratively up.
    pub admin_up: bool,
    /// Megabits per second; 0 unknown.
    pub speed_mbps: u32,
    /// Fastest the port can.
    pub max_speed_mbps: u32,
    /// Full duplex.
    pub full_duplex: bool,
    /// Copper medium (else fiber or none).
    pub copper: bool,
    /// Receive queues.
    pub n_rxq: usize,
    /// Transmit queues.
    pub n_txq: usize,
    /// The device is there (false after it vanished).
    pub present: bool,
}

/// Totals of a port. Bytes are frame lengths without FCS.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct PortStats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_frame_err: u64,
    pub rx_over_err: u64,
    pub rx_crc_err: u64,
    pub collisions: u64,
}

/// A receive queue. Owned by one worker.
pub trait Rxq: Send {
    /// Appends what has come, up to what `batch` has room for; returns how many. Never blocks.
    fn recv(&mut self, batch: &mut Batch) -> usize;
    /// Readable when packets wait (level-triggered): then an epoll worker serves the queue. `None`: it must be polled by a PMD.
    fn fd(&self) -> Option<RawFd> {
        None
    }
}

/// A transmit queue. Owned by one worker.
pub trait Txq: Send {
    /// Sends all packets of `batch` and leaves it empty; what the device refuses is dropped and counted in its `dropped`. Completes
    /// checksums and segments GSO frames if the device cannot.
    fn send(&mut self, batch: &mut Batch);
    /// Called at the end of a round in which `send` was called.
    fn flush(&mut self) {}
    /// Tells the time before anything is sent, and sends what waits and may go now; whether something still waits. Only queues
    /// behind a scheduler ([`crate::queue`]) are told.
    fn tick(&mut self, _now_ns: u64) -> bool {
        false
    }
}

/// A port. Owned by the control side.
pub trait Port: Send {
    /// State now.
    fn info(&self) -> PortInfo;
    /// Totals now.
    fn stats(&self) -> PortStats;
    /// The receive queues, once.
    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>>;
    /// A transmit queue for one more worker.
    ///
    /// # Errors
    /// If the device has no more and cannot share.
    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError>;
    /// Changes the MTU.
    ///
    /// # Errors
    /// If the device refuses.
    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError>;
    /// Up or down.
    ///
    /// # Errors
    /// If the device refuses.
    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError>;
    /// Called once when the port joins a datapath: asks `monitor` to follow its interface (and re-attaches by itself when that comes back; its
    /// queues stay valid, their descriptors too).
    fn watch(&mut self, _monitor: &LinkMonitor) {}
    /// NUMA node of the device, if it has one.
    fn numa_node(&self) -> Option<u32> {
        None
    }
    /// Statistics beyond [`PortStats`], by name.
    fn xstats(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

/// Opens a port by its type.
///
/// # Errors
/// An unknown type, or what the driver says.
pub fn open(config: &PortConfig) -> Result<Box<dyn Port>, PortError> {
    match config.kind.as_str() {
        "system" | "" => Ok(Box::new(af_packet::SystemPort::open(af_packet::Config::new(config)?)?)),
        "afxdp" | "afxdp-nonpmd" => Ok(Box::new(af_xdp::XdpPort::open(af_xdp::Config::new(config)?)?)),
        "internal" | "tap" => Ok(Box::new(tap::TapPort::open(tap::Config::new(config)?)?)),
        #[cfg(feature = "dpdk")]
        k if dpdk::KINDS.contains(&k) => Ok(Box::new(dpdk::DpdkPort::open(dpdk::Config::new(config)?)?)),
        #[cfg(not(feature = "dpdk"))]
        k @ ("dpdk" | "dpdkvhostuser" | "dpdkvhostuserclient" | "dpdkr" | "memif") => {
            Err(PortError::config(&config.name, format!("type {k} needs DPDK, which this build has not: build with --features dpdk")))
        }
        "dummy" => Ok(Box::new(dummy::DummyPort::new(&config.name))),
        other => Err(PortError::config(&config.name, format!("unknown type {other:?}; there are system, internal, afxdp, patch, dpdk, dpdkvhostuser, dpdkvhostuserclient, dpdkr and memif"))),
    }
}
