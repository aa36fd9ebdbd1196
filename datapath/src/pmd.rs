//! A worker: the loop that receives, extracts, looks up, acts and sends. The same loop busy-polls (a PMD thread) or sleeps in epoll.
//!
//! One round: commands, then packets that wait for an upcall, then up to one batch of each queue (epoll: of each ready one), then
//! the outputs gathered meanwhile are sent.
//!
//! **Commands and sleep.** Control pushes commands and counts them in `sent`; the worker counts in `done`. Before it sleeps an epoll worker sets
//! `asleep` and looks at `sent` once more; after it wakes it clears `asleep` and handles commands before any packet. So whoever finds
//! `done >= sent` or `asleep` (all sequentially consistent) knows that no packet will meet an older state.
//!
//! **An idle PMD** may sleep (`pmd-sleep-max`): each round that brings no queue half a batch makes the sleep after it a microsecond longer, up to the
//! maximum; half a batch ends that. It sleeps as an epoll worker does, so commands wake it and a barrier need not wait. Without queues it sleeps
//! till the next command.
//!
//! **Upcalls** are inline. While packets that hit compete with packets that miss (some do hit, and queues hold more than is taken from them), upcalls get a
//! share of the time; a packet that finds the share used up waits in its port's waiting room, in order, and so do all later misses of
//! that port. Rooms are served round-robin, one packet each, so that a storm on one port does not starve another's first packets. A new
//! megaflow takes the packets it matches out of the room at once: later packets, which hit it, do not overtake them.
//! Whatever the competition, one round makes upcalls for a while only (`ROUND_US`, and one for each batch) if packets are about that hit: those wait for
//! the end of the round.
//! While there is competition, a few misses are also let gather for a moment (`BUNCH`, `GATHER_US`): translation's code and data are then fetched
//! once for all of them, and those of forwarding are thrown out of the caches less often.

use crate::action::{DpAction, DpMeterId};
use crate::classifier::{form, FlowTable, NONE, NOT_QUICK};
use crate::condemned::{Condemned, Sentence};
use crate::datapath::MegaflowDump;
use crate::edit;
use crate::emc::EmcSize;
use crate::extract::{extract, extract_batch, Keys, Layout, Layouts, Seen};
use crate::flow_key::{off, FlowKey};
use crate::helper::Helper;
use crate::megaflow::MAX_SLOTS;
use crate::meter::{self, Meter};
use crate::packet::{Batch, Packet, BATCH_SIZE};
use crate::port::{Rxq, Txq};
use crate::program::{execute, run, Fate, Program, Shape, Sink};
use crate::queue::{PortQueues, ShapedTxq};
use crate::stats::{DropReason, LongCause, WorkerCounters, LONG_US, POLICY_REASONS};
use crate::sys::{self, tsc, Epoll};
use crate::upcall::{Ended, Reason, StatsTable, UpcallHandler, Verdict, WorkerId};
use crossbeam_queue::SegQueue;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{fence, AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Lookups of one packet in one passage.
pub const MAX_RECIRC: u32 = 64;
/// Packets of a port that may wait for an upcall.
pub const ROOM: usize = 256;
/// Misses served together while hits compete with them.
const BUNCH: usize = 8;
/// Longest time that a miss waits for others, microseconds.
const GATHER_US: u64 = 100;
/// Time for upcalls in one round while packets that hit are about, microseconds; the last of them may take longer. (A batch of misses that
/// finds translation's tables in no cache takes half a millisecond and more.)
const ROUND_US: u64 = 200;
/// Programs of late that new megaflows may share.
const RECENT_PROGRAMS: usize = 32;
/// Commands that a worker handles between two rounds of packets.
const COMMANDS: usize = 128;
/// One batch in so many is timed stage by stage.
const SAMPLE: u32 = 32;
const WAKE_TAG: u64 = u64::MAX;

/// What control tells a worker.
pub(crate) enum Command {
    AddTxq {
        port: u32,
        txq: Box<dyn Txq>,
    },
    AddRxq {
        port: u32,
        index: usize,
        rxq: Box<dyn Rxq>,
        load: Arc<AtomicU64>,
    },
    /// Takes one receive queue out (to move it).
    TakeRxq {
        port: u32,
        index: usize,
        reply: SyncSender<Option<Box<dyn Rxq>>>,
    },
    /// Puts a scheduler before the port's transmit queue.
    Shape {
        port: u32,
        queues: Arc<PortQueues>,
    },
    DelPort {
        port: u32,
        reply: SyncSender<Vec<Dead>>,
    },
    Execute {
        frame: Vec<u8>,
        in_port: u32,
        actions: Vec<DpAction>,
    },
    Update {
        slot: u32,
        token: u64,
        program: Arc<Program>,
    },
    Remove {
        slot: u32,
        token: u64,
    },
    Condemn(Sentence),
    Meter {
        id: DpMeterId,
        meter: Option<Arc<Meter>>,
    },
    Dump {
        from: u32,
        max: u32,
        reply: SyncSender<(Vec<MegaflowDump>, Option<u32>)>,
    },
    FlowLimit(usize),
    /// Who has how many megaflows.
    Shares {
        reply: SyncSender<Vec<(u32, u32, u32, u32)>>,
    },
    /// Longest sleep of an idle PMD, microseconds.
    SleepMax(u32),
    /// Ends all megaflows (a PMD that gets no more packets).
    Flush,
    Emc(EmcSize),
    /// Only counts.
    Nothing,
    Stop,
}

/// A queue that left a worker, to be dropped elsewhere.
#[allow(dead_code)]
pub(crate) enum Dead {
    Rxq(Box<dyn Rxq>),
    Txq(Box<dyn Txq>),
}

/// What control and worker share.
pub(crate) struct Shared {
    pub counters: WorkerCounters,
    /// Counters of this worker's megaflows.
    pub stats: OnceLock<Arc<StatsTable>>,
    pub commands: SegQueue<Command>,
    pub sent: AtomicU64,
    pub done: AtomicU64,
    pub asleep: AtomicBool,
    pub kicked: AtomicBool,
    pub wake: OwnedFd,
}

impl Shared {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            counters: WorkerCounters::default(),
            stats: OnceLock::new(),
            commands: SegQueue::new(),
            sent: AtomicU64::new(0),
            done: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
            wake: sys::eventfd()?,
        })
    }
}

struct RxSlot {
    port: u32,
    index: usize,
    rxq: Box<dyn Rxq>,
    load: Arc<AtomicU64>,
    ready: bool,
    key: u64,
    /// Batches received: one in [`SAMPLE`] is timed.
    batches: u32,
}

struct TxSlot {
    txq: Box<dyn Txq>,
    batch: Box<Batch>,
    dirty: bool,
}

struct Waiting {
    key: FlowKey,
    /// Taken: it left out of its turn.
    packet: Option<Packet>,
    layout: Layout,
    depth: u32,
}

/// Packets of one port that wait for an upcall.
struct Room {
    port: u32,
    queue: VecDeque<Waiting>,
    /// Packets in it.
    len: usize,
}

