//! Counters of workers, and the reasons for which packets end. Written by one worker with relaxed stores, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning worker calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
    /// Sets. Only the owning worker calls this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! drop_reasons {
    ($($name:ident $word:literal $text:literal,)*) => {
        /// Why the datapath itself ended a packet.
        #[allow(missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
        #[repr(u8)]
        pub enum DropReason { $($name,)* }
        impl DropReason {
            /// All reasons.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];
            /// One word, for counters.
            pub fn word(self) -> &'static str { match self { $(DropReason::$name => $word,)* } }
            /// A sentence for people.
            pub fn sentence(self) -> &'static str { match self { $(DropReason::$name => $text,)* } }
        }
    };
}

drop_reasons! {
    TooShort "too_short" "The frame is shorter than an Ethernet header.",
    NoSuchPort "no_such_port" "The output port is not (or no longer) part of the datapath.",
    QueueFull "queue_full" "Its queue of the output port was full: more than the queue's rate was sent to it.",
    TxFull "tx_full" "The output device refused the packet: its queue is full or it is down.",
    Meter "meter" "A meter's drop band was exceeded.",
    UpcallBudget "upcall_budget" "Too many first packets at once: the worker's share of time for upcalls was used up and its waiting room full.",
    RecircLimit "recirc_limit" "The packet was looked up again too often in one passage.",
    DepthLimit "depth_limit" "Actions were nested too deeply.",
    BadHeader "bad_header" "An action needed a header that the packet does not have.",
    TooLong "too_long" "Pushing a header would make the frame longer than a buffer.",
    TtlExpired "ttl_expired" "The TTL was 0 or 1 and had to be decremented.",
    NoHandler "no_handler" "No one answered an upcall.",
    Policy "policy" "The tables say drop (see the handler's own reasons).",
}

/// Most drop reasons a handler can have ([`crate::upcall::Verdict::drop_reason`] beyond count as the last).
pub const POLICY_REASONS: usize = 64;

/// What took most of a long round of a worker's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LongCause {
    /// Upcalls: packets that missed, or could not follow their megaflow.
    Upcalls,
    /// What control told the worker.
    Commands,
    /// Condemned megaflows that ended.
    Removals,
    /// None of these: a device that took its time, or somebody else had the processor (another task, an interrupt, the hypervisor).
    Nothing,
}

/// Rounds are long above the first; the classes in which they are counted begin at these microseconds.
pub const LONG_US: [u64; 5] = [250, 500, 1000, 2000, 5000];

/// Long rounds' names as counters, by [`LongCause`] and class of [`LONG_US`].
pub const LONG_NAMES: [[&str; LONG_US.len()]; 4] = [
    ["long_upcalls_250us", "long_upcalls_500us", "long_upcalls_1ms", "long_upcalls_2ms", "long_upcalls_5ms"],
    [
        "long_commands_250us",
        "long_commands_500us",
        "long_commands_1ms",
        "long_commands_2ms",
        "long_commands_5ms",
    ],
    [
        "long_removals_250us",
        "long_removals_500us",
        "long_removals_1ms",
        "long_removals_2ms",
        "long_removals_5ms",
    ],
    ["long_nothing_250us", "long_nothing_500us", "long_nothing_1ms", "long_nothing_2ms", "long_nothing_5ms"],
];

