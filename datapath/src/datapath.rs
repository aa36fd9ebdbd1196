//! The control side of the datapath: ports, workers, commands to workers, and what can be asked of them.
//!
//! Everything here is called from the control side (one thread or several; a lock inside is never taken by a worker). Workers receive
//! commands through a queue each. [`Datapath::synchronize`] is the barrier: after it, nothing that a worker receives is
//! decided by a state older than the commands sent before it.

use crate::action::{DpAction, DpMeterId, PortId};
use crate::flow_key::{FlowKey, FlowMask};
use crate::meter::{MeterConfig, MeterStats};
use crate::port::{Port, PortConfig, PortError, PortInfo, PortStats};
use crate::stats::DropReason;
use crate::upcall::{UpcallHandler, WorkerId};
use std::sync::Arc;

/// Wakes the control thread: port events or the handler's own queues have something. Called on any thread, must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How a datapath is set up.
#[derive(Clone)]
pub struct DatapathConfig {
    /// Cores with a busy-polling PMD thread each. Worker 0 is always the epoll worker; PMDs are 1, 2, ...
    pub pmd_cores: Vec<usize>,
    /// Called when [`Datapath::next_port_event`] has something.
    pub waker: Waker,
    /// Most megaflows per worker.
    pub flow_limit: usize,
    /// Entries of each worker's exact-match cache (rounded up to a power of two; 0: none).
    pub emc_entries: usize,
    /// Share of a worker's time that upcalls may take while other packets wait, in percent.
    pub upcall_budget_percent: u32,
    /// `avx512`, `avx2` or `scalar`; `None`: the best there is.
    pub isa: Option<String>,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            pmd_cores: Vec::new(),
            waker: Arc::new(|| ()),
            flow_limit: 200_000,
            emc_entries: 16_384,
            upcall_budget_percent: 20,
            isa: None,
        }
    }
}

/// A megaflow as a dump shows it.
#[derive(Clone)]
pub struct MegaflowDump {
    /// Where.
    pub worker: WorkerId,
    /// The handler's name for it.
    pub token: u64,
    /// Masked key.
    pub key: FlowKey,
    /// Mask.
    pub mask: FlowMask,
    /// What it does.
    pub actions: Vec<DpAction>,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Time of last use on the datapath's clock ([`Datapath::now_ms`]); 0 never.
    pub used_ms: u64,
    /// OR of the TCP flags.
    pub tcp_flags: u16,
}

/// A worker's figures.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WorkerStats {
    /// Which worker.
    pub worker: u32,
    /// Core it is pinned to; `None`: the epoll worker.
    pub core: Option<usize>,
    /// Counters by name (see [`crate::stats::WorkerCounters`]).
    pub counters: Vec<(&'static str, u64)>,
    /// Cycles per second of the time-stamp counter.
    pub tsc_hz: u64,
    /// Kernels in use.
    pub isa: &'static str,
}

/// A receive queue and the worker that serves it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RxqAssignment {
    /// Port.
    pub port: PortId,
    /// Its name.
    pub port_name: String,
    /// Queue number.
    pub rxq: usize,
    /// Worker.
    pub worker: u32,
    /// Share of the worker's cycles that the queue took since the last rebalance, percent.
    pub busy_percent: f32,
}

/// The datapath: ports and workers. Dropping it stops the workers.
pub struct Datapath {
    _handler: Arc<dyn UpcallHandler>,
}