/// Where packets go, and what actions need besides the packet.
struct Out {
    tx: Vec<Option<TxSlot>>,
    dirty: Vec<u32>,
    /// Ports with a scheduler, and whether something waits there.
    shaped: Vec<u32>,
    backlog: bool,
    recirc: VecDeque<(Packet, u32, u32, u32)>,
    meters: HashMap<u32, Arc<Meter>>,
    shared: Arc<Shared>,
    handler: Arc<dyn UpcallHandler>,
    worker: WorkerId,
    now_ns: u64,
    scratch: Verdict,
}

impl Out {
    /// Sends a whole batch to one port: exchanges the handles' boxes if nothing waits there yet.
    #[inline]
    fn send_all(&mut self, port: u32, batch: &mut Box<Batch>) {
        match self.tx.get_mut(port as usize) {
            Some(Some(slot)) if slot.batch.is_empty() => {
                std::mem::swap(&mut slot.batch, batch);
                if !slot.dirty {
                    slot.dirty = true;
                    self.dirty.push(port);
                }
            }
            _ => {
                for p in batch.drain() {
                    self.send(port, p);
                }
            }
        }
    }

    #[inline]
    fn send(&mut self, port: u32, p: Packet) {
        let Some(Some(slot)) = self.tx.get_mut(port as usize) else {
            self.shared.counters.drop(DropReason::NoSuchPort);
            return;
        };
        if slot.batch.is_full() {
            let c = &self.shared.counters;
            c.tx_packets.add(slot.batch.len() as u64);
            c.tx_batches.add(1);
            slot.txq.send(&mut slot.batch);
            slot.batch.clear();
        }
        slot.batch.push(p);
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(port);
        }
    }

    /// Milliseconds that an epoll worker may sleep.
    fn shaped_timeout(&mut self) -> i32 {
        // What was sent in this round may wait since.
        self.tick_shaped();
        if self.backlog {
            1
        } else {
            -1
        }
    }

    /// Schedulers send what has become due.
    #[inline(never)]
    fn tick_shaped(&mut self) {
        self.backlog = false;
        for port in &self.shaped {
            if let Some(Some(slot)) = self.tx.get_mut(*port as usize) {
                self.backlog |= slot.txq.tick(self.now_ns);
            }
        }
    }

    fn flush(&mut self) {
        for port in self.dirty.drain(..) {
            let Some(Some(slot)) = self.tx.get_mut(port as usize) else { continue };
            slot.dirty = false;
            if !slot.batch.is_empty() {
                let c = &self.shared.counters;
                c.tx_packets.add(slot.batch.len() as u64);
                c.tx_batches.add(1);
                slot.txq.send(&mut slot.batch);
                slot.batch.clear();
            }
            slot.txq.flush();
        }
    }
}

/// A packet's program at work.
struct Running<'a> {
    out: &'a mut Out,
    key: &'a FlowKey,
    depth: u32,
}

impl Sink for Running<'_> {
    #[inline]
    fn output(&mut self, port: u32, p: Packet) {
        self.out.send(port, p);
    }
    fn userspace(&mut self, token: u64, p: &mut Packet) {
        self.out.shared.counters.action_upcalls.add(1);
        let mut verdict = std::mem::take(&mut self.out.scratch);
        if p.offload.needs_csum() {
            let mut c = p.copy();
            edit::complete(&mut c);
            self.out.handler.upcall(self.out.worker, Reason::Action(token), self.key, c.data(), &mut verdict);
        } else {
            self.out.handler.upcall(self.out.worker, Reason::Action(token), self.key, p.data(), &mut verdict);
        }
        self.out.scratch = verdict;
    }
    fn recirc(&mut self, id: u32, p: Packet) {
        if self.depth >= MAX_RECIRC {
            self.out.shared.counters.drop(DropReason::RecircLimit);
        } else {
            self.out.recirc.push_back((p, self.key.in_port(), id, self.depth + 1));
        }
    }
    fn meter(&mut self, id: u32, bytes: usize) -> meter::Verdict {
        match self.out.meters.get(&id) {
            Some(m) => m.pass(bytes, self.out.now_ns),
            None => meter::Verdict::Pass,
        }
    }
    fn drop(&mut self, why: DropReason) {
        self.out.shared.counters.drop(why);
    }
}

/// Cycles of one round that went into something else than forwarding.
#[derive(Debug, Default)]
struct Asides {
    upcalls: u64,
    commands: u64,
    removals: u64,
    /// The batch in hand has made no upcall yet: it may make one whatever others have used, so that a storm on one port does not keep another's first packet.
    first: bool,
}

/// A worker's own things.
pub(crate) struct Worker {
    id: WorkerId,
    shared: Arc<Shared>,
    out: Out,
    /// It has slept since it last handled commands.
    slept: bool,
    flows: FlowTable,
    /// Still in `flows`.
    condemned: Condemned,
    /// When more of them may be taken out.
    next_purge: u64,
    rx: Vec<RxSlot>,
    epoll: Option<Epoll>,
    next_key: u64,
    batch: Option<Box<Batch>>,
    round_tsc: u64,
    clock: Clock,
    sleep_max_us: u32,
    sleep_us: u32,
    flushes: u32,
    keys: Option<Keys>,
    programs: Vec<Arc<Program>>,
    rooms: Vec<Room>,
    /// A queue gave all that fits into a batch: there may be more.
    backlog: bool,
    waiting: usize,
    /// When the first of those that wait came.
    waiting_since: u64,
    /// Of the round under way.
    asides: Asides,
    cycles_per_us: u64,
    now_ms: u64,
    budget_percent: u64,
    credit: i64,
    max_credit: i64,
    last_refill: u64,
    /// Packets that hit and missed, decaying.
    recent: (u64, u64),
    done: u64,
    stop: bool,
}

/// How a worker is set up.
pub(crate) struct Setup {
    pub id: WorkerId,
    pub shared: Arc<Shared>,
    pub handler: Arc<dyn UpcallHandler>,
    pub flow_limit: usize,
    pub emc: EmcSize,
    pub budget_percent: u32,
    pub tsc_hz: u64,
    pub started: Instant,
    pub manual_clock: Option<Arc<AtomicU64>>,
    pub secret: [u64; 4],
    pub polls: bool,
}

impl Worker {
    pub fn new(s: Setup) -> std::io::Result<Self> {
        let epoll = if s.polls {
            None
        } else {
            let e = Epoll::new()?;
            e.add(s.shared.wake.as_raw_fd(), WAKE_TAG)?;
            Some(e)
        };
        let flows = FlowTable::new(s.flow_limit, s.emc, s.secret);
        let _ = s.shared.stats.set(flows.stats_table().clone());
        Ok(Self {
            id: s.id,
            out: Out {
                tx: Vec::new(),
                dirty: Vec::new(),
                shaped: Vec::new(),
                backlog: false,
                recirc: VecDeque::new(),
                meters: HashMap::new(),
                shared: s.shared.clone(),
                handler: s.handler,
                worker: s.id,
                now_ns: 0,
                scratch: Verdict::default(),
            },
            shared: s.shared,
            slept: false,
            flows,
            condemned: Condemned::default(),
            next_purge: 0,
            rx: Vec::new(),
            epoll,
            next_key: 0,
            batch: None,
            round_tsc: tsc(),
            clock: Clock::new(s.started, s.tsc_hz, s.manual_clock),
            sleep_max_us: 0,
            sleep_us: 0,
            flushes: 0,
            keys: None,
            programs: Vec::new(),
            rooms: Vec::new(),
            backlog: false,
            waiting: 0,
            waiting_since: 0,
            asides: Asides::default(),
            cycles_per_us: s.tsc_hz / 1_000_000,
            now_ms: 0,
            budget_percent: u64::from(s.budget_percent),
            credit: 0,
            max_credit: (s.tsc_hz / 500) as i64,
            last_refill: tsc(),
            recent: (0, 0),
            done: 0,
            stop: false,
        })
    }

