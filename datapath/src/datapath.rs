//! The control side of the datapath: ports, workers, commands to workers, and what can be asked of them.
//!
//! Everything here is called from the control side (one thread or several; a lock inside is never taken by a worker). Workers receive
//! commands through a queue each. [`Datapath::synchronize`] is the barrier: after it, nothing that a worker receives is
//! decided by a state older than the commands sent before it.

use crate::action::{DpAction, DpMeterId, PortId};
use crate::condemned::Sentence;
use crate::emc::EmcSize;
use crate::flow_key::{FlowKey, FlowMask};
use crate::helper::HelperThread;
use crate::meter::{Meter, MeterConfig, MeterStats};
use crate::pmd::{Command, Dead, Setup, Shared, Worker};
use crate::port::monitor::LinkMonitor;
use crate::port::{self, Port, PortConfig, PortError, PortInfo, PortStats, Rxq};
use crate::program::Program;
use crate::queue::{PortQueues, QueueConfig, QueueStats};
use crate::rxq::{self, History, PmdSettings, PmdToPlan, QueueToPlan, WINDOW};
use crate::stats::DropReason;
use crate::sys::Cores;
use crate::upcall::{StatsTable, UpcallHandler, WorkerId};
use crossbeam_queue::SegQueue;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{fence, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Wakes the control thread: port events or the handler's own queues have something. Called on any thread, must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// How a datapath is set up.
#[derive(Clone)]
pub struct DatapathConfig {
    /// PMD threads, and how queues are given to them. Worker 0 is always the epoll worker; PMDs are 1, 2, ...
    pub pmd: PmdSettings,
    /// Called when [`Datapath::next_port_event`] has something.
    pub waker: Waker,
    /// Most megaflows per worker.
    pub flow_limit: usize,
    /// Size of each worker's exact-match cache, 8 bytes an entry.
    pub emc: EmcSize,
    /// Of single workers, by core (`None`: the epoll worker).
    pub emc_of: BTreeMap<Option<usize>, EmcSize>,
    /// Share of a worker's time that upcalls may take while other packets wait, in percent.
    pub upcall_budget_percent: u32,
    /// `avx512`, `avx2` or `scalar`; `None`: the best there is.
    pub isa: Option<String>,
    /// Nanoseconds since the start, moved by hand (tests); `None`: the system's clock.
    pub manual_clock: Option<Arc<AtomicU64>>,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            pmd: PmdSettings::default(),
            waker: Arc::new(|| ()),
            flow_limit: 200_000,
            emc: EmcSize::Auto,
            emc_of: BTreeMap::new(),
            upcall_budget_percent: 20,
            isa: None,
            manual_clock: None,
        }
    }
}

/// A megaflow as a dump shows it.
#[derive(Clone)]
pub struct MegaflowDump {
    /// Where.
    pub worker: WorkerId,
    /// Its slot there.
    pub slot: u32,
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

/// What a port has of a worker's megaflows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct MegaflowShare {
    /// Worker.
    pub worker: u32,
    /// Port.
    pub port: PortId,
    /// Megaflows.
    pub megaflows: u32,
    /// Masks among them.
    pub masks: u32,
    /// Packets that wait for an upcall.
    pub waiting: u32,
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
    /// NUMA node of its core.
    pub numa: u32,
    /// Not active: its core was taken out of the settings; it sleeps.
    pub active: bool,
    /// Serves pinned queues only.
    pub isolated: bool,
    /// Share of the last minute that was spent with packets, percent.
    pub busy_percent: f32,
    /// Batches received, by their number of packets (0 to 32).
    pub batch_sizes: Vec<u64>,
    /// Seconds since the start or the last clear.
    pub seconds: f64,
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
    /// Share of the worker's cycles that the queue took in the last minute, percent.
    pub busy_percent: f32,
    /// Core it is pinned to.
    pub pinned_core: Option<usize>,
    /// NUMA node of its device.
    pub numa: Option<u32>,
}

/// A receive queue that went to another PMD.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RxqMove {
    /// Port.
    pub port_name: String,
    /// Queue number.
    pub rxq: usize,
    /// Core of the PMD that had it.
    pub from: usize,
    /// Core of the PMD that has it.
    pub to: usize,
}

/// What a rebalance by load came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balanced {
    /// No PMD is busy enough.
    NotBusy,
    /// It would not help enough.
    NotBetter,
    /// Queues were moved.
    Moved,
}

/// A worker answers within microseconds, unless it has died.
const PATIENCE: Duration = Duration::from_secs(10);

struct WorkerHandle {
    core: Option<usize>,
    shared: Arc<Shared>,
    /// Taken around push and count, so that the count tells which commands are in.
    sending: Mutex<()>,
    thread: Option<JoinHandle<()>>,
    thread_id: libc::pid_t,
    cleared: HashMap<&'static str, u64>,
    cleared_sizes: Vec<u64>,
    numa: u32,
    /// Gets queues. A PMD whose core was taken out of the settings has none and sleeps until its core comes back.
    active: bool,
    isolated: bool,
    busy: History,
}