/// Counters of one worker.
#[allow(missing_docs)]
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerCounters {
    pub rx_packets: Counter,
    pub rx_bytes: Counter,
    pub rx_batches: Counter,
    pub recirculated: Counter,
    pub emc_hits: Counter,
    pub megaflow_hits: Counter,
    /// Subtables probed for megaflow hits.
    pub subtables_probed: Counter,
    pub misses: Counter,
    pub upcalls: Counter,
    pub upcall_cycles: Counter,
    /// Packets that had to wait for their upcall.
    pub upcalls_waited: Counter,
    pub action_upcalls: Counter,
    pub exceptions: Counter,
    pub tx_packets: Counter,
    pub tx_batches: Counter,
    pub busy_cycles: Counter,
    pub idle_cycles: Counter,
    pub busy_iterations: Counter,
    pub idle_iterations: Counter,
    pub commands: Counter,
    pub evictions: Counter,
    /// Megaflows not installed because the table was full and the port had its share of it.
    pub install_refused: Counter,
    pub megaflows: Counter,
    pub subtables: Counter,
    /// Room of the exact-match cache, hints that came in and that were refused, and ports that do without it for now.
    pub emc_entries: Counter,
    pub emc_inserts: Counter,
    /// Rounds that ended in a sleep (`pmd-sleep-max`), and the cycles slept.
    pub sleep_iterations: Counter,
    pub sleep_cycles: Counter,
    /// Batches received, by their number of packets.
    pub batch_sizes: [Counter; crate::packet::BATCH_SIZE + 1],
    pub emc_refused: Counter,
    pub emc_resting_ports: Counter,
    /// Cycles by stage: receive, extract, lookup, actions, transmit.
    pub stage_cycles: [Counter; 5],
    /// Long rounds by [`LongCause`] and class of [`LONG_US`].
    pub long_rounds: [[Counter; LONG_US.len()]; LONG_NAMES.len()],
    pub drops: [Counter; DropReason::ALL.len()],
    /// Packets dropped by empty verdicts, by the handler's reason.
    pub policy_drops: [Counter; POLICY_REASONS],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            rx_packets: Counter::default(),
            rx_bytes: Counter::default(),
            rx_batches: Counter::default(),
            recirculated: Counter::default(),
            emc_hits: Counter::default(),
            megaflow_hits: Counter::default(),
            subtables_probed: Counter::default(),
            misses: Counter::default(),
            upcalls: Counter::default(),
            upcall_cycles: Counter::default(),
            upcalls_waited: Counter::default(),
            action_upcalls: Counter::default(),
            exceptions: Counter::default(),
            tx_packets: Counter::default(),
            tx_batches: Counter::default(),
            busy_cycles: Counter::default(),
            idle_cycles: Counter::default(),
            busy_iterations: Counter::default(),
            idle_iterations: Counter::default(),
            commands: Counter::default(),
            evictions: Counter::default(),
            install_refused: Counter::default(),
            megaflows: Counter::default(),
            subtables: Counter::default(),
            emc_entries: Counter::default(),
            emc_inserts: Counter::default(),
            sleep_iterations: Counter::default(),
            sleep_cycles: Counter::default(),
            batch_sizes: std::array::from_fn(|_| Counter::default()),
            emc_refused: Counter::default(),
            emc_resting_ports: Counter::default(),
            stage_cycles: Default::default(),
            long_rounds: Default::default(),
            drops: Default::default(),
            policy_drops: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl WorkerCounters {
    /// Counts a dropped packet.
    #[inline]
    pub fn drop(&self, why: DropReason) {
        self.drops[why as usize].add(1);
    }
    /// All counters by name, drops aside.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        let mut v = vec![
            ("rx_packets", self.rx_packets.get()),
            ("rx_bytes", self.rx_bytes.get()),
            ("rx_batches", self.rx_batches.get()),
            ("recirculated", self.recirculated.get()),
            ("emc_hits", self.emc_hits.get()),
            ("megaflow_hits", self.megaflow_hits.get()),
            ("subtables_probed", self.subtables_probed.get()),
            ("misses", self.misses.get()),
            ("upcalls", self.upcalls.get()),
            ("upcall_cycles", self.upcall_cycles.get()),
            ("upcalls_waited", self.upcalls_waited.get()),
            ("action_upcalls", self.action_upcalls.get()),
            ("exceptions", self.exceptions.get()),
            ("tx_packets", self.tx_packets.get()),
            ("tx_batches", self.tx_batches.get()),
            ("busy_cycles", self.busy_cycles.get()),
            ("idle_cycles", self.idle_cycles.get()),
            ("busy_iterations", self.busy_iterations.get()),
            ("idle_iterations", self.idle_iterations.get()),
            ("commands", self.commands.get()),
            ("evictions", self.evictions.get()),
            ("install_refused", self.install_refused.get()),
            ("megaflows", self.megaflows.get()),
            ("subtables", self.subtables.get()),
            ("emc_entries", self.emc_entries.get()),
            ("emc_inserts", self.emc_inserts.get()),
            ("sleep_iterations", self.sleep_iterations.get()),
            ("sleep_cycles", self.sleep_cycles.get()),
            ("upcalls_lost", self.drops[DropReason::UpcallBudget as usize].get()),
            ("emc_refused", self.emc_refused.get()),
            ("emc_resting_ports", self.emc_resting_ports.get()),
        ];
        let stages = ["cycles_rx", "cycles_extract", "cycles_lookup", "cycles_actions", "cycles_tx"];
        v.extend(stages.iter().zip(&self.stage_cycles).map(|(n, c)| (*n, c.get())));
        let long = LONG_NAMES.iter().flatten().zip(self.long_rounds.iter().flatten());
        v.extend(long.map(|(n, c)| (*n, c.get())));
        v
    }
}