    /// Takes memory for megaflows before the first packet comes, and later by `helper`: [`FlowTable::prepare`].
    pub fn prepare(&mut self, helper: Helper) {
        self.flows.prepare(helper);
    }

    /// Runs until stopped.
    pub fn run(&mut self) {
        if self.epoll.is_some() {
            self.run_epoll();
        } else {
            self.run_polling();
        }
    }

    fn run_polling(&mut self) {
        let mut t = tsc();
        while !self.stop {
            self.asides = Asides::default();
            if self.commands() {
                t = tsc();
            }
            self.tick(t);
            self.refill(t);
            self.shrink();
            let mut n = self.serve_rooms();
            self.purge(t);
            if self.rx.is_empty() && n == 0 && self.condemned.is_empty() {
                if self.waiting == 0 && !self.stop {
                    self.sleep(None);
                }
                t = tsc();
                continue;
            }
            let mut most = 0;
            for i in 0..self.rx.len() {
                let got = self.poll(i);
                most = most.max(got);
                n += got;
            }
            self.backlog = most == BATCH_SIZE;
            if n > 0 || !self.out.dirty.is_empty() {
                self.flush();
            } else {
                std::hint::spin_loop();
            }
            // One look at the clock a round: it costs as much as a packet.
            t = self.account(t, n);
            if self.sleep_max_us > 0 {
                if most >= BATCH_SIZE / 2 || self.waiting > 0 || !self.condemned.is_empty() {
                    self.sleep_us = 0;
                } else {
                    self.sleep_us = (self.sleep_us + 1).min(self.sleep_max_us);
                    self.sleep(Some(Duration::from_micros(u64::from(self.sleep_us))));
                    let (before, c) = (t, &self.shared.counters);
                    t = tsc();
                    c.sleep_iterations.add(1);
                    c.sleep_cycles.add(t.wrapping_sub(before));
                }
            }
        }
    }

    /// Sends what was gathered; timed like a stage, once in so many.
    #[inline]
    fn flush(&mut self) {
        self.flushes = self.flushes.wrapping_add(1);
        if self.flushes.is_multiple_of(SAMPLE) {
            let t = tsc();
            self.out.flush();
            self.shared.counters.stage_cycles[4].add(tsc().wrapping_sub(t) * u64::from(SAMPLE));
        } else {
            self.out.flush();
        }
    }