impl WorkerHandle {
    fn send(&self, c: Command) {
        {
            let _order = self.sending.lock();
            self.shared.commands.push(c);
            self.shared.sent.fetch_add(1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) && !self.shared.kicked.swap(true, Ordering::SeqCst) {
            crate::sys::eventfd_write(&self.shared.wake);
        }
    }
}

struct Queue {
    index: usize,
    worker: usize,
    load: Arc<AtomicU64>,
    /// Core it is pinned to.
    pin: Option<usize>,
    history: History,
}

struct PortSlot {
    port: Box<dyn Port>,
    name: String,
    queues: Vec<Queue>,
    numa: Option<u32>,
    /// Its scheduler, once it had one.
    shaper: Option<Arc<PortQueues>>,
    /// What it will receive from once it is started, and what of it is pinned to cores.
    held: (Vec<Box<dyn Rxq>>, Vec<(usize, usize)>),
}

impl PortSlot {
    fn queue_full(&self) -> u64 {
        self.shaper.as_ref().map_or(0, |s| s.dropped())
    }
}

struct State {
    settings: PmdSettings,
    /// What the process may run on.
    cores: Cores,
    /// Last look at loads, last automatic balancing.
    sampled: Instant,
    balanced: Instant,
    rebalances: u64,
    workers: Vec<WorkerHandle>,
    /// What takes memory for PMDs ahead of need, once there was one.
    helper: Option<HelperThread>,
    ports: BTreeMap<u32, PortSlot>,
    next_port: u32,
    meters: HashMap<DpMeterId, Arc<Meter>>,
    /// Refused by devices of ports that are gone.
    old_tx_dropped: u64,
    /// Dropped by schedulers of ports that are gone.
    old_queue_full: u64,
    flow_limit: usize,
    emc: EmcSize,
    emc_of: BTreeMap<Option<usize>, EmcSize>,
    measured_since: Instant,
}

impl State {
    /// The calling thread (control), the epoll worker and the helper keep off the cores of PMDs as long as there are others: a PMD that has to share its core with
    /// them pauses for milliseconds at a time.
    fn leave_cores_to_pmds(&self) {
        let taken: Vec<usize> = self.workers.iter().filter(|w| w.active).filter_map(|w| w.core).collect();
        let rest = self.cores.without(&taken);
        rest.keep_to(0);
        if let Some(helper) = &self.helper {
            rest.keep_to(helper.thread_id());
        }
        if let Some(epoll) = self.workers.first() {
            rest.keep_to(epoll.thread_id);
        }
    }
}

/// The datapath: ports and workers. Dropping it stops the workers.
pub struct Datapath {
    state: Mutex<State>,
    config: DatapathConfig,
    handler: Arc<dyn UpcallHandler>,
    events: Arc<SegQueue<String>>,
    monitor: Option<LinkMonitor>,
    started: Instant,
    tsc_hz: u64,
    secret: [u64; 4],
}

fn measure_tsc() -> u64 {
    // The tightest of several readings of both clocks: a preemption in between would spoil it.
    let both = || {
        (0..20)
            .map(|_| {
                let (t, c) = (Instant::now(), crate::sys::tsc());
                (t.elapsed(), t, c)
            })
            .min_by_key(|r| r.0)
            .map_or_else(|| (Instant::now(), crate::sys::tsc()), |(_, t, c)| (t, c))
    };
    let (t0, c0) = both();
    std::thread::sleep(Duration::from_millis(10));
    let (t1, c1) = both();
    let ns = t1.duration_since(t0).as_nanos().max(1);
    (u128::from(c1.wrapping_sub(c0)) * 1_000_000_000 / ns) as u64
}

fn random_secret() -> [u64; 4] {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds these from the operating system.
    std::array::from_fn(|_| std::collections::hash_map::RandomState::new().build_hasher().finish() | 1)
}

impl Datapath {
    /// Starts the epoll worker and the PMD threads.
    ///
    /// # Errors
    /// A core that cannot be pinned to, an unknown ISA, no file descriptors.
    pub fn new(config: DatapathConfig, handler: Arc<dyn UpcallHandler>) -> Result<Self, PortError> {
        crate::isa::choose(config.isa.as_deref()).map_err(|what| PortError::config("datapath", what))?;
        let events = Arc::new(SegQueue::new());
        let (queue, waker) = (events.clone(), config.waker.clone());
        let monitor = LinkMonitor::start(move |e| {
            queue.push(e.port);
            waker();
        });
        let monitor = match monitor {
            Ok(m) => Some(m),
            Err(e) => {
                tracing::warn!("link changes of Linux interfaces are not followed: {e}");
                None
            }
        };
        let dp = Self {
            state: Mutex::new(State {
                settings: config.pmd.clone(),
                cores: Cores::of_this_thread(),
                sampled: Instant::now(),
                balanced: Instant::now(),
                rebalances: 0,
                workers: Vec::new(),
                helper: None,
                ports: BTreeMap::new(),
                next_port: 1,
                meters: HashMap::new(),
                old_tx_dropped: 0,
                old_queue_full: 0,
                flow_limit: config.flow_limit,
                emc: config.emc,
                emc_of: config.emc_of.clone(),
                measured_since: Instant::now(),
            }),
            handler,
            events,
            monitor,
            started: Instant::now(),
            tsc_hz: measure_tsc(),
            secret: random_secret(),
            config,
        };
        {
            let mut st = dp.state.lock();
            dp.start_worker(&mut st, None)?;
            for core in st.settings.cores.clone() {
                dp.start_worker(&mut st, Some(core))?;
            }
            st.leave_cores_to_pmds();
        }
        Ok(dp)
    }