#[allow(unused_variables, clippy::unimplemented)]
impl Datapath {
    /// Starts the epoll worker and the PMD threads.
    ///
    /// # Errors
    /// A core that cannot be pinned to, an unknown ISA, no file descriptors.
    pub fn new(config: DatapathConfig, handler: Arc<dyn UpcallHandler>) -> Result<Self, PortError> {
        unimplemented!("lands shortly")
    }
    /// Opens a port and gives its queues to workers.
    ///
    /// # Errors
    /// What the driver says; nothing has changed then.
    pub fn add_port(&self, config: &PortConfig) -> Result<PortId, PortError> {
        unimplemented!("lands shortly")
    }
    /// Adds a port that is open already.
    ///
    /// # Errors
    /// As [`Datapath::add_port`].
    pub fn add_port_object(&self, port: Box<dyn Port>) -> Result<PortId, PortError> {
        unimplemented!("lands shortly")
    }
    /// Takes the port from all workers and closes it. Returns after the workers let go of it.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn del_port(&self, port: PortId) -> Result<(), PortError> {
        unimplemented!("lands shortly")
    }
    /// All ports.
    pub fn ports(&self) -> Vec<(PortId, PortInfo)> {
        unimplemented!("lands shortly")
    }
    /// A port's state.
    pub fn port_info(&self, port: PortId) -> Option<PortInfo> {
        unimplemented!("lands shortly")
    }
    /// A port's totals.
    pub fn port_stats(&self, port: PortId) -> Option<PortStats> {
        unimplemented!("lands shortly")
    }
    /// Changes a port's MTU.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_mtu(&self, port: PortId, mtu: u32) -> Result<(), PortError> {
        unimplemented!("lands shortly")
    }
    /// Brings a port's device up or down.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_admin_up(&self, port: PortId, up: bool) -> Result<(), PortError> {
        unimplemented!("lands shortly")
    }
    /// A port whose state changed meanwhile (link, MTU, address, vanished or returned: compare [`PortInfo`]). The [`Waker`] is called when
    /// there is something.
    pub fn next_port_event(&self) -> Option<(PortId, PortInfo)> {
        unimplemented!("lands shortly")
    }
    /// Executes actions on a frame as if it came in by `in_port` (packet-out). In the order of the calls. Not counted as received.
    pub fn execute(&self, frame: &[u8], in_port: PortId, actions: Vec<DpAction>) {
        unimplemented!("lands shortly")
    }
    /// Gives a megaflow other actions (its counters go on). `drop_reason` counts if `actions` is empty.
    pub fn update_megaflow(&self, worker: WorkerId, token: u64, actions: Vec<DpAction>, drop_reason: u16) {
        unimplemented!("lands shortly")
    }
    /// Removes a megaflow. Its [`crate::upcall::MegaflowStats`] are final after the next [`Datapath::synchronize`].
    pub fn remove_megaflow(&self, worker: WorkerId, token: u64) {
        unimplemented!("lands shortly")
    }
    /// A mark behind all commands sent so far, for [`Datapath::synced`].
    pub fn mark(&self) -> SyncMark {
        unimplemented!("lands shortly")
    }
    /// Whether every worker has handled all commands before `mark`, or sleeps and will handle them before any packet. Also true of what
    /// workers read from shared snapshots: one published before `mark` is the oldest they will use.
    pub fn synced(&self, mark: &SyncMark) -> bool {
        unimplemented!("lands shortly")
    }
    /// [`Datapath::mark`], and waits until it is synced: microseconds, at most one batch and its upcalls.
    pub fn synchronize(&self) {
        unimplemented!("lands shortly")
    }
    /// Makes or replaces a meter (counters start again).
    pub fn set_meter(&self, id: DpMeterId, config: &MeterConfig) {
        unimplemented!("lands shortly")
    }
    /// Removes a meter; packets that name it pass.
    pub fn del_meter(&self, id: DpMeterId) {
        unimplemented!("lands shortly")
    }
    /// A meter's counters.
    pub fn meter_stats(&self, id: DpMeterId) -> Option<MeterStats> {
        unimplemented!("lands shortly")
    }
    /// All megaflows, asked of the workers in slices.
    pub fn dump_megaflows(&self) -> Vec<MegaflowDump> {
        unimplemented!("lands shortly")
    }
    /// Most megaflows per worker from now on.
    pub fn set_flow_limit(&self, n: usize) {
        unimplemented!("lands shortly")
    }
    /// Every worker's figures since the start or the last clear.
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        unimplemented!("lands shortly")
    }
    /// `pmd-stats-clear`: figures count from now on.
    pub fn clear_worker_stats(&self) {
        unimplemented!("lands shortly")
    }
    /// Which worker serves which queue.
    pub fn rxq_assignment(&self) -> Vec<RxqAssignment> {
        unimplemented!("lands shortly")
    }
    /// Packets the datapath ended, by reason (all of them, zeros too).
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        unimplemented!("lands shortly")
    }
    /// Packets that empty verdicts ended, by the handler's reason index.
    pub fn policy_drops(&self) -> Vec<u64> {
        unimplemented!("lands shortly")
    }
    /// Milliseconds of the clock that `used_ms` is on.
    pub fn now_ms(&self) -> u64 {
        unimplemented!("lands shortly")
    }
}

/// See [`Datapath::mark`].
#[derive(Debug, Clone, Default)]
pub struct SyncMark(pub(crate) Vec<u64>);