    /// Sleeps until a command comes, or so long.
    fn sleep(&mut self, at_most: Option<Duration>) {
        self.slept = true;
        let c = &self.shared;
        c.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if c.sent.load(Ordering::SeqCst) == self.done && sys::sleep_until_readable(&c.wake, at_most) {
            sys::eventfd_drain(&c.wake);
            c.kicked.store(false, Ordering::SeqCst);
        }
        c.asleep.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    fn run_epoll(&mut self) {
        while !self.stop {
            self.commands();
            let c = self.shared.clone();
            let mut timeout = 0;
            let settled = self.flows.len() <= self.flows.limit && self.condemned.is_empty();
            if !self.stop && self.waiting == 0 && settled && !self.rx.iter().any(|r| r.ready) {
                c.asleep.store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if c.sent.load(Ordering::SeqCst) != self.done {
                    c.asleep.store(false, Ordering::SeqCst);
                    continue;
                }
                // Schedulers look again after a millisecond while something waits.
                timeout = if self.out.shaped.is_empty() { -1 } else { self.out.shaped_timeout() };
            }
            if let Some(e) = self.epoll.take() {
                e.wait(timeout, |key| {
                    if key == WAKE_TAG {
                        sys::eventfd_drain(&c.wake);
                        c.kicked.store(false, Ordering::SeqCst);
                    } else if let Some(r) = self.rx.iter_mut().find(|r| r.key == key) {
                        r.ready = true;
                    }
                });
                self.epoll = Some(e);
            }
            c.asleep.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.slept = true;
            self.asides = Asides::default();
            self.commands();
            let t = tsc();
            self.tick(t);
            self.refill(t);
            self.shrink();
            let mut n = self.serve_rooms();
            self.purge(t);
            let mut backlog = false;
            for i in 0..self.rx.len() {
                if self.rx[i].ready {
                    let got = self.poll(i);
                    // A full batch: there may be more. Otherwise epoll tells.
                    self.rx[i].ready = got == BATCH_SIZE;
                    backlog |= got == BATCH_SIZE;
                    n += got;
                }
            }
            self.backlog = backlog;
            self.flush();
            self.account(t, n);
        }
    }

    /// Counts a round; the time now.
    fn account(&self, since: u64, packets: usize) -> u64 {
        let c = &self.shared.counters;
        let now = tsc();
        let spent = now.wrapping_sub(since);
        if packets > 0 {
            c.busy_cycles.add(spent);
            c.busy_iterations.add(1);
        } else {
            c.idle_cycles.add(spent);
            c.idle_iterations.add(1);
        }
        let whole = spent + self.asides.commands;
        if whole > LONG_US[0] * self.cycles_per_us {
            self.was_long(whole);
        }
        now
    }

    /// Counts a round that took long, by what took most of it.
    #[cold]
    #[inline(never)]
    fn was_long(&self, cycles: u64) {
        let Asides { upcalls, commands, removals, .. } = self.asides;
        let causes =
            [(upcalls, LongCause::Upcalls), (commands, LongCause::Commands), (removals, LongCause::Removals)];
        let most =
            causes.into_iter().filter(|(spent, _)| *spent > cycles / 2).max_by_key(|(spent, _)| *spent);
        let cause = most.map_or(LongCause::Nothing, |(_, cause)| cause);
        let class = LONG_US.iter().rposition(|us| cycles > us * self.cycles_per_us).unwrap_or(0);
        self.shared.counters.long_rounds[cause as usize][class].add(1);
    }

    fn refill(&mut self, now: u64) {
        let passed = now.wrapping_sub(self.last_refill);
        self.last_refill = now;
        let add = (passed.min(1 << 40) * self.budget_percent / 100) as i64;
        self.credit = (self.credit.saturating_add(add)).min(self.max_credit);
        if self.recent.0 + self.recent.1 > 100_000 {
            self.recent.0 /= 2;
            self.recent.1 /= 2;
        }
    }

    /// The time of this round.
    #[inline]
    fn tick(&mut self, now: u64) {
        self.round_tsc = now;
        let ns = self.clock.ns(now);
        self.out.now_ns = ns;
        self.now_ms = ns / 1_000_000 + 1;
        if !self.out.shaped.is_empty() {
            self.out.tick_shaped();
        }
    }

    /// Handles what control has sent; whether there was anything.
    #[inline]
    fn commands(&mut self) -> bool {
        let any = self.shared.sent.load(Ordering::SeqCst) != self.done;
        if any {
            self.handle_commands();
        }
        any
    }

    #[inline(never)]
    fn handle_commands(&mut self) {
        self.tick(tsc());
        // Who slept has promised to handle all before any packet; else packets need not wait for thousands of removals.
        let mut left = if std::mem::take(&mut self.slept) { usize::MAX } else { COMMANDS };
        while left > 0 && self.shared.sent.load(Ordering::SeqCst) != self.done {
            if let Some(c) = self.shared.commands.pop() {
                left -= 1;
                self.command(c);
                self.done += 1;
                self.shared.counters.commands.add(1);
            }
        }
        self.recirculate();
        self.out.flush();
        self.publish_sizes();
        self.shared.done.store(self.done, Ordering::SeqCst);
        self.asides.commands += tsc().wrapping_sub(self.round_tsc);
    }

    fn publish_sizes(&self) {
        use crate::stats::Counter;
        let c = &self.shared.counters;
        let set = |to: &Counter, n: u64| to.add(n.wrapping_sub(to.get()));
        set(&c.megaflows, self.flows.len() as u64);
        set(&c.subtables, self.flows.subtables() as u64);
        self.publish_emc();
    }

    fn publish_emc(&self) {
        let (c, e) = (&self.shared.counters, self.flows.emc());
        c.emc_entries.set(e.capacity() as u64);
        c.emc_inserts.set(e.inserts());
        c.emc_refused.set(e.refused());
        c.emc_resting_ports.set(self.flows.resting() as u64);
    }

    fn command(&mut self, c: Command) {
        match c {
            Command::AddTxq { port, txq } => {
                let at = port as usize;
                if self.out.tx.len() <= at {
                    self.out.tx.resize_with(at + 1, || None);
                }
                self.out.tx[at] = Some(TxSlot { txq, batch: Box::default(), dirty: false });
            }
            Command::Shape { port, queues } => {
                if let Some(at) = self.out.tx.get_mut(port as usize) {
                    *at = at.take().map(|t| TxSlot { txq: Box::new(ShapedTxq::new(t.txq, queues)), ..t });
                    self.out.shaped.push(port);
                }
            }
            Command::AddRxq { port, index, rxq, load } => {
                self.next_key += 1;
                let key = self.next_key;
                if let (Some(e), Some(fd)) = (&self.epoll, rxq.fd()) {
                    if let Err(err) = e.add(fd, key) {
                        tracing::error!(
                            "receive queue {index} of datapath port {port} cannot be watched: {err}"
                        );
                    }
                }
                // Ready at first: packets may wait already.
                self.rx.push(RxSlot { port, index, rxq, load, ready: true, key, batches: 0 });
            }
            Command::TakeRxq { port, index, reply } => {
                let at = self.rx.iter().position(|r| r.port == port && r.index == index);
                let _ = reply.send(at.map(|at| self.take_rxq(at)));
            }
            Command::DelPort { port, reply } => {
                let mut dead = Vec::new();
                while let Some(at) = self.rx.iter().position(|r| r.port == port) {
                    dead.push(Dead::Rxq(self.take_rxq(at)));
                }
                self.out.flush();
                self.out.shaped.retain(|p| *p != port);
                if let Some(t) = self.out.tx.get_mut(port as usize).and_then(Option::take) {
                    dead.push(Dead::Txq(t.txq));
                }
                if let Some(at) = self.rooms.iter().position(|r| r.port == port) {
                    let room = self.rooms.remove(at);
                    self.waiting -= room.len;
                    for _ in 0..room.len {
                        self.shared.counters.drop(DropReason::NoSuchPort);
                    }
                }
                let _ = reply.send(dead);
            }
            Command::Execute { frame, in_port, actions } => {
                let p = Packet::from_bytes(&frame);
                let mut key = FlowKey::ZERO;
                let l = extract(p.data(), in_port, 0, &mut key);
                self.run_program(&Program::new(actions, POLICY_REASONS as u16 - 1), p, &key, l, 0);
                self.recirculate();
            }
            Command::Update { slot, token, program } => {
                self.flows.update(slot, token, program);
            }
            Command::Remove { slot, token } => {
                if let Some(e) = self.flows.remove(slot, token) {
                    self.ended(e);
                }
            }
            Command::Condemn(sentence) => {
                self.condemned.add(sentence, self.flows.slots());
                self.next_purge = self.round_tsc;
            }
            Command::Meter { id, meter } => {
                match meter {
                    Some(m) => self.out.meters.insert(id.0, m),
                    None => self.out.meters.remove(&id.0),
                };
            }
            Command::Dump { from, max, reply } => {
                let _ = reply.send(self.dump(from, max));
            }
            Command::Shares { reply } => {
                let waiting = |port| self.rooms.iter().find(|r| r.port == port).map_or(0, |r| r.len as u32);
                let all = self.flows.by_port().into_iter();
                let _ =
                    reply.send(all.map(|(port, flows, masks)| (port, flows, masks, waiting(port))).collect());
            }
            Command::FlowLimit(n) => self.flows.limit = n.max(1),
            Command::SleepMax(us) => (self.sleep_max_us, self.sleep_us) = (us, 0),
            Command::Flush => {
                for at in 0..self.flows.slots() {
                    if let Some(e) = self.flows.end(at, true) {
                        self.ended(e);
                    }
                }
            }
            Command::Emc(size) => self.flows.set_emc(size),
            Command::Nothing => {}
            Command::Stop => self.stop = true,
        }
    }

    fn take_rxq(&mut self, at: usize) -> Box<dyn Rxq> {
        let r = self.rx.remove(at);
        if let (Some(e), Some(fd)) = (&self.epoll, r.rxq.fd()) {
            e.del(fd);
        }
        r.rxq
    }

    fn dump(&self, from: u32, max: u32) -> (Vec<MegaflowDump>, Option<u32>) {
        let mut v = Vec::new();
        let mut at = from;
        // Bounded by slots looked at, so that a dump never stalls packets for long.
        let end = self.flows.slots().min(from.saturating_add(max));
        while at < end {
            let f = self.flows.slot(at);
            if let Some(f) = f.filter(|f| !self.condemned.has(at, f.class(), f.token())) {
                let s = self.flows.stats(at).counts();
                v.push(MegaflowDump {
                    worker: self.id,
                    slot: at,
                    token: f.token(),
                    key: self.flows.key_of(at),
                    mask: self.flows.mask_of(at),
                    actions: f.program().actions.clone(),
                    packets: s.packets,
                    bytes: s.bytes,
                    used_ms: s.used_ms,
                    tcp_flags: s.tcp_flags,
                });
            }
            at += 1;
        }
        (v, (at < self.flows.slots()).then_some(at))
    }

    /// One batch of one queue.
    fn poll(&mut self, i: usize) -> usize {
        let mut batch = self.batch.take().unwrap_or_default();
        let slot = &mut self.rx[i];
        let port = slot.port;
        // Stages and queues are timed on one batch in so many, and counted so many times.
        // Not the first, which meets all that is cold.
        let timed = slot.batches % SAMPLE == SAMPLE - 1;
        let t = if timed { tsc() } else { 0 };
        let n = slot.rxq.recv(&mut batch);
        if n == 0 {
            self.batch = Some(batch);
            return 0;
        }
        slot.batches = slot.batches.wrapping_add(1);
        self.asides.first = true;
        let c = &self.shared.counters;
        c.batch_sizes[n.min(BATCH_SIZE)].add(1);
        c.rx_packets.add(n as u64);
        c.rx_batches.add(1);
        let bytes = batch.take_bytes();
        c.rx_bytes.add(bytes);
        if timed {
            c.stage_cycles[0].add(tsc().wrapping_sub(t) * u64::from(SAMPLE));
        }
        if !self.condemned.is_empty() || !self.pass_blindly(&mut batch, bytes, port) {
            self.process(&mut batch, bytes, port, 0, 0, timed);
        }
        self.batch = Some(batch);
        self.recirculate();
        if timed {
            let load = &self.rx[i].load;
            let spent = tsc().wrapping_sub(t) * u64::from(SAMPLE);
            load.store(load.load(Ordering::Relaxed) + spent, Ordering::Relaxed);
        }
        n
    }

    /// Sends a batch as it is, if that is all that is done with the packets of this port whatever they hold; else false. (Their TCP flags are
    /// not noted: they would have to be found.)
    #[inline]
    fn pass_blindly(&mut self, batch: &mut Box<Batch>, bytes: u64, in_port: u32) -> bool {
        let Some((id, f)) = self.flows.blind(in_port) else { return false };
        let (n, port) = (batch.len() as u64, f.quick());
        if port == NOT_QUICK {
            return false;
        }
        self.flows.stats(id).credit(n, bytes, self.now_ms, 0);
        self.shared.counters.emc_hits.add(n);
        self.recent.0 += n;
        self.out.send_all(port, batch);
        true
    }

    /// Extract, look up, act: on a batch of `bytes` that came in by one port with one recirculation id.
    #[inline]
    fn process(
        &mut self,
        batch: &mut Box<Batch>,
        bytes: u64,
        in_port: u32,
        recirc_id: u32,
        depth: u32,
        timed: bool,
    ) {
        let n = batch.len();
        let t0 = if timed { tsc() } else { 0 };
        let mut layouts = Layouts::default();
        let mut keys = self.keys.take().unwrap_or_default();
        let seen = extract_batch(batch.as_slice(), in_port, recirc_id, &mut keys, &mut layouts);
        let t1 = if timed { tsc() } else { 0 };
        let mut ids = [NONE; BATCH_SIZE];
        let mut counts = self.flows.lookup_seen(in_port, &keys[..n], &seen, &mut ids);
        let t2 = if timed { tsc() } else { 0 };
        let mut hits = u64::from(counts.emc_hits + counts.walk_hits);
        if !self.condemned.is_empty() {
            hits -= self.strike(&mut ids[..n]);
            counts.one &= hits == n as u64;
        }
        {
            let c = &self.shared.counters;
            c.emc_hits.add(u64::from(counts.emc_hits));
            if counts.emc_hits as usize != n || hits != n as u64 {
                c.megaflow_hits.add(u64::from(counts.walk_hits));
                c.subtables_probed.add(u64::from(counts.probed));
                c.misses.add(n as u64 - hits);
                if counts.walk_hits > 0 {
                    self.publish_emc();
                }
            }
            if timed {
                c.stage_cycles[1].add(t1.wrapping_sub(t0) * u64::from(SAMPLE));
                c.stage_cycles[2].add(t2.wrapping_sub(t1) * u64::from(SAMPLE));
            }
        }
        self.recent.0 += hits;
        self.recent.1 += n as u64 - hits;
        if counts.one && self.act_as_one(batch, bytes, &seen, ids[0]) {
            // Done.
        } else if hits == n as u64 && counts.forms == form::OUTPUT {
            self.act_outputs(batch, &keys, &seen, &ids);
        } else if hits == n as u64 && counts.forms == form::REWRITE {
            self.act_rewrites(batch, &keys, &layouts, &seen, &ids, depth);
        } else if hits == n as u64 {
            self.act(batch, &keys, &layouts, &ids, depth);
        } else {
            self.act_with_misses(batch, &keys, &layouts, &ids, depth);
        }
        self.keys = Some(keys);
        if timed {
            self.shared.counters.stage_cycles[3].add(tsc().wrapping_sub(t2) * u64::from(SAMPLE));
        }
    }

    /// All packets hit one megaflow; false, and nothing done, if it does more than to send them.
    #[inline]
    fn act_as_one(&mut self, batch: &mut Box<Batch>, bytes: u64, seen: &Seen, id: u32) -> bool {
        let port = self.flows.hot()[id as usize & (MAX_SLOTS - 1)].quick();
        if port == NOT_QUICK {
            return false;
        }
        self.flows.stats(id).credit(batch.len() as u64, bytes, self.now_ms, seen.tcp_flags());
        self.out.send_all(port, batch);
        true
    }

    /// All packets hit megaflows that only send them.
    #[inline]
    fn act_outputs(&mut self, batch: &mut Box<Batch>, keys: &Keys, seen: &Seen, ids: &[u32; BATCH_SIZE]) {
        let (hot, stats) = (self.flows.hot(), self.flows.all_stats());
        let has_flags = seen.tcp_flags() != 0;
        let mut ports = [0u16; BATCH_SIZE];
        let (first, mut differ) = (hot[ids[0] as usize & (MAX_SLOTS - 1)].quick() as u16, 0);
        for (i, p) in batch.as_slice().iter().enumerate().take(BATCH_SIZE) {
            let at = ids[i] as usize & (MAX_SLOTS - 1);
            let port = hot[at].quick() as u16;
            ports[i] = port;
            differ |= port ^ first;
            let flags = if has_flags { keys[i].u16(off::TCP_FLAGS) } else { 0 };
            stats[at].credit(1, p.len() as u64, self.now_ms, flags);
        }
        if differ == 0 {
            self.out.send_all(u32::from(first), batch);
        } else {
            for (p, port) in batch.drain().zip(ports) {
                self.out.send(u32::from(port), p);
            }
        }
    }

    /// All packets hit megaflows that rewrite and send them.
    #[inline]
    fn act_rewrites(
        &mut self,
        batch: &mut Box<Batch>,
        keys: &Keys,
        layouts: &Layouts,
        seen: &Seen,
        ids: &[u32; BATCH_SIZE],
        depth: u32,
    ) {
        let (rewrites, stats) = (self.flows.rewrites(), self.flows.all_stats());
        let has_flags = seen.tcp_flags() != 0;
        let mut odd = !layouts.common();
        let (first, mut differ) = (rewrites[ids[0] as usize & (MAX_SLOTS - 1)].port, 0);
        let packets = batch.as_mut_slice().iter_mut();
        for (i, ((p, key), id)) in packets.zip(keys.iter()).zip(ids).enumerate() {
            let at = *id as usize & (MAX_SLOTS - 1);
            let r = &rewrites[at];
            differ |= r.port ^ first;
            let (len, n_vlan) = (p.len() as u64, key.byte(off::VLAN0_TCI) >> 4 & 1);
            let (l3, tos, ttl) = (14 + 4 * usize::from(n_vlan), key.byte(off::IP_TOS), key.byte(off::IP_TTL));
            if odd & (1 << i) != 0 || !r.apply_at(p, n_vlan, l3, tos, ttl) {
                odd |= 1 << i;
                continue;
            }
            let flags = if has_flags { key.u16(off::TCP_FLAGS) } else { 0 };
            stats[at].credit(1, len, self.now_ms, flags);
        }
        odd &= u32::MAX >> ((BATCH_SIZE - batch.len()) & 31);
        if differ | odd == 0 {
            self.out.send_all(first, batch);
            return;
        }
        for (i, p) in batch.drain().enumerate() {
            if odd & (1 << i) == 0 {
                let port = self.flows.rewrites()[ids[i % BATCH_SIZE] as usize & (MAX_SLOTS - 1)].port;
                self.out.send(port, p);
            } else {
                self.hit(ids[i % BATCH_SIZE], p, &keys[i], layouts.of(i, keys), depth);
            }
        }
    }

    /// All packets hit: credits runs of one megaflow at once, does what it says to the packets where they are, and sends whole batches where possible.
    #[inline]
    fn act(
        &mut self,
        batch: &mut Box<Batch>,
        keys: &Keys,
        layouts: &Layouts,
        ids: &[u32; BATCH_SIZE],
        depth: u32,
    ) {
        let n = batch.len();
        let mut fates = [Fate::Ended; BATCH_SIZE];
        let mut exceptions = 0u32;
        for id in &ids[..n] {
            if let Some(f) = self.flows.slot(*id) {
                f.prefetch_program();
            }
        }
        let mut i = 0;
        while i < n {
            let id = ids[i];
            let Some(f) = self.flows.slot(id) else {
                debug_assert!(false, "a hit without a megaflow");
                batch.clear();
                return;
            };
            let (mut packets, mut bytes, mut flags) = (0u64, 0u64, 0u16);
            let quick = self.flows.hot()[id as usize & (MAX_SLOTS - 1)].quick();
            if quick != NOT_QUICK {
                while i < n && ids[i] == id {
                    packets += 1;
                    bytes += batch.as_slice()[i].len() as u64;
                    flags |= keys[i].u16(off::TCP_FLAGS);
                    fates[i] = Fate::Send(quick);
                    i += 1;
                }
                self.flows.stats(id).credit(packets, bytes, self.now_ms, flags);
                continue;
            }
            let program = f.program();
            let from = i;
            while i < n && ids[i] == id {
                let p = &batch.as_slice()[i];
                // Exceptions are translated, and credited, by the handler.
                if program.is_exception_by_key(p, &keys[i], &layouts.of(i, keys)) {
                    exceptions |= 1 << i;
                } else {
                    packets += 1;
                    bytes += p.len() as u64;
                    flags |= keys[i].u16(off::TCP_FLAGS);
                }
                i += 1;
            }
            if packets > 0 {
                self.flows.stats(id).credit(packets, bytes, self.now_ms, flags);
            }
            for k in (from..i).filter(|k| exceptions & (1 << k) == 0) {
                let p = &mut batch.as_mut_slice()[k];
                let mut l = layouts.of(k, keys);
                fates[k] = match (&program.rewrite, &program.shape) {
                    (Some(r), _) if r.apply(p, &l) => Fate::Send(r.port),
                    (_, Shape::Output(port)) => Fate::Send(*port),
                    (_, Shape::Drop) => Fate::Nowhere,
                    (_, Shape::Ops(ops)) => {
                        run(ops, p, &mut l, &mut Running { out: &mut self.out, key: &keys[k], depth })
                    }
                };
                if fates[k] == Fate::Nowhere {
                    drop_policy(&self.shared.counters, program.drop_reason);
                }
            }
        }
        if let Fate::Send(port) = fates[0] {
            if fates[..n].iter().all(|f| *f == fates[0]) {
                self.out.send_all(port, batch);
                return;
            }
        }
        for (i, p) in batch.drain().enumerate() {
            match fates[i] {
                Fate::Send(port) => self.out.send(port, p),
                Fate::Recirc(id) => Running { out: &mut self.out, key: &keys[i], depth }.recirc(id, p),
                Fate::Ended if exceptions & (1 << i) != 0 => {
                    self.exception(p, &keys[i], layouts.of(i, keys), depth)
                }
                Fate::Ended | Fate::Nowhere => {}
            }
        }
    }

    #[inline(never)]
    fn act_with_misses(
        &mut self,
        batch: &mut Batch,
        keys: &Keys,
        layouts: &Layouts,
        ids: &[u32; BATCH_SIZE],
        depth: u32,
    ) {
        let generation = self.flows.generation;
        for (i, p) in batch.drain().enumerate() {
            let (key, l) = (&keys[i], layouts.of(i, keys));
            if l.no_type && p.len() < 14 {
                self.shared.counters.drop(DropReason::TooShort);
                continue;
            }
            let mut id = ids[i];
            if id != NONE && self.flows.generation != generation && !self.flows.verify(id, key) {
                id = NONE;
            }
            if id == NONE {
                self.miss(p, key, l, depth);
                continue;
            }
            self.hit(id, p, key, l, depth);
        }
        self.publish_sizes();
    }

    #[inline]
    fn hit(&mut self, id: u32, p: Packet, key: &FlowKey, l: Layout, depth: u32) {
        let Some(f) = self.flows.slot(id) else { return };
        if !f.program().is_exception(&p, &l) {
            self.flows.stats(id).credit(1, p.len() as u64, self.now_ms, key.u16(off::TCP_FLAGS));
        }
        self.follow(id, p, key, l, depth);
    }

    /// Runs a megaflow's program.
    #[inline]
    fn follow(&mut self, id: u32, p: Packet, key: &FlowKey, l: Layout, depth: u32) {
        let Some(f) = self.flows.slot(id) else { return };
        let program = f.program();
        match &program.shape {
            Shape::Output(port) => self.out.send(*port, p),
            Shape::Drop => drop_policy(&self.shared.counters, program.drop_reason),
            Shape::Ops(ops) => {
                if program.is_exception(&p, &l) {
                    self.exception(p, key, l, depth);
                    return;
                }
                if !execute(ops, p, l, &mut Running { out: &mut self.out, key, depth }) {
                    drop_policy(&self.shared.counters, program.drop_reason);
                }
            }
        }
    }

    fn run_program(&mut self, program: &Program, p: Packet, key: &FlowKey, l: Layout, depth: u32) {
        match &program.shape {
            Shape::Output(port) => self.out.send(*port, p),
            Shape::Drop => drop_policy(&self.shared.counters, program.drop_reason),
            Shape::Ops(ops) => {
                if !execute(ops, p, l, &mut Running { out: &mut self.out, key, depth }) {
                    drop_policy(&self.shared.counters, program.drop_reason);
                }
            }
        }
    }

    /// Puts a few megaflows out after the limit was lowered.
    #[inline]
    fn shrink(&mut self) {
        if self.flows.len() > self.flows.limit {
            for _ in 0..BATCH_SIZE {
                let Some(e) = self.flows.shrink(self.now_ms) else { break };
                self.ended(e);
            }
            self.publish_sizes();
        }
    }

    /// Packets that hit wait while upcalls are made: queues hold more than was taken in the last turn, and not all of it misses.
    fn is_contended(&self) -> bool {
        self.backlog && self.some_hit()
    }

    /// Not all packets of late missed.
    fn some_hit(&self) -> bool {
        self.recent.0 * 64 >= self.recent.1
    }

    /// Upcalls are free while nothing competes with them, for a while in each round.
    fn may_upcall(&self) -> bool {
        let used_up =
            self.asides.upcalls > ROUND_US * self.cycles_per_us && !self.asides.first && self.some_hit();
        !used_up && (self.credit > 0 || !self.is_contended())
    }

    /// Whether it is worth a moment to let more misses gather.
    fn gathers(&self) -> bool {
        self.is_contended()
            && self.waiting < BUNCH
            && (self.waiting == 0
                || self.round_tsc.wrapping_sub(self.waiting_since) < GATHER_US * self.cycles_per_us)
    }

    #[inline(never)]
    fn miss(&mut self, p: Packet, key: &FlowKey, l: Layout, depth: u32) {
        let may = self.may_upcall();
        let queued =
            self.waiting > 0 && self.rooms.iter().any(|r| r.port == key.in_port() && !r.queue.is_empty());
        if queued || !may || self.gathers() {
            self.wait(p, key, l, depth);
            return;
        }
        self.resolve(p, key, l, depth);
    }

    fn wait(&mut self, packet: Packet, key: &FlowKey, layout: Layout, depth: u32) {
        let port = key.in_port();
        let at = self.rooms.iter().position(|r| r.port == port).unwrap_or_else(|| {
            self.rooms.push(Room { port, queue: VecDeque::new(), len: 0 });
            self.rooms.len() - 1
        });
        let room = &mut self.rooms[at];
        if room.queue.len() >= ROOM {
            self.shared.counters.drop(DropReason::UpcallBudget);
            return;
        }
        if self.waiting == 0 {
            self.waiting_since = self.round_tsc;
        }
        room.queue.push_back(Waiting { key: *key, packet: Some(packet), layout, depth });
        room.len += 1;
        self.waiting += 1;
        self.shared.counters.upcalls_waited.add(1);
    }

    /// One packet of each waiting room in turn, while upcalls may be made.
    fn serve_rooms(&mut self) -> usize {
        if self.waiting == 0 || self.gathers() {
            return 0;
        }
        let mut served = 0;
        let mut at = 0;
        while self.waiting > 0 && served < BATCH_SIZE && self.may_upcall() {
            at %= self.rooms.len().max(1);
            let next = self.rooms.get_mut(at).and_then(|r| {
                while let Some(w) = r.queue.pop_front() {
                    if let Some(p) = w.packet {
                        r.len -= 1;
                        return Some((p, w.key, w.layout, w.depth));
                    }
                }
                None
            });
            if let Some((p, key, layout, depth)) = next {
                self.waiting -= 1;
                served += 1;
                let id = self.resolve(p, &key, layout, depth);
                if id != NONE && self.rooms[at].len > 0 {
                    let t = tsc();
                    served += self.leave_room(at, id);
                    let spent = tsc().wrapping_sub(t);
                    self.asides.upcalls += spent;
                    self.credit -= spent as i64;
                }
            }
            at += 1;
        }
        // The next round begins with another port.
        if !self.rooms.is_empty() {
            self.rooms.rotate_left(1);
        }
        self.publish_sizes();
        self.recirculate();
        served
    }

    /// Lets the packets go on that a new megaflow matches, so that later ones do not overtake them.
    fn leave_room(&mut self, at: usize, id: u32) -> usize {
        let mut left = 0;
        for i in 0..self.rooms[at].queue.len() {
            let w = &mut self.rooms[at].queue[i];
            if w.packet.is_none() || !self.flows.verify(id, &w.key) {
                continue;
            }
            let Some(p) = w.packet.take() else { continue };
            let (key, layout, depth) = (w.key, w.layout, w.depth);
            self.rooms[at].len -= 1;
            self.waiting -= 1;
            left += 1;
            self.hit(id, p, &key, layout, depth);
        }
        left
    }

    /// A packet that missed: perhaps its megaflow has come meanwhile, else ask the handler. The megaflow that was made, if one was.
    fn resolve(&mut self, mut p: Packet, key: &FlowKey, l: Layout, depth: u32) -> u32 {
        let mut id = [self.flows.lookup_one(key)];
        while id[0] != NONE && !self.condemned.is_empty() && self.strike(&mut id) > 0 {
            id = [self.flows.lookup_one(key)];
        }
        if id[0] != NONE {
            self.hit(id[0], p, key, l, depth);
            return NONE;
        }
        let mut made = NONE;
        self.asides.first = false;
        let t = tsc();
        let mut v = self.upcall(Reason::Miss, &mut p, key);
        let program = self.program(&mut v);
        if v.install {
            let ins = self.flows.insert(key, &v.mask, program.clone(), v.token, self.now_ms);
            made = ins.id;
            if let Some(e) = ins.ended {
                self.ended(e);
            }
            if ins.id == NONE {
                self.shared.counters.install_refused.add(1);
                self.out.handler.refused(self.id, v.token, p.len() as u64);
            } else {
                if !program.is_exception(&p, &l) {
                    let flags = key.u16(off::TCP_FLAGS);
                    self.flows.stats(ins.id).credit(1, p.len() as u64, self.now_ms, flags);
                }
                self.flows.set_class(ins.id, v.class);
                self.out.handler.installed(self.id, v.token, ins.id, key);
            }
        }
        self.out.scratch = v;
        let spent = tsc().wrapping_sub(t);
        self.shared.counters.upcall_cycles.add(spent);
        self.asides.upcalls += spent;
        self.credit = self.credit.saturating_sub(spent as i64).max(-self.max_credit);
        if program.is_exception(&p, &l) {
            self.exception(p, key, l, depth);
        } else {
            self.run_program(&program, p, key, l, depth);
        }
        made
    }

    /// Ends condemned megaflows that packets hit; how many of these hits are none.
    #[cold]
    #[inline(never)]
    fn strike(&mut self, ids: &mut [u32]) -> u64 {
        let begun = tsc();
        let mut struck = 0;
        for id in ids.iter_mut().filter(|id| **id != NONE) {
            if let Some(f) = self.flows.slot(*id) {
                if !self.condemned.has(*id, f.class(), f.token()) {
                    continue;
                }
                if let Some(e) = self.flows.end(*id, false) {
                    self.ended(e);
                }
            }
            // Also what an earlier packet of the batch has ended.
            *id = NONE;
            struck += 1;
        }
        self.asides.removals += tsc().wrapping_sub(begun);
        struck
    }

    /// Ends some condemned megaflows, in a quarter of the time.
    #[inline]
    fn purge(&mut self, now: u64) {
        if !self.condemned.is_empty() && now.wrapping_sub(self.next_purge) as i64 >= 0 {
            self.purge_some(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn purge_some(&mut self, now: u64) {
        let begun = tsc();
        let flows = &self.flows;
        let found = self.condemned.next(flows.slots(), |id| flows.slot(id).map(|f| (f.class(), f.token())));
        for (slot, token) in found.iter() {
            if let Some(e) = self.flows.remove(slot, token) {
                self.ended(e);
            }
        }
        if let Some(sentences) = self.condemned.carried_out() {
            self.out.handler.carried_out(self.id, sentences);
        }
        self.publish_sizes();
        let end = tsc();
        self.asides.removals += end.wrapping_sub(begun);
        self.next_purge = now.wrapping_add(4 * end.wrapping_sub(now));
    }

    fn ended(&mut self, e: Ended) {
        if !self.condemned.is_empty() {
            self.condemned.ended(e.slot);
        }
        self.shared.counters.evictions.add(u64::from(e.evicted));
        self.out.handler.ended(self.id, e);
    }

    /// The verdict's actions compiled; megaflows made one after the other mostly do the same and share it.
    fn program(&mut self, v: &mut Verdict) -> Arc<Program> {
        let known =
            self.programs.iter().position(|p| p.drop_reason == v.drop_reason && p.actions == v.actions);
        if let Some(at) = known {
            let p = self.programs[at].clone();
            self.programs.swap(at, at / 2);
            return p;
        }
        let p = Arc::new(Program::new(std::mem::take(&mut v.actions), v.drop_reason));
        if self.programs.len() >= RECENT_PROGRAMS {
            self.programs.pop();
        }
        self.programs.push(p.clone());
        p
    }

    fn upcall(&mut self, reason: Reason, p: &mut Packet, key: &FlowKey) -> Verdict {
        self.shared.counters.upcalls.add(1);
        let mut v = std::mem::take(&mut self.out.scratch);
        v.mask = FlowKey::ZERO;
        v.actions.clear();
        v.install = false;
        v.drop_reason = 0;
        v.crowded = self.flows.is_crowded(key.in_port());
        self.out.handler.upcall(self.id, reason, key, p.data(), &mut v);
        v
    }

    /// The packet cannot follow its megaflow's program (TTL): translated by itself.
    #[inline(never)]
    fn exception(&mut self, mut p: Packet, key: &FlowKey, l: Layout, depth: u32) {
        self.shared.counters.exceptions.add(1);
        let begun = tsc();
        let mut v = self.upcall(Reason::Exception, &mut p, key);
        self.asides.upcalls += tsc().wrapping_sub(begun);
        let program = Program::new(std::mem::take(&mut v.actions), v.drop_reason);
        self.out.scratch = v;
        self.run_program(&program, p, key, l, depth);
    }

    /// Looks packets up again whose programs asked for it.
    fn recirculate(&mut self) {
        while let Some(&(_, in_port, id, depth)) = self.out.recirc.front() {
            let mut batch = Box::<Batch>::default();
            while !batch.is_full() {
                match self.out.recirc.front() {
                    Some((_, p, i, d)) if (*p, *i, *d) == (in_port, id, depth) => {}
                    _ => break,
                }
                if let Some((p, ..)) = self.out.recirc.pop_front() {
                    batch.push(p);
                }
            }
            self.shared.counters.recirculated.add(batch.len() as u64);
            let bytes = batch.take_bytes();
            self.process(&mut batch, bytes, in_port, id, depth, false);
        }
    }
}

/// Nanoseconds of the datapath's clock from the time-stamp counter.
struct Clock {
    started: Instant,
    tsc0: u64,
    ns0: u64,
    /// Nanoseconds per cycle, 32.32.
    scale: u64,
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    fn new(started: Instant, tsc_hz: u64, manual: Option<Arc<AtomicU64>>) -> Self {
        let scale = (1_000_000_000u128 << 32) / u128::from(tsc_hz.max(1));
        Self { started, tsc0: tsc(), ns0: started.elapsed().as_nanos() as u64, scale: scale as u64, manual }
    }
    /// Never goes back; set by the system's clock every tenth of a second or so.
    #[inline]
    fn ns(&mut self, now: u64) -> u64 {
        if let Some(m) = &self.manual {
            return m.load(Ordering::Relaxed);
        }
        let passed = now.saturating_sub(self.tsc0);
        let ns = self.ns0 + ((u128::from(passed) * u128::from(self.scale)) >> 32) as u64;
        if passed > 1 << 28 {
            self.tsc0 = now;
            self.ns0 = ns.max(self.started.elapsed().as_nanos() as u64);
            return self.ns0;
        }
        ns
    }
}

#[inline]
fn drop_policy(c: &WorkerCounters, reason: u16) {
    c.drop(DropReason::Policy);
    c.policy_drops[usize::from(reason).min(POLICY_REASONS - 1)].add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    struct Nobody;
    impl UpcallHandler for Nobody {
        fn upcall(&self, _: WorkerId, _: Reason, _: &FlowKey, _: &[u8], _: &mut Verdict) {}
        fn installed(&self, _: WorkerId, _: u64, _: u32, _: &FlowKey) {}
        fn refused(&self, _: WorkerId, _: u64, _: u64) {}
        fn ended(&self, _: WorkerId, _: Ended) {}
    }

    /// Whenever the command to stop comes: here before the first look at commands, while nobody is asleep who could be woken.
    #[test]
    fn a_worker_told_to_stop_does_not_go_to_sleep() {
        for polls in [false, true] {
            let shared = Arc::new(Shared::new().unwrap());
            let mut worker = Worker::new(Setup {
                id: WorkerId(0),
                shared: shared.clone(),
                handler: Arc::new(Nobody),
                flow_limit: 100,
                emc: EmcSize::Auto,
                budget_percent: 20,
                tsc_hz: 1_000_000_000,
                started: Instant::now(),
                manual_clock: None,
                secret: [1, 2, 3, 4],
                polls,
            })
            .unwrap();
            shared.commands.push(Command::Stop);
            shared.sent.fetch_add(1, Ordering::SeqCst);
            let (ended, end) = channel();
            std::thread::spawn(move || {
                worker.run();
                let _ = ended.send(());
            });
            end.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|e| panic!("polls={polls}: {e}"));
        }
    }
    /// Also when nothing has come yet: no first packet waits for memory. The epoll worker takes none before it has megaflows.
    #[test]
    fn a_pmd_has_memory_before_its_first_packet() {
        use crate::datapath::{Datapath, DatapathConfig};
        let mut config = DatapathConfig::default();
        config.pmd.cores = sys::Cores::of_this_thread().iter().take(1).collect();
        let dp = Datapath::new(config, Arc::new(Nobody)).unwrap();
        let has = |worker| dp.megaflow_stats(WorkerId(worker)).unwrap().part(0..1 << 14).unwrap().is_there();
        assert_eq!((has(0), has(1)), (false, true));
    }
}