    fn start_worker(&self, st: &mut State, core: Option<usize>) -> Result<(), PortError> {
        let index = st.workers.len();
        let name = core.map_or_else(|| "epoll".to_owned(), |c| format!("pmd-c{c}"));
        let err = |what: &str, e: std::io::Error| PortError::system(&name, what, e);
        let shared = Arc::new(Shared::new().map_err(|e| err("making a worker's event descriptor", e))?);
        let setup = Setup {
            id: WorkerId(index as u32),
            shared: shared.clone(),
            handler: self.handler.clone(),
            flow_limit: st.flow_limit,
            emc: st.emc_of.get(&core).copied().unwrap_or(st.emc),
            budget_percent: self.config.upcall_budget_percent,
            tsc_hz: self.tsc_hz,
            started: self.started,
            manual_clock: self.config.manual_clock.clone(),
            secret: self.secret,
            polls: core.is_some(),
        };
        let mut worker = Worker::new(setup).map_err(|e| err("making a worker", e))?;
        let (tell, told) = sync_channel(1);
        if core.is_some() && st.helper.is_none() {
            st.helper = Some(HelperThread::start().map_err(|e| err("starting its helper", e))?);
        }
        let helper = st.helper.as_ref().filter(|_| core.is_some()).map(HelperThread::helper);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let pinned = core.map_or(Ok(()), crate::sys::pin_to_core);
                let ok = pinned.is_ok();
                if let Some(helper) = helper.filter(|_| ok) {
                    worker.prepare(helper);
                }
                let _ = tell.send(pinned.map(|()| crate::sys::thread_id()));
                if ok {
                    if core.is_some() {
                        crate::sys::short_timer_slack();
                    }
                    worker.run();
                }
            })
            .map_err(|e| err("starting a thread", e))?;
        let thread_id = match told.recv() {
            Ok(Ok(id)) => id,
            Ok(Err(e)) => return Err(err(&format!("pinning to core {}", core.unwrap_or(0)), e)),
            Err(_) => return Err(PortError::system(&name, "starting a thread", "it ended at once")),
        };
        let w = WorkerHandle {
            core,
            shared,
            sending: Mutex::new(()),
            thread: Some(thread),
            thread_id,
            cleared: HashMap::new(),
            cleared_sizes: Vec::new(),
            numa: core.map_or(0, rxq::numa_of_core),
            active: true,
            isolated: false,
            busy: History::default(),
        };
        w.send(Command::SleepMax(st.settings.sleep_max_us));
        for (id, p) in &mut st.ports {
            w.send(Command::AddTxq { port: *id, txq: p.port.new_txq()? });
            if let Some(s) = &p.shaper {
                w.send(Command::Shape { port: *id, queues: s.clone() });
            }
        }
        for (id, m) in &st.meters {
            w.send(Command::Meter { id: *id, meter: Some(m.clone()) });
        }
        st.workers.push(w);
        Ok(())
    }

    /// Opens a port and gives its queues to workers.
    ///
    /// # Errors
    /// What the driver says; nothing has changed then.
    pub fn add_port(&self, config: &PortConfig) -> Result<PortId, PortError> {
        let id = self.prepare_port(config)?;
        self.start_port(id);
        Ok(id)
    }

    /// As [`Datapath::add_port`], but nothing is received from it until [`Datapath::start_port`]: whoever answers for its packets can get to know
    /// it first.
    ///
    /// # Errors
    /// As [`Datapath::add_port`].
    pub fn prepare_port(&self, config: &PortConfig) -> Result<PortId, PortError> {
        if self.state.lock().ports.values().any(|p| p.name == config.name) {
            return Err(PortError::Exists(config.name.clone()));
        }
        let mut config = config.clone();
        let pins = match config.options.remove("pmd-rxq-affinity") {
            Some(text) => rxq::affinity(&text).map_err(|e| PortError::config(&config.name, e))?,
            None => Vec::new(),
        };
        self.prepare(port::open(&config)?, pins)
    }

    /// Adds a port that is open already.
    ///
    /// # Errors
    /// As [`Datapath::add_port`].
    pub fn add_port_object(&self, port: Box<dyn Port>) -> Result<PortId, PortError> {
        let id = self.prepare_port_object(port)?;
        self.start_port(id);
        Ok(id)
    }

    /// As [`Datapath::prepare_port`], of a port that is open already.
    ///
    /// # Errors
    /// As [`Datapath::add_port`].
    pub fn prepare_port_object(&self, port: Box<dyn Port>) -> Result<PortId, PortError> {
        self.prepare(port, Vec::new())
    }

    fn prepare(&self, mut port: Box<dyn Port>, pins: Vec<(usize, usize)>) -> Result<PortId, PortError> {
        let name = port.info().name;
        let mut st = self.state.lock();
        if st.ports.values().any(|p| p.name == name) {
            return Err(PortError::Exists(name));
        }
        let rxqs = port.take_rxqs();
        check_pins(&name, &pins, rxqs.len(), rxqs.iter().any(|q| q.fd().is_some()))?;
        if rxqs.iter().any(|q| q.fd().is_none()) {
            self.need_a_pmd(&mut st)?;
        }
        let mut txqs = Vec::new();
        for _ in &st.workers {
            txqs.push(port.new_txq()?);
        }
        let id = st.next_port;
        st.next_port += 1;
        // All workers can send to the port before any receives from it.
        for (w, txq) in st.workers.iter().zip(txqs) {
            w.send(Command::AddTxq { port: id, txq });
        }
        wait(&st, &mark(&st));
        if let Some(m) = &self.monitor {
            port.watch(m);
        }
        let numa = port.numa_node();
        let slot = PortSlot { port, name, queues: Vec::new(), numa, shaper: None, held: (rxqs, pins) };
        st.ports.insert(id, slot);
        Ok(PortId(id))
    }

    /// Begins to receive from a port that was prepared.
    pub fn start_port(&self, id: PortId) {
        let mut st = self.state.lock();
        let st = &mut *st;
        let Some(slot) = st.ports.get_mut(&id.0) else { return };
        let (rxqs, pins) = std::mem::take(&mut slot.held);
        let now = Instant::now();
        let mut polled = Vec::new();
        for (index, rxq) in rxqs.into_iter().enumerate() {
            let load = Arc::<AtomicU64>::default();
            let pin = pins.iter().find(|(q, _)| *q == index).map(|(_, core)| *core);
            let mut history = History::default();
            history.start(now, 0);
            let worker = if rxq.fd().is_some() { 0 } else { NOWHERE };
            slot.queues.push(Queue { index, worker, load: load.clone(), pin, history });
            if worker == 0 {
                st.workers[0].send(Command::AddRxq { port: id.0, index, rxq, load });
            } else {
                polled.push((index, rxq));
            }
        }
        let plan = plan_all(st, now, true);
        carry_out(st, plan, polled.into_iter().map(|(index, q)| ((id.0, index), q)).collect());
    }

    /// A port that must be polled needs a PMD: on the last core, unless the operator chose.
    fn need_a_pmd(&self, st: &mut State) -> Result<(), PortError> {
        if st.workers[1..].iter().any(|w| w.active) {
            return Ok(());
        }
        let last = st.cores.iter().last().unwrap_or(0);
        self.wake_pmds(st, &[last])?;
        st.leave_cores_to_pmds();
        Ok(())
    }

    /// Starts PMDs on these cores, or gives those that sleep there work again.
    fn wake_pmds(&self, st: &mut State, cores: &[usize]) -> Result<(), PortError> {
        for core in cores {
            match st.workers.iter_mut().find(|w| w.core == Some(*core)) {
                Some(w) => w.active = true,
                None => self.start_worker(st, Some(*core))?,
            }
        }
        Ok(())
    }

    /// What is set of PMDs.
    pub fn pmd_settings(&self) -> PmdSettings {
        self.state.lock().settings.clone()
    }

    /// Sets all of it: starts and retires PMDs, moves queues, as far as needed.
    ///
    /// # Errors
    /// A core that cannot be had; nothing has changed then.
    pub fn set_pmd_settings(&self, settings: &PmdSettings) -> Result<(), PortError> {
        let mut st = self.state.lock();
        let before: Vec<bool> = st.workers.iter().map(|w| w.active).collect();
        let polls = st.ports.values().flat_map(|p| &p.queues).any(|q| q.worker != 0);
        if let Err(e) = self.wake_pmds(&mut st, &settings.cores) {
            for (i, w) in st.workers.iter_mut().enumerate() {
                w.active = before.get(i).copied().unwrap_or(false);
            }
            return Err(e);
        }
        let anew = settings.assign != st.settings.assign;
        st.settings = settings.clone();
        if settings.cores.is_empty() {
            // By itself: the PMD that was made when one was needed, and no other.
            if polls {
                self.need_a_pmd(&mut st)?;
                let first = st.workers.iter().skip(1).position(|w| w.active).map_or(1, |i| i + 1);
                for (i, w) in st.workers.iter_mut().enumerate().skip(1) {
                    w.active = i == first;
                }
            }
        } else {
            for w in st.workers.iter_mut().skip(1) {
                w.active = w.core.is_some_and(|c| settings.cores.contains(&c));
            }
        }
        st.leave_cores_to_pmds();
        let plan = plan_all(&st, Instant::now(), !anew);
        carry_out(&mut st, plan, HashMap::new());
        for (i, w) in st.workers.iter().enumerate().skip(1) {
            w.send(Command::SleepMax(settings.sleep_max_us));
            if !w.active && before.get(i) == Some(&true) {
                w.send(Command::Flush);
            }
        }
        Ok(())
    }

    /// Pins receive queues of a port to cores (`(queue, core)`; all others are free).
    ///
    /// # Errors
    /// A queue that it does not have, or queues that no PMD serves.
    pub fn set_rxq_affinity(&self, port: PortId, pins: &[(usize, usize)]) -> Result<(), PortError> {
        let mut st = self.state.lock();
        let Some(p) = st.ports.get_mut(&port.0) else {
            return Err(PortError::NoSuchPort(port.0.to_string()));
        };
        check_pins(&p.name, pins, p.queues.len(), p.queues.iter().any(|q| q.worker == 0))?;
        for q in &mut p.queues {
            q.pin = pins.iter().find(|(i, _)| *i == q.index).map(|(_, core)| *core);
        }
        let plan = plan_all(&st, Instant::now(), true);
        carry_out(&mut st, plan, HashMap::new());
        Ok(())
    }

    /// Plans all queues anew by what they took in the last minute and moves those that should be elsewhere.
    pub fn rebalance(&self) -> Vec<RxqMove> {
        let mut st = self.state.lock();
        let plan = plan_all(&st, Instant::now(), false);
        let moved = carry_out(&mut st, plan, HashMap::new());
        st.rebalances += u64::from(!moved.is_empty());
        moved
    }

    /// Rebalances that moved something, automatic ones too.
    pub fn rebalances(&self) -> u64 {
        self.state.lock().rebalances
    }

    /// To be called about once a second: looks at loads, and balances them if that is asked for and its time has come.
    pub fn upkeep(&self, now: Instant) {
        let mut st = self.state.lock();
        if now.duration_since(st.sampled) < Duration::from_millis(950) {
            return;
        }
        st.sampled = now;
        for w in &mut st.workers {
            let busy = w.shared.counters.busy_cycles.get();
            w.busy.push(now, busy);
        }
        for q in st.ports.values_mut().flat_map(|p| &mut p.queues) {
            let load = q.load.load(Ordering::Relaxed);
            q.history.push(now, load);
        }
        if st.settings.auto_lb && now.duration_since(st.balanced) >= st.settings.auto_lb_interval {
            let did = self.balance(&mut st, now);
            tracing::debug!(?did, "automatic load balance of receive queues");
        }
    }

    /// Moves queues if a PMD is busy beyond the threshold and that helps enough.
    fn balance(&self, st: &mut State, now: Instant) -> Balanced {
        st.balanced = now;
        let hz = self.tsc_hz as f64;
        let span = st.settings.auto_lb_interval.min(WINDOW);
        let busiest = st.workers[1..]
            .iter()
            .filter(|w| w.active && !w.isolated)
            .map(|w| w.busy.rate(now, w.shared.counters.busy_cycles.get(), span) * 100.0 / hz)
            .fold(0.0, f64::max);
        if busiest < f64::from(st.settings.auto_lb_load_percent) {
            return Balanced::NotBusy;
        }
        let plan = plan_all(st, now, false);
        let loads = |at: &dyn Fn(usize, &Queue) -> usize| {
            let mut v = vec![0.0; st.workers.len()];
            for (i, q) in st.ports.values().flat_map(|p| &p.queues).filter(|q| q.worker != 0).enumerate() {
                v[at(i, q)] += q.history.rate(now, q.load.load(Ordering::Relaxed), span);
            }
            let shown = |w: &usize| *w > 0 && st.workers[*w].active && !st.workers[*w].isolated;
            (0..v.len()).filter(shown).map(|w| v[w]).collect::<Vec<f64>>()
        };
        let (before, after) = (loads(&|_, q| q.worker), loads(&|i, _| plan.workers[i]));
        let better = rxq::improvement_percent(&before, &after);
        if better < f64::from(st.settings.auto_lb_improvement_percent) || better <= 0.0 {
            return Balanced::NotBetter;
        }
        let moved = carry_out(st, plan, HashMap::new());
        if moved.is_empty() {
            return Balanced::NotBetter;
        }
        st.rebalances += 1;
        tracing::info!(?moved, improvement_percent = better as u64, "receive queues rebalanced by load");
        Balanced::Moved
    }

    /// Takes the port from all workers and closes it. Returns after the workers let go of it.
    ///
    /// # Errors
    /// If there is no such port.
    pub fn del_port(&self, port: PortId) -> Result<(), PortError> {
        let mut st = self.state.lock();
        let Some(slot) = st.ports.remove(&port.0) else {
            return Err(PortError::NoSuchPort(port.0.to_string()));
        };
        let mut dead: Vec<Dead> = Vec::new();
        for w in &st.workers {
            let (reply, answer) = sync_channel(1);
            w.send(Command::DelPort { port: port.0, reply });
            dead.extend(answer.recv_timeout(PATIENCE).unwrap_or_default());
        }
        st.old_tx_dropped += slot.port.stats().tx_dropped;
        st.old_queue_full += slot.queue_full();
        // Without its pinned queues a PMD is no longer isolated.
        let plan = plan_all(&st, Instant::now(), true);
        carry_out(&mut st, plan, HashMap::new());
        drop(st);
        drop(dead);
        Ok(())
    }

    /// All ports.
    pub fn ports(&self) -> Vec<(PortId, PortInfo)> {
        self.state.lock().ports.iter().map(|(id, p)| (PortId(*id), p.port.info())).collect()
    }

    /// A port's state.
    pub fn port_info(&self, port: PortId) -> Option<PortInfo> {
        self.state.lock().ports.get(&port.0).map(|p| p.port.info())
    }

    /// A port's totals.
    pub fn port_stats(&self, port: PortId) -> Option<PortStats> {
        self.state.lock().ports.get(&port.0).map(|p| p.port.stats())
    }

    /// A port's statistics beyond those, by name.
    pub fn port_xstats(&self, port: PortId) -> Vec<(String, u64)> {
        self.state.lock().ports.get(&port.0).map(|p| p.port.xstats()).unwrap_or_default()
    }

    fn with_port(
        &self,
        port: PortId,
        f: impl FnOnce(&mut dyn Port) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        match self.state.lock().ports.get_mut(&port.0) {
            Some(p) => f(p.port.as_mut()),
            None => Err(PortError::NoSuchPort(port.0.to_string())),
        }
    }

    /// Changes a port's MTU.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_mtu(&self, port: PortId, mtu: u32) -> Result<(), PortError> {
        self.with_port(port, |p| p.set_mtu(mtu))
    }

    /// Brings a port's device up or down.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_admin_up(&self, port: PortId, up: bool) -> Result<(), PortError> {
        self.with_port(port, |p| p.set_admin_up(up))
    }

    /// A port whose state changed meanwhile (link, MTU, address, vanished or returned: compare [`PortInfo`]). The [`Waker`] is called when
    /// there is something.
    pub fn next_port_event(&self) -> Option<(PortId, PortInfo)> {
        loop {
            let name = self.events.pop()?;
            let st = self.state.lock();
            if let Some((id, p)) = st.ports.iter().find(|(_, p)| p.name == name) {
                return Some((PortId(*id), p.port.info()));
            }
        }
    }

    /// Gives a port queues with rates, or other rates (counters of queues that stay go on).
    ///
    /// # Errors
    /// If there is no such port.
    pub fn set_queues(&self, port: PortId, config: &QueueConfig) -> Result<(), PortError> {
        let mut st = self.state.lock();
        let st = &mut *st;
        let Some(slot) = st.ports.get_mut(&port.0) else {
            return Err(PortError::NoSuchPort(port.0.to_string()));
        };
        match &slot.shaper {
            Some(s) => s.configure(config),
            None if config.is_empty() => {}
            None => {
                let shared = Arc::new(PortQueues::new(config));
                for w in &st.workers {
                    w.send(Command::Shape { port: port.0, queues: shared.clone() });
                }
                slot.shaper = Some(shared);
            }
        }
        Ok(())
    }

    /// Counters of a port's queues.
    pub fn queue_stats(&self, port: PortId) -> Vec<(u8, QueueStats)> {
        let st = self.state.lock();
        st.ports.get(&port.0).and_then(|p| p.shaper.as_ref()).map(|s| s.stats()).unwrap_or_default()
    }

    /// Executes actions on a frame as if it came in by `in_port` (packet-out). In the order of the calls. Not counted as received.
    pub fn execute(&self, frame: &[u8], in_port: PortId, actions: Vec<DpAction>) {
        let c = Command::Execute { frame: frame.to_vec(), in_port: in_port.0, actions };
        self.state.lock().workers[0].send(c);
    }

    /// Gives a megaflow other actions (its counters go on). `drop_reason` counts if `actions` is empty.
    pub fn update_megaflow(
        &self,
        worker: WorkerId,
        slot: u32,
        token: u64,
        actions: Vec<DpAction>,
        drop_reason: u16,
    ) {
        let program = Arc::new(Program::new(actions, drop_reason));
        if let Some(w) = self.state.lock().workers.get(worker.0 as usize) {
            w.send(Command::Update { slot, token, program });
        }
    }

    /// Removes a megaflow. Its last counts come by [`UpcallHandler::ended`], before the next [`Datapath::synchronize`] returns.
    pub fn remove_megaflow(&self, worker: WorkerId, slot: u32, token: u64) {
        if let Some(w) = self.state.lock().workers.get(worker.0 as usize) {
            w.send(Command::Remove { slot, token });
        }
    }

    /// Removes megaflows, however many: once the worker has this command none of them decides anything. They end, and are told so, one by one as
    /// packets hit them or as the worker finds time; then the handler hears of [`UpcallHandler::carried_out`].
    pub fn condemn(&self, worker: WorkerId, sentence: Sentence) {
        if let Some(w) = self.state.lock().workers.get(worker.0 as usize) {
            w.send(Command::Condemn(sentence));
        }
    }

    /// Counters of a worker's megaflows.
    pub fn megaflow_stats(&self, worker: WorkerId) -> Option<Arc<StatsTable>> {
        self.state.lock().workers.get(worker.0 as usize)?.shared.stats.get().cloned()
    }

    /// A mark behind all commands sent so far, for [`Datapath::synced`]. Sends each worker an empty command, so that "handled" also
    /// means "its batch of before is over".
    pub fn mark(&self) -> SyncMark {
        mark(&self.state.lock())
    }

    /// Whether every worker has handled all commands before `mark`, or sleeps and will handle them before any packet. Also true of what
    /// workers read from shared snapshots: one published before `mark` is the oldest they will use.
    pub fn synced(&self, mark: &SyncMark) -> bool {
        synced(&self.state.lock(), mark)
    }

    /// [`Datapath::mark`], and waits until it is synced: microseconds, at most one batch and its upcalls.
    pub fn synchronize(&self) {
        let st = self.state.lock();
        wait(&st, &mark(&st));
    }

    /// Makes or replaces a meter (counters start again).
    pub fn set_meter(&self, id: DpMeterId, config: &MeterConfig) {
        let meter = Arc::new(Meter::new(config));
        let mut st = self.state.lock();
        for w in &st.workers {
            w.send(Command::Meter { id, meter: Some(meter.clone()) });
        }
        st.meters.insert(id, meter);
    }

    /// Removes a meter; packets that name it pass.
    pub fn del_meter(&self, id: DpMeterId) {
        let mut st = self.state.lock();
        st.meters.remove(&id);
        for w in &st.workers {
            w.send(Command::Meter { id, meter: None });
        }
    }

    /// A meter's counters.
    pub fn meter_stats(&self, id: DpMeterId) -> Option<MeterStats> {
        self.state.lock().meters.get(&id).map(|m| m.stats())
    }

    /// All megaflows, asked of the workers in slices.
    pub fn dump_megaflows(&self) -> Vec<MegaflowDump> {
        const SLICE: u32 = 512;
        let st = self.state.lock();
        let mut all = Vec::new();
        for w in &st.workers {
            let mut from = Some(0);
            while let Some(at) = from {
                let (reply, answer) = sync_channel(1);
                w.send(Command::Dump { from: at, max: SLICE, reply });
                let Ok((slice, next)) = answer.recv_timeout(PATIENCE) else { break };
                all.extend(slice);
                from = next;
            }
        }
        all
    }

    /// Each port's share of each worker's megaflows.
    pub fn megaflow_shares(&self) -> Vec<MegaflowShare> {
        let st = self.state.lock();
        let mut all = Vec::new();
        for (i, w) in st.workers.iter().enumerate() {
            let (reply, answer) = sync_channel(1);
            w.send(Command::Shares { reply });
            for (port, megaflows, masks, waiting) in answer.recv_timeout(PATIENCE).unwrap_or_default() {
                all.push(MegaflowShare { worker: i as u32, port: PortId(port), megaflows, masks, waiting });
            }
        }
        all.sort_by_key(|s| (s.worker, s.port.0));
        all
    }

    /// Most megaflows per worker.
    pub fn flow_limit(&self) -> usize {
        self.state.lock().flow_limit
    }

    /// Most megaflows per worker from now on.
    pub fn set_flow_limit(&self, n: usize) {
        let mut st = self.state.lock();
        st.flow_limit = n;
        for w in &st.workers {
            w.send(Command::FlowLimit(n));
        }
    }

    /// Size of the exact-match caches from now on: of one worker's, or of all (also of those to come).
    ///
    /// # Errors
    /// No such worker.
    pub fn set_emc(&self, worker: Option<WorkerId>, size: EmcSize) -> Result<(), PortError> {
        let mut st = self.state.lock();
        match worker {
            None => {
                st.emc = size;
                st.emc_of.clear();
                st.workers.iter().for_each(|w| w.send(Command::Emc(size)));
            }
            Some(id) => {
                let Some(w) = st.workers.get(id.0 as usize) else {
                    return Err(PortError::config(&id.0.to_string(), "no such worker"));
                };
                w.send(Command::Emc(size));
                let core = w.core;
                st.emc_of.insert(core, size);
            }
        }
        Ok(())
    }

    /// What [`Datapath::set_emc`] was told last: for all, and for single workers by core (`None`: the epoll worker).
    pub fn emc(&self) -> (EmcSize, BTreeMap<Option<usize>, EmcSize>) {
        let st = self.state.lock();
        (st.emc, st.emc_of.clone())
    }

    /// Every worker's figures since the start or the last clear.
    pub fn worker_stats(&self) -> Vec<WorkerStats> {
        let st = self.state.lock();
        let now = Instant::now();
        st.workers
            .iter()
            .enumerate()
            .map(|(i, w)| {
                let busy = w.busy.rate(now, w.shared.counters.busy_cycles.get(), WINDOW);
                let sizes = w.shared.counters.batch_sizes.iter().enumerate();
                let sizes =
                    sizes.map(|(i, c)| c.get().wrapping_sub(w.cleared_sizes.get(i).copied().unwrap_or(0)));
                let mut counters = w.shared.counters.named();
                for (name, n) in &mut counters {
                    if !matches!(*name, "megaflows" | "subtables" | "emc_entries" | "emc_resting_ports") {
                        *n = n.wrapping_sub(w.cleared.get(name).copied().unwrap_or(0));
                    }
                }
                WorkerStats {
                    worker: i as u32,
                    core: w.core,
                    counters,
                    tsc_hz: self.tsc_hz,
                    isa: crate::isa::name(),
                    numa: w.numa,
                    active: w.active,
                    isolated: w.isolated,
                    busy_percent: (busy * 100.0 / self.tsc_hz as f64) as f32,
                    batch_sizes: sizes.collect(),
                    seconds: now.duration_since(st.measured_since).as_secs_f64(),
                }
            })
            .collect()
    }

    /// `pmd-stats-clear`: figures count from now on.
    pub fn clear_worker_stats(&self) {
        let mut st = self.state.lock();
        let now = Instant::now();
        for w in &mut st.workers {
            w.cleared = w.shared.counters.named().into_iter().collect();
            w.cleared_sizes = w.shared.counters.batch_sizes.iter().map(|c| c.get()).collect();
            let busy = w.shared.counters.busy_cycles.get();
            w.busy.start(now, busy);
        }
        for q in st.ports.values_mut().flat_map(|p| &mut p.queues) {
            let load = q.load.load(Ordering::Relaxed);
            q.history.start(now, load);
        }
        st.measured_since = now;
    }

    /// Which worker serves which queue.
    pub fn rxq_assignment(&self) -> Vec<RxqAssignment> {
        let st = self.state.lock();
        let now = Instant::now();
        let mut v = Vec::new();
        for (id, p) in &st.ports {
            for q in &p.queues {
                v.push(RxqAssignment {
                    port: PortId(*id),
                    port_name: p.name.clone(),
                    rxq: q.index,
                    worker: q.worker as u32,
                    busy_percent: (q.history.rate(now, q.load.load(Ordering::Relaxed), WINDOW) * 100.0
                        / self.tsc_hz as f64) as f32,
                    pinned_core: q.pin,
                    numa: p.numa,
                });
            }
        }
        v
    }

    /// Moves a polled receive queue to another PMD.
    ///
    /// # Errors
    /// No such queue, or a worker that cannot serve it.
    pub fn assign_rxq(&self, port: PortId, rxq: usize, worker: WorkerId) -> Result<(), PortError> {
        let mut st = self.state.lock();
        let to = worker.0 as usize;
        if to == 0 || to >= st.workers.len() {
            return Err(PortError::config(&port.0.to_string(), format!("no PMD {}", worker.0)));
        }
        let Some(q) = st.ports.get(&port.0).and_then(|p| p.queues.iter().find(|q| q.index == rxq)) else {
            return Err(PortError::NoSuchPort(format!("{} queue {rxq}", port.0)));
        };
        if q.worker == 0 {
            return Err(PortError::config(&port.0.to_string(), "its queues are served by the epoll worker"));
        }
        if !move_rxq(&mut st, (port.0, rxq), to, None) {
            return Err(PortError::NoSuchPort(format!("{} queue {rxq}", port.0)));
        }
        Ok(())
    }

    /// Packets the datapath ended, by reason (all of them, zeros too).
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let st = self.state.lock();
        let sum = |r: DropReason| -> u64 {
            st.workers.iter().map(|w| w.shared.counters.drops[r as usize].get()).sum()
        };
        let refused = st.old_tx_dropped + st.ports.values().map(|p| p.port.stats().tx_dropped).sum::<u64>();
        let queue_full = st.old_queue_full + st.ports.values().map(PortSlot::queue_full).sum::<u64>();
        let count = |r: DropReason| match r {
            DropReason::TxFull => refused,
            DropReason::QueueFull => queue_full,
            r => sum(r),
        };
        DropReason::ALL.iter().map(|r| (*r, count(*r))).collect()
    }

    /// Packets that empty verdicts ended, by the handler's reason index.
    pub fn policy_drops(&self) -> Vec<u64> {
        let st = self.state.lock();
        (0..crate::stats::POLICY_REASONS)
            .map(|i| st.workers.iter().map(|w| w.shared.counters.policy_drops[i].get()).sum())
            .collect()
    }

    /// Milliseconds of the clock that `used_ms` is on.
    pub fn now_ms(&self) -> u64 {
        match &self.config.manual_clock {
            Some(ns) => ns.load(Ordering::Relaxed) / 1_000_000 + 1,
            None => self.started.elapsed().as_millis() as u64 + 1,
        }
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.monitor = None;
        let mut st = self.state.lock();
        for w in &mut st.workers {
            w.send(Command::Stop);
        }
        for w in &mut st.workers {
            if let Some(t) = w.thread.take() {
                let _ = t.join();
            }
        }
        st.ports.clear();
    }
}

