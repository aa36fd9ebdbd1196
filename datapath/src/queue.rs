//! Queues of a port: a software scheduler between the workers and a transmit queue, for ports that have rates configured. Ports
//! that have none keep their bare transmit queue and pay nothing.
//!
//! Each queue may have a least and a most rate, and the port a most rate of its own. As Linux's HTB does it: a packet goes while its queue is
//! below its *min* rate, whatever the others do; above that it borrows what the port's rate leaves, in turns with the other queues; never
//! above its queue's *max* rate. What may not go waits, [`LIMIT`] packets a queue and worker, and is dropped (and counted) beyond that.
//!
//! Rates are kept by theoretical arrival times, one atomic number each, shared by all workers (as [`crate::meter`] does), so a rate holds for
//! the port however many workers send. What waits belongs to the worker that sent it: order within a flow stays.
//! A queue's number is one byte here; 0 is the default queue, for all packets that no action gave another.

use crate::packet::{Batch, Packet};
use crate::port::Txq;
use crate::program::wire_bytes;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Packets that wait in one queue of one worker at most.
pub const LIMIT: usize = 256;
/// Time inside a bucket: 1/256 ns.
const TICKS_PER_S: u128 = 256_000_000_000;
/// What may be sent at once after a pause: this much time at the full rate. An epoll worker looks every millisecond.
const BURST_TICKS: u64 = 256 * 5_000_000;

/// Rates of one queue in bits per second of Ethernet frames; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rates {
    /// What it gets in any case.
    pub min_bps: u64,
    /// What it gets at most.
    pub max_bps: u64,
}

/// Queues of a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct QueueConfig {
    /// Most rate of the whole port; 0: no limit, and then nothing to share.
    pub max_bps: u64,
    /// Queues by number.
    pub queues: BTreeMap<u8, Rates>,
}

impl QueueConfig {
    /// Whether there is anything to schedule.
    pub fn is_empty(&self) -> bool {
        self.max_bps == 0 && self.queues.is_empty()
    }
}

/// Counters of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct QueueStats {
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped because the queue was full.
    pub tx_errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
}

/// A rate.
#[derive(Debug)]
struct Bucket {
    /// Ticks of one bit, 32.32.
    cost: u128,
    arrival: AtomicU64,
}

