//! Upcalls: the way from a worker to the one who knows the tables.
//!
//! A worker that finds no megaflow for a packet calls its [`UpcallHandler`] inline, on its own thread, within its upcall budget. The
//! handler translates against an immutable snapshot and never blocks. The worker then installs the megaflow in its own
//! classifier and executes the actions.

use crate::action::DpAction;
use crate::flow_key::{FlowKey, FlowMask};
pub use crate::megaflow::{Counts, Ended, StatsTable};

/// Which worker (0, 1, ...) speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u32);

/// Why the handler is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No megaflow matched: translate, say what to install.
    Miss,
    /// [`DpAction::Userspace`] with its token: deliver the packet (to a controller); nothing to install.
    Action(u64),
    /// The packet could not follow its program (TTL): translate this packet alone; nothing is installed.
    Exception,
}

/// What the handler answers to a miss or an exception.
#[derive(Default)]
pub struct Verdict {
    /// Said by the worker: the packet's port has so many masks that a new one will be rounded ([`crate::classifier::round_up`]). The handler may do
    /// so at once: what it remembers of its answers then stays as few.
    pub crowded: bool,
    /// Bits of the key that the answer depends on.
    pub mask: FlowMask,
    /// What to do with this packet and all that equal it on `mask`. Empty: drop.
    pub actions: Vec<DpAction>,
    /// Why the packet is dropped if `actions` is empty (index into the handler's drop reasons).
    pub drop_reason: u16,
    /// Whether a megaflow may be installed.
    pub install: bool,
    /// The handler's own name for the megaflow (48 bits, not 0), given back at its end.
    pub token: u64,
    /// The handler's own division of megaflows: a small number, by which many can be condemned at once.
    pub class: u32,
    /// Version of the tables that the answer was made with.
    pub version: u64,
}

/// Implemented by ofproto. Called on worker threads, must not block.
pub trait UpcallHandler: Send + Sync {
    /// A packet needs a decision (or is delivered, for [`Reason::Action`]). `frame` is the packet as it now is.
    fn upcall(&self, worker: WorkerId, reason: Reason, key: &FlowKey, frame: &[u8], out: &mut Verdict);
    /// The megaflow that `out` of the last upcall on this worker described, for this key, is now installed in this slot; the packet that asked is
    /// in its counters.
    fn installed(&self, worker: WorkerId, token: u64, slot: u32, key: &FlowKey);
    /// It was not installed, since the table is full and the packet's port has its share of it: whatever the packet is to be credited to is the
    /// handler's to credit.
    fn refused(&self, worker: WorkerId, token: u64, bytes: u64);
    /// An installed megaflow is no more: removed as asked for, replaced, or put out. Told once of each.
    fn ended(&self, worker: WorkerId, ended: Ended);
    /// All megaflows of the first `sentences` sentences on this worker ([`crate::Datapath::condemn`]) have ended, and each end has been told.
    fn carried_out(&self, _worker: WorkerId, _sentences: u64) {}
}