/// The worker of a queue that has none yet.
const NOWHERE: usize = usize::MAX;

fn check_pins(name: &str, pins: &[(usize, usize)], queues: usize, epoll: bool) -> Result<(), PortError> {
    if pins.is_empty() {
        return Ok(());
    }
    if epoll {
        return Err(PortError::config(
            name,
            "pmd-rxq-affinity: its queues are served by the epoll worker, not by a PMD",
        ));
    }
    match pins.iter().find(|(q, _)| *q >= queues) {
        Some((q, _)) => Err(PortError::config(
            name,
            format!("pmd-rxq-affinity: there is no queue {q}; it has {queues} (n_rxq)"),
        )),
        None => Ok(()),
    }
}

/// A plan in terms of workers, for the polled queues in the order of ports and queues.
struct Planned {
    queues: Vec<(u32, usize)>,
    workers: Vec<usize>,
    isolated: Vec<usize>,
}

fn plan_all(st: &State, now: Instant, stay: bool) -> Planned {
    let pmds: Vec<usize> = (1..st.workers.len()).filter(|w| st.workers[*w].active).collect();
    let (mut queues, mut ask) = (Vec::new(), Vec::new());
    for (id, p) in &st.ports {
        for q in p.queues.iter().filter(|q| q.worker != 0) {
            queues.push((*id, q.index));
            ask.push(QueueToPlan {
                numa: p.numa,
                load: q.history.rate(now, q.load.load(Ordering::Relaxed), WINDOW),
                pin: q.pin,
                now: pmds.iter().position(|w| *w == q.worker),
            });
        }
    }
    if pmds.is_empty() {
        return Planned { queues: Vec::new(), workers: Vec::new(), isolated: Vec::new() };
    }
    let list: Vec<PmdToPlan> = pmds
        .iter()
        .map(|w| PmdToPlan { core: st.workers[*w].core.unwrap_or(0), numa: st.workers[*w].numa })
        .collect();
    let plan = rxq::plan(&ask, &list, st.settings.assign, st.settings.isolate, stay);
    for i in &plan.pins_ignored {
        let (port, index) = queues[*i];
        let name = st.ports.get(&port).map_or("", |p| &p.name);
        tracing::warn!(
            port = name,
            rxq = index,
            core = ask[*i].pin,
            "pmd-rxq-affinity names a core without PMD (see pmd-cores): the queue is placed as if not pinned"
        );
    }
    Planned {
        queues,
        workers: plan.to.iter().map(|at| pmds[*at]).collect(),
        isolated: pmds.iter().zip(&plan.isolated).filter(|(_, i)| **i).map(|(w, _)| *w).collect(),
    }
}