impl Bucket {
    fn new(bps: u64) -> Option<Self> {
        let cost = (TICKS_PER_S << 32).checked_div(u128::from(bps))?;
        Some(Self { cost, arrival: AtomicU64::new(0) })
    }
    fn has_room(&self, now: u64) -> bool {
        self.arrival.load(Ordering::Relaxed) <= now.saturating_add(BURST_TICKS)
    }
    fn charge(&self, bits: u64, now: u64) {
        let ticks = u64::try_from((u128::from(bits) * self.cost) >> 32).unwrap_or(u64::MAX / 4);
        let next = |a: u64| Some(a.max(now).saturating_add(ticks));
        let _ = self.arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[derive(Debug)]
struct Queue {
    id: u8,
    min: Option<Bucket>,
    max: Option<Bucket>,
    counters: Arc<Counters>,
}

/// One configuration at work.
#[derive(Debug)]
struct Plan {
    port: Option<Bucket>,
    /// The default queue is always there, and first.
    queues: Vec<Queue>,
    /// Index into `queues` by number.
    index: Box<[u8; 256]>,
}

impl Plan {
    /// Whether a packet of `bits` of queue `i` may go now; takes what it costs.
    fn take(&self, i: usize, bits: u64, now: u64) -> bool {
        let q = &self.queues[i];
        let full = |b: &Option<Bucket>| b.as_ref().is_some_and(|b| !b.has_room(now));
        if full(&q.max) {
            return false;
        }
        let own = q.min.as_ref().is_some_and(|b| b.has_room(now));
        if !own && full(&self.port) {
            return false;
        }
        for b in [&q.min, &q.max, &self.port].into_iter().flatten() {
            b.charge(bits, now);
        }
        true
    }
}

/// The scheduler of one port, shared by control and all workers.
#[derive(Debug)]
pub struct PortQueues {
    plan: ArcSwap<Plan>,
    /// Dropped since ever, whatever queues there were.
    dropped: AtomicU64,
}

impl PortQueues {
    /// Without any rate.
    pub fn new(config: &QueueConfig) -> Self {
        Self { plan: ArcSwap::from_pointee(plan(config, None)), dropped: AtomicU64::new(0) }
    }
    /// Other rates from now on; counters of queues that stay go on.
    pub fn configure(&self, config: &QueueConfig) {
        let old = self.plan.load_full();
        self.plan.store(Arc::new(plan(config, Some(&old))));
    }
    /// Packets dropped in all queues there ever were.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
    /// Counters by queue; the default queue among them.
    pub fn stats(&self) -> Vec<(u8, QueueStats)> {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let one = |q: &Queue| {
            let c = &q.counters;
            let stats = QueueStats {
                tx_packets: get(&c.packets),
                tx_bytes: get(&c.bytes),
                tx_errors: get(&c.errors),
            };
            (q.id, stats)
        };
        self.plan.load().queues.iter().map(one).collect()
    }
}

fn plan(config: &QueueConfig, old: Option<&Plan>) -> Plan {
    let counters = |id: u8| {
        let found = old.and_then(|p| p.queues.iter().find(|q| q.id == id));
        found.map_or_else(Arc::default, |q| q.counters.clone())
    };
    let default = (0, Rates::default());
    let rest = config.queues.iter().map(|(id, r)| (*id, *r));
    let all = (!config.queues.contains_key(&0)).then_some(default).into_iter().chain(rest);
    let queues: Vec<Queue> = all
        .map(|(id, r)| Queue {
            id,
            min: Bucket::new(r.min_bps),
            max: Bucket::new(r.max_bps),
            counters: counters(id),
        })
        .collect();
    let mut index = Box::new([0; 256]);
    for (i, q) in queues.iter().enumerate() {
        index[usize::from(q.id)] = i as u8;
    }
    Plan { port: Bucket::new(config.max_bps), queues, index }
}

/// A transmit queue behind a scheduler.
pub(crate) struct ShapedTxq {
    inner: Box<dyn Txq>,
    shared: Arc<PortQueues>,
    plan: Arc<Plan>,
    /// By index of the plan's queues.
    waiting: Vec<VecDeque<Packet>>,
    n_waiting: usize,
    turn: usize,
    now: u64,
    out: Box<Batch>,
}

impl ShapedTxq {
    pub fn new(inner: Box<dyn Txq>, shared: Arc<PortQueues>) -> Self {
        let plan = shared.plan.load_full();
        let waiting = plan.queues.iter().map(|_| VecDeque::new()).collect();
        Self { inner, shared, plan, waiting, n_waiting: 0, turn: 0, now: 0, out: Box::default() }
    }
    /// Follows a change of the configuration: packets of queues that are gone go on in the default queue.
    fn refresh(&mut self) {
        let new = self.shared.plan.load_full();
        if Arc::ptr_eq(&new, &self.plan) {
            return;
        }
        let old = std::mem::replace(&mut self.plan, new);
        let mut waiting: Vec<VecDeque<Packet>> = self.plan.queues.iter().map(|_| VecDeque::new()).collect();
        for (q, packets) in old.queues.iter().zip(self.waiting.drain(..)) {
            waiting[usize::from(self.plan.index[usize::from(q.id)])].extend(packets);
        }
        self.waiting = waiting;
        self.turn = 0;
    }
    fn go(&mut self, i: usize, p: Packet) {
        let c = &self.plan.queues[i].counters;
        c.packets.fetch_add(1, Ordering::Relaxed);
        c.bytes.fetch_add(p.len() as u64, Ordering::Relaxed);
        self.out.push(p);
        if self.out.is_full() {
            self.inner.send(&mut self.out);
            self.out.clear();
        }
    }
    fn send_out(&mut self) {
        if !self.out.is_empty() {
            self.inner.send(&mut self.out);
            self.out.clear();
        }
    }
}

fn bits(p: &Packet) -> u64 {
    wire_bytes(p) as u64 * 8
}

impl Txq for ShapedTxq {
    fn send(&mut self, batch: &mut Batch) {
        let plan = self.plan.clone();
        for p in batch.drain() {
            let i = usize::from(plan.index[usize::from(p.queue())]);
            if self.waiting[i].is_empty() && plan.take(i, bits(&p), self.now) {
                self.go(i, p);
            } else if self.waiting[i].len() < LIMIT {
                self.waiting[i].push_back(p);
                self.n_waiting += 1;
            } else {
                plan.queues[i].counters.errors.fetch_add(1, Ordering::Relaxed);
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.send_out();
    }
    fn flush(&mut self) {
        self.inner.flush();
    }
    /// One packet of each queue in turn, while any may go.
    fn tick(&mut self, now_ns: u64) -> bool {
        self.now = now_ns.saturating_mul(256).max(1);
        self.refresh();
        if self.n_waiting == 0 {
            return false;
        }
        let (plan, n) = (self.plan.clone(), self.waiting.len());
        let mut idle = 0;
        while idle < n && self.n_waiting > 0 {
            let i = self.turn % n;
            self.turn = i + 1;
            let may = self.waiting[i].front().is_some_and(|p| plan.take(i, bits(p), self.now));
            if !may {
                idle += 1;
            } else if let Some(p) = self.waiting[i].pop_front() {
                idle = 0;
                self.n_waiting -= 1;
                self.go(i, p);
            }
        }
        self.send_out();
        self.inner.flush();
        self.n_waiting > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Wire(Arc<Mutex<Vec<(u8, usize)>>>);
    impl Txq for Wire {
        fn send(&mut self, batch: &mut Batch) {
            for p in batch.drain() {
                self.0.lock().push((p.queue(), p.len()));
            }
        }
    }

    /// Offers each `(queue, packets per ms)` of 1000 bytes for so many ms; bits per second that came out, by queue.
    fn offer(config: &QueueConfig, load: &[(u8, usize)], ms: u64) -> BTreeMap<u8, u64> {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(PortQueues::new(config));
        let mut t = ShapedTxq::new(Box::new(Wire(sent.clone())), shared.clone());
        let mut lost = 0;
        for at in 1..=ms {
            t.tick(at * 1_000_000);
            for (q, n) in load {
                let mut b = Batch::default();
                for _ in 0..*n {
                    let mut p = Packet::from_bytes(&[0; 1000]);
                    p.set_queue(u32::from(*q));
                    if b.is_full() {
                        t.send(&mut b);
                        b.clear();
                    }
                    b.push(p);
                }
                t.send(&mut b);
            }
            lost = t.waiting.iter().map(VecDeque::len).sum();
            assert_eq!(lost, t.n_waiting);
        }
        let sent = sent.lock();
        let mut by = BTreeMap::new();
        sent.iter().for_each(|(q, len)| *by.entry(*q).or_insert(0) += *len as u64 * 8 * 1000 / ms);
        // What came in went out, waits, or was dropped and counted.
        let offered: usize = load.iter().map(|l| l.1 * ms as usize).sum();
        let stats = shared.stats();
        let errors: u64 = stats.iter().map(|s| s.1.tx_errors).sum();
        assert_eq!(offered as u64, sent.len() as u64 + lost as u64 + errors);
        assert_eq!(stats.iter().map(|s| s.1.tx_packets).sum::<u64>(), sent.len() as u64);
        by
    }
    fn near(got: u64, want: u64) {
        assert!(got.abs_diff(want) * 50 <= want, "{got} is not within 2 % of {want}");
    }
    fn config(max_bps: u64, queues: &[(u8, u64, u64)]) -> QueueConfig {
        let queues =
            queues.iter().map(|(q, min_bps, max_bps)| (*q, Rates { min_bps: *min_bps, max_bps: *max_bps }));
        QueueConfig { max_bps, queues: queues.collect() }
    }

    #[test]
    fn a_queue_keeps_its_most_rate() {
        let by = offer(&config(0, &[(1, 0, 8_000_000)]), &[(1, 5), (0, 2)], 4000);
        near(by[&1], 8_000_000);
        near(by[&0], 16_000_000); // the others are not held back
    }

    #[test]
    fn queues_get_their_least_rate_and_share_the_rest() {
        // 40 Mbit/s for the port; all want 40. Queue 1 is sure of 24, queue 2 of 4; 12 are left for all three in turns.
        let c = config(40_000_000, &[(1, 24_000_000, 0), (2, 4_000_000, 0)]);
        let by = offer(&c, &[(0, 5), (1, 5), (2, 5)], 4000);
        near(by.values().sum(), 40_000_000);
        assert!(by[&1] >= 23_800_000, "{by:?}");
        assert!(by[&2] >= 3_960_000, "{by:?}");
        assert!(by[&0] >= 3_000_000, "{by:?}");
        // Alone, each has the whole port.
        near(offer(&c, &[(2, 6)], 4000)[&2], 40_000_000);
    }

    #[test]
    fn what_is_below_all_rates_goes_at_once() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(PortQueues::new(&config(1_000_000, &[(7, 0, 500_000)])));
        let mut t = ShapedTxq::new(Box::new(Wire(sent.clone())), shared.clone());
        assert!(!t.tick(5_000_000_000));
        let mut b = Batch::default();
        let mut p = Packet::from_bytes(&[0; 60]);
        p.set_queue(7);
        b.push(p);
        t.send(&mut b);
        assert_eq!(sent.lock().len(), 1);
        // A change of the plan keeps counters, and packets of a queue that goes.
        for _ in 0..10 {
            let mut p = Packet::from_bytes(&[0; 1500]);
            p.set_queue(7);
            b.push(p);
        }
        t.send(&mut b);
        assert!(sent.lock().len() < 11);
        shared.configure(&config(0, &[]));
        assert!(!t.tick(5_000_000_001));
        assert_eq!(sent.lock().len(), 11);
    }
}