/// Moves queues to where the plan has them; `fresh` ones come from nowhere.
fn carry_out(st: &mut State, plan: Planned, mut fresh: HashMap<(u32, usize), Box<dyn Rxq>>) -> Vec<RxqMove> {
    for (i, w) in st.workers.iter_mut().enumerate() {
        w.isolated = plan.isolated.contains(&i);
    }
    let mut moves = Vec::new();
    for (q, to) in plan.queues.into_iter().zip(plan.workers) {
        let now = st.ports.get(&q.0).and_then(|p| Some((p, p.queues.iter().find(|x| x.index == q.1)?)));
        let Some((port, queue)) = now else { continue };
        let from = queue.worker;
        if from == to {
            continue;
        }
        let core = |w: usize| st.workers.get(w).and_then(|w| w.core).unwrap_or(0);
        let moved = RxqMove { port_name: port.name.clone(), rxq: q.1, from: core(from), to: core(to) };
        if move_rxq(st, q, to, fresh.remove(&q)) && from != NOWHERE {
            moves.push(moved);
        }
    }
    moves
}

/// Moves a polled queue, or places one that is new.
fn move_rxq(st: &mut State, (port, index): (u32, usize), to: usize, fresh: Option<Box<dyn Rxq>>) -> bool {
    let Some(q) = st.ports.get(&port).and_then(|p| p.queues.iter().find(|q| q.index == index)) else {
        return false;
    };
    let (from, load) = (q.worker, q.load.clone());
    if from == to {
        return true;
    }
    let queue = match fresh {
        Some(q) => q,
        None => {
            let Some(w) = st.workers.get(from) else { return false };
            let (reply, answer) = sync_channel::<Option<Box<dyn Rxq>>>(1);
            w.send(Command::TakeRxq { port, index, reply });
            match answer.recv_timeout(PATIENCE) {
                Ok(Some(q)) => q,
                _ => return false,
            }
        }
    };
    st.workers[to].send(Command::AddRxq { port, index, rxq: queue, load });
    if let Some(q) = st.ports.get_mut(&port).and_then(|p| p.queues.iter_mut().find(|q| q.index == index)) {
        q.worker = to;
    }
    true
}

fn mark(st: &State) -> SyncMark {
    let marks = st.workers.iter().map(|w| {
        fence(Ordering::SeqCst);
        if w.shared.asleep.load(Ordering::SeqCst) {
            // It handles what was sent before any packet, and loads snapshots after that: no need to wake it.
            return 0;
        }
        w.send(Command::Nothing);
        w.shared.sent.load(Ordering::SeqCst)
    });
    SyncMark(marks.collect())
}

fn synced(st: &State, mark: &SyncMark) -> bool {
    fence(Ordering::SeqCst);
    st.workers.iter().zip(&mark.0).all(|(w, m)| {
        w.shared.asleep.load(Ordering::SeqCst)
            || w.shared.done.load(Ordering::SeqCst) >= *m
            || w.thread.as_ref().is_none_or(JoinHandle::is_finished)
    })
}

fn wait(st: &State, mark: &SyncMark) {
    let mut spins = 0u32;
    while !synced(st, mark) {
        spins += 1;
        if spins < 200 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// See [`Datapath::mark`].
#[derive(Debug, Clone, Default)]
pub struct SyncMark(pub(crate) Vec<u64>);
