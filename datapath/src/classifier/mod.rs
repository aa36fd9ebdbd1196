//! A worker's megaflows: which of them a packet matches.
//!
//! **What it answers.** For a batch of keys of one in_port, the id of a megaflow that matches each, or none. Megaflows of a correct
//! handler never disagree where they overlap, so any that matches is right.
//!
//! **Naive version.** A list of (mask, masked key), searched from its head ([`reference`]).
//!
//! **Each step away from it, and its price.**
//! 1. *One hash table per mask* (subtable). A lookup masks, hashes and probes once per subtable.
//! 2. *Subtables per in_port*, ranked by hits; a new one enters at the back. A port with many masks (also an attacker's) costs no other port
//!    anything. Price: a mask always counts in_port and recirc_id.
//! 3. *The exact-match cache* ([`crate::emc`]) in front: a hint from (key restricted to the union of the port's masks) to a megaflow id.
//!    Packets that agree on that union share one hint, so a million microflows of a simple rule set are one. The hint is *verified*
//!    against the megaflow itself, whence no flushing, epochs or stale answers: a removed megaflow simply does not verify.
//! 4. *Batches*: hash and prefetch for all, compare tags and prefetch entries for all, verify for all. Never wait for one line.
//! 5. *Mask rounding*: a port with more than [`ROUND_ABOVE`] masks gets new ones rounded up to whole fields or coarse prefixes (a mask bit too many
//!    is slow, a bit too few is wrong), which bounds their number whatever headers somebody crafts.
//!
//! **Invariants.** An entry's key is masked; `len` counts the live ones; a subtable exists only while it has entries; a port's union is
//! at least the OR of its subtables' masks.
//!
//! **At the limit** a new megaflow takes the place of an old one, found by a clock hand over the slots: the first that was not used for a while and
//! belongs to a port with more than its share of the table. A port that has its share already never puts out another port's: it gets
//! no new megaflow then ([`Inserted::id`] is [`NONE`]), and its packets go on being translated one by one.
//!
//! **Threads.** All of it belongs to one worker. Others read only the [`StatsTable`]. Memory for more slots is taken ahead of need by the datapath's
//! `Helper`, for the kernel clears 2 MiB at a time, while packets would wait: `FlowTable::prepare`.
//!
//! **Cost.** Hit through the cache: one line of hints, one of the entry, half a line of counters, and one more if the packet is rewritten. Through n subtables: n tag lines and the entry.

pub mod kernel;
#[cfg(test)]
pub mod reference;
#[cfg(target_arch = "x86_64")]
pub(crate) mod simd;

use crate::edit::Rewrite;
use crate::emc::{Admission, Emc, EmcSize};
use crate::extract::Seen;
use crate::flow_key::{off, FlowKey, FlowMask, KEY_BYTES};
use crate::helper::Helper;
use crate::isa::Isa;
use crate::megaflow::{Ended, MegaflowStats, StatsTable, MAX_SLOTS};
use crate::packet::BATCH_SIZE;
use crate::program::{Program, Shape};
use crate::sys::{HugeSlice, Part};
use kernel::{line_of, prefetch, tag_of, Bucket, Kernel, Scalar, Secret};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::Arc;

/// Index of a megaflow in its worker's table.
pub type FlowId = u32;
/// No megaflow.
pub const NONE: FlowId = u32::MAX;
/// Masks a port may have before new ones are rounded.
pub const ROUND_ABOVE: usize = 48;

/// Slots whose memory is taken at a time.
const CHUNK_BITS: u32 = 14;
const CHUNK: usize = 1 << CHUNK_BITS;

/// What a hit reads of a megaflow: one line. The first six words are the masked key's; the seventh is, from its lowest bit on, the mask's number (32 bits;
/// 0: there is no megaflow in this slot, and all else is 0, too), the port of an output ([`NOT_QUICK`] else; 16), the [`form`] (8), and whether the mask has
/// bits beyond the six words, which are in `Megaflow::extra` then (8).
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Hot([u64; 8]);

// SAFETY: integers.
#[allow(unsafe_code)]
unsafe impl crate::sys::Zeroed for Hot {}

const _: () = assert!(std::mem::size_of::<Hot>() == 64 && std::mem::size_of::<Rewrite>() == 64);

impl Hot {
    /// No megaflow.
    const NOTHING: Self = Self([0; 8]);

    fn new(masked: &FlowKey, mask: u32, more: bool) -> Self {
        let k = &masked.0;
        Self([k[0], k[1], k[2], k[3], k[4], k[5], u64::from(mask) | u64::from(more) << 56, 0])
    }
    #[inline(always)]
    fn mask(&self) -> u32 {
        self.0[6] as u32
    }
    /// The port, if all it does is one output; else [`NOT_QUICK`].
    #[inline(always)]
    pub fn quick(&self) -> u32 {
        u32::from((self.0[6] >> 32) as u16)
    }
    #[inline(always)]
    fn form(&self) -> u8 {
        (self.0[6] >> 48) as u8
    }
    #[inline(always)]
    fn more(&self) -> bool {
        self.0[6] >> 56 != 0
    }
    fn set_form(&mut self, form: u8, port: u16) {
        let keep = 0xff << 56 | u64::from(u32::MAX);
        self.0[6] = self.0[6] & keep | u64::from(port) << 32 | u64::from(form) << 48;
    }
    fn in_port(&self) -> u32 {
        (u64::from_be(self.0[0]) >> 32) as u32
    }
}

/// What a megaflow does, by how much a hit has to read: a bit each, so that those of a batch can be joined.
pub mod form {
    /// One output: the port is in the megaflow's first line.
    pub const OUTPUT: u8 = 1;
    /// Rewriting in one go and one output: [`FlowTable::rewrites`](super::FlowTable::rewrites) has it.
    pub const REWRITE: u8 = 2;
    /// Its program says.
    pub const PROGRAM: u8 = 4;
}

/// The rest of an installed megaflow.
pub struct Megaflow {
    program: Arc<Program>,
    /// The rest of the masked key, if the mask has bits there.
    extra: Option<Box<[u64; REST]>>,
    token: u64,
    hash: u64,
    class: u32,
}

const REST: usize = KEY_BYTES / 8 - 6;

/// [`Hot::quick`] of a megaflow that does more than one output.
pub const NOT_QUICK: u32 = u16::MAX as u32;

/// Form and port of a program.
fn form_of(p: &Program) -> (u8, u16) {
    match (&p.shape, &p.rewrite) {
        (Shape::Output(port), _) if *port < NOT_QUICK => (form::OUTPUT, *port as u16),
        (_, Some(_)) => (form::REWRITE, u16::MAX),
        _ => (form::PROGRAM, u16::MAX),
    }
}

/// In_ports are our own small numbers, masks are few (rounding sees to that): no need to defend the map.
#[derive(Default)]
struct OwnNumber(u64);
impl Hasher for OwnNumber {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|w| self.write_u64(u64::from_ne_bytes(*w)));
        rest.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        let p = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = p ^ (p >> 32);
    }
}
type OwnMap<K, V> = HashMap<K, V, BuildHasherDefault<OwnNumber>>;

impl Megaflow {
    /// Starts fetching what is to be done.
    #[inline(always)]
    pub fn prefetch_program(&self) {
        prefetch(Arc::as_ptr(&self.program));
    }
    /// What to do.
    #[inline]
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
    /// The handler's name.
    #[inline]
    pub fn token(&self) -> u64 {
        self.token
    }
    /// The handler's class.
    #[inline]
    pub fn class(&self) -> u32 {
        self.class
    }
}

struct MaskSlot {
    mask: FlowMask,
    lanes: u8,
    more: bool,
    users: u32,
}

impl MaskSlot {
    fn new(mask: &FlowMask, users: u32) -> Self {
        Self { mask: *mask, lanes: mask.lanes_used(), more: mask.0[6..].iter().any(|w| *w != 0), users }
    }
}

/// The rest of [`CHUNK`] slots.
type Chunk = HugeSlice<Option<Megaflow>>;

fn new_chunk() -> Chunk {
    HugeSlice::new_with(CHUNK, || None)
}

/// All slots' megaflows: what a hit reads apart from the rest. Memory is taken a chunk at a time.
struct Slots {
    hot: HugeSlice<Hot>,
    rest: Vec<Chunk>,
    /// By number; 0 is nobody's.
    masks: Vec<MaskSlot>,
}

impl Slots {
    /// The slots' first lines. (As an array: an index cut to its size needs no check.)
    #[inline(always)]
    fn hot(&self) -> &[Hot; MAX_SLOTS] {
        self.hot.first_chunk().expect("it was made so large")
    }

    #[inline(always)]
    fn rest(&self, id: FlowId) -> Option<&Megaflow> {
        self.rest.get((id >> CHUNK_BITS) as usize)?.get(id as usize & (CHUNK - 1))?.as_ref()
    }

    #[inline(always)]
    fn rest_mut(&mut self, id: FlowId) -> Option<&mut Option<Megaflow>> {
        self.rest.get_mut((id >> CHUNK_BITS) as usize)?.get_mut(id as usize & (CHUNK - 1))
    }

    #[inline(always)]
    fn prefetch(&self, id: FlowId) {
        prefetch(&self.hot()[id as usize & LAST_SLOT]);
    }

    /// Whether megaflow `id` lives and matches.
    #[inline(always)]
    fn holds<K: Kernel>(&self, id: FlowId, key: &FlowKey) -> bool {
        let h = &self.hot()[id as usize & LAST_SLOT];
        h.mask() != 0 && self.differ::<K>(h, key) == 0 && (!h.more() || self.rest_equal(id, key))
    }

    /// Not zero if the first six words differ. (A slot without a megaflow differs from every key of an in_port other than 0.)
    #[inline(always)]
    fn differ<K: Kernel>(&self, h: &Hot, key: &FlowKey) -> u32 {
        match self.masks.get(h.mask() as usize) {
            Some(m) => K::six_differ(key.lane(0), m.mask.lane(0), &h.0),
            None => 1,
        }
    }

    /// Whether the key agrees on all words behind the first six.
    #[inline(never)]
    fn rest_equal(&self, id: FlowId, key: &FlowKey) -> bool {
        let h = &self.hot()[id as usize & LAST_SLOT];
        let (Some(m), Some(f)) = (self.masks.get(h.mask() as usize), self.rest(id)) else { return false };
        f.extra.as_ref().is_some_and(|x| {
            x.iter().zip(&key.0[6..]).zip(&m.mask.0[6..]).fold(0, |d, ((x, k), m)| d | ((k & m) ^ x)) == 0
        })
    }
}

/// Never in use, so that [`NONE`] leads to no megaflow.
const LAST_SLOT: usize = MAX_SLOTS - 1;

/// Ids by tag, in lines of eight; an overfull line goes on in the next.
pub(crate) struct TagTable {
    lines: HugeSlice<Bucket>,
    /// Places of `lines` that are taken or were.
    used: usize,
    /// Ids in all.
    live: usize,
    /// What `lines` took the place of: its ids move over a few lines at a time, so that no packet waits for a hundred thousand of them.
    old: HugeSlice<Bucket>,
    /// Lines of `old` that have moved.
    moved: usize,
}

/// The first id in these lines with this hash's tag whose megaflow matches.
#[inline(always)]
fn find_in<K: Kernel>(lines: &[Bucket], hash: u64, flows: &Slots, key: &FlowKey) -> Option<u32> {
    let tag = tag_of(hash);
    let mut at = line_of(tag, lines.len());
    for _ in 0..lines.len() {
        let b = &lines[at];
        let mut m = K::find(b, tag);
        while m != 0 {
            let id = b.ids[(m.trailing_zeros() & 7) as usize];
            if flows.holds::<K>(id, key) {
                return Some(id);
            }
            m &= m - 1;
        }
        if b.find(0) != 0 {
            return None;
        }
        at = (at + 1) & (lines.len() - 1);
    }
    None
}

/// Takes an id out of these lines: whether its place is free again (not only empty), if it was there.
fn remove_in(lines: &mut [Bucket], hash: u64, id: u32) -> Option<bool> {
    let mut at = line_of(tag_of(hash), lines.len());
    for _ in 0..lines.len() {
        let b = &mut lines[at];
        let full = b.find(0) == 0;
        for i in 0..8 {
            if b.tags[i] > 1 && b.ids[i] == id {
                // Only a full line can have sent others on: a gap elsewhere is simply free again.
                b.tags[i] = u32::from(full);
                return Some(!full);
            }
        }
        if !full {
            return None;
        }
        at = (at + 1) & (lines.len() - 1);
    }
    None
}

impl TagTable {
    /// Lines that move with each insertion: enough to be done long before there is too little room again.
    const MOVES: usize = 2;
    /// Lines that move at once when a table is small.
    const AT_ONCE: usize = 64;

    fn new() -> Self {
        Self { lines: HugeSlice::zeroed(1), used: 0, live: 0, old: HugeSlice::zeroed(0), moved: 0 }
    }
    #[inline(always)]
    fn line(&self, hash: u64) -> usize {
        line_of(tag_of(hash), self.lines.len())
    }
    /// Ids may stand elsewhere than their line says.
    #[inline(always)]
    fn is_moving(&self) -> bool {
        !self.old.is_empty()
    }
    /// The first id with this hash's tag whose megaflow matches.
    #[inline(always)]
    fn find<K: Kernel>(&self, hash: u64, flows: &Slots, key: &FlowKey) -> Option<u32> {
        let found = find_in::<K>(&self.lines, hash, flows, key);
        if found.is_none() && self.is_moving() {
            return find_in::<K>(&self.old, hash, flows, key);
        }
        found
    }
    fn insert(&mut self, hash: u64, id: u32) {
        if !self.is_moving() && (self.used + 1) * 2 > self.lines.len() * 8 {
            let lines = (self.live + 1).div_ceil(2).next_power_of_two().max(self.lines.len());
            self.old = std::mem::replace(&mut self.lines, HugeSlice::zeroed(lines));
            (self.used, self.moved) = (0, 0);
        }
        if self.is_moving() {
            self.move_some();
        }
        self.put(tag_of(hash), id);
        self.live += 1;
    }
    fn move_some(&mut self) {
        let some = if self.old.len() <= Self::AT_ONCE { Self::AT_ONCE } else { Self::MOVES };
        let end = (self.moved + some).min(self.old.len());
        for at in self.moved..end {
            for i in 0..8 {
                let (tag, id) = (self.old[at].tags[i], self.old[at].ids[i]);
                if tag > 1 {
                    self.old[at].tags[i] = 1;
                    self.put(tag, id);
                }
            }
        }
        self.moved = end;
        if end == self.old.len() {
            self.old = HugeSlice::zeroed(0);
        }
    }
    fn put(&mut self, tag: u32, id: u32) {
        let mut at = line_of(tag, self.lines.len());
        loop {
            let b = &mut self.lines[at];
            if let Some(i) = b.tags.iter().position(|t| *t <= 1) {
                self.used += usize::from(b.tags[i] == 0);
                b.tags[i] = tag;
                b.ids[i] = id;
                return;
            }
            at = (at + 1) & (self.lines.len() - 1);
        }
    }
    fn remove(&mut self, hash: u64, id: u32) {
        if let Some(free) = remove_in(&mut self.lines, hash, id) {
            self.used -= usize::from(free);
        } else if remove_in(&mut self.old, hash, id).is_none() {
            return;
        }
        self.live -= 1;
    }
}

struct Subtable {
    mask: u32,
    flows: u32,
    hits: u32,
    table: TagTable,
}

struct PortTable {
    /// A megaflow that all packets of some batch matched.
    last: FlowId,
    /// No megaflow looks at more than in_port and recirc_id.
    blind: bool,
    admission: Admission,
    union_lanes: u8,
    walks: u32,
    flows: u32,
    subtables: Vec<Subtable>,
    union: FlowMask,
}

impl PortTable {
    fn new() -> Self {
        Self {
            last: NONE,
            blind: false,
            admission: Admission::default(),
            union_lanes: 0,
            walks: 0,
            flows: 0,
            subtables: Vec::new(),
            union: FlowMask::ZERO,
        }
    }
    /// Where the subtable of a mask is.
    #[inline]
    fn subtable(&self, mask: u32) -> Option<usize> {
        self.subtables.iter().position(|s| s.mask == mask)
    }
    fn unite(&mut self, masks: &[MaskSlot]) {
        let mut u = FlowMask::ZERO;
        for s in &self.subtables {
            u.or_assign(&masks[s.mask as usize].mask);
        }
        self.set_union(u);
    }
    fn set_union(&mut self, u: FlowMask) {
        self.union_lanes = u.lanes_used();
        self.blind = u.0[1..].iter().all(|w| *w == 0);
        self.union = u;
    }
}

/// How a batch's lookups went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// Found by the cache.
    pub emc_hits: u32,
    /// Found by walking subtables.
    pub walk_hits: u32,
    /// Subtables probed for those found by walking.
    pub probed: u32,
    /// All were found, and are the same one.
    pub one: bool,
    /// What they do: joined [`form`]s, if all were found by the cache.
    pub forms: u8,
}

/// What came of an insertion.
pub struct Inserted {
    /// The new megaflow; [`NONE`]: it was refused.
    pub id: FlowId,
    /// The megaflow that had to go.
    pub ended: Option<Ended>,
}

/// A megaflow unused for so long is put out at once when room is needed.
const STALE_MS: u64 = 500;
/// The next chunk is asked for when so many slots are left.
const AHEAD: u32 = CHUNK as u32 / 4;
/// Megaflows looked at for one that may be put out.
const CANDIDATES: u32 = 32;

/// A worker's megaflows and their cache.
pub struct FlowTable {
    flows: Slots,
    /// Of megaflows of that [`form`], by slot.
    rewrites: HugeSlice<Rewrite>,
    /// How many there are.
    rewriters: usize,
    /// Slots below `top` that have no megaflow any more: a stack, the first `free_len` of it. (No vector: that would move when it grows.)
    free: HugeSlice<u32>,
    free_len: usize,
    helper: Option<Helper>,
    /// The next chunk, if the helper was asked for it.
    next: Option<Receiver<Chunk>>,
    #[cfg(test)]
    made_in_place: u32,
    mask_ids: OwnMap<FlowMask, u32>,
    /// Of the megaflow installed last.
    last_mask: u32,
    ports: OwnMap<u32, Box<PortTable>>,
    len: usize,
    stats: Arc<StatsTable>,
    emc: Emc,
    secret: Secret,
    isa: Isa,
    hand: u32,
    /// Above the highest slot ever used.
    top: u32,
    /// Grows with every removal: ids looked up before may then be stale.
    pub generation: u64,
    /// Most megaflows.
    pub limit: usize,
}

impl FlowTable {
    /// An empty table. `secret` keeps others from aiming at buckets.
    pub fn new(limit: usize, emc: EmcSize, secret: [u64; 4]) -> Self {
        let mut nobodys = FlowMask::ZERO;
        nobodys.set(off::IN_PORT, [0xff; 4]);
        Self {
            flows: Slots {
                hot: HugeSlice::zeroed(MAX_SLOTS),
                rest: Vec::new(),
                masks: vec![MaskSlot::new(&nobodys, 1)],
            },
            rewrites: HugeSlice::zeroed(MAX_SLOTS),
            rewriters: 0,
            free: HugeSlice::zeroed(MAX_SLOTS),
            free_len: 0,
            helper: None,
            next: None,
            #[cfg(test)]
            made_in_place: 0,
            mask_ids: OwnMap::default(),
            last_mask: 0,
            ports: OwnMap::default(),
            len: 0,
            stats: Arc::default(),
            emc: Emc::new(emc),
            secret: Secret::new(secret),
            isa: crate::isa::current(),
            hand: 0,
            top: 0,
            generation: 0,
            limit,
        }
    }

    /// Takes memory for the first megaflows now, and lets `helper` do so for more ahead of need, so that no packet waits for it. To be called on the worker's
    /// thread: its memory is to be of its NUMA node.
    pub(crate) fn prepare(&mut self, helper: Helper) {
        self.flows.rest.reserve(MAX_SLOTS / CHUNK);
        if self.flows.rest.is_empty() {
            self.parts(0).iter().for_each(Part::populate);
            self.flows.rest.push(new_chunk());
        }
        self.helper = Some(helper);
    }

    /// The memory of a chunk in all that goes by slot.
    fn parts(&self, chunk: usize) -> Vec<Part> {
        let slots = chunk * CHUNK..(chunk + 1) * CHUNK;
        [
            self.flows.hot.part(slots.clone()),
            self.rewrites.part(slots.clone()),
            self.free.part(slots.clone()),
            self.stats.part(slots),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Megaflows in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No megaflow in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counters of all slots.
    pub fn stats_table(&self) -> &Arc<StatsTable> {
        &self.stats
    }

    /// The same, by slot.
    #[inline(always)]
    pub(crate) fn all_stats(&self) -> &[MegaflowStats; MAX_SLOTS] {
        self.stats.all()
    }

    /// Counters of a megaflow.
    #[inline(always)]
    pub(crate) fn stats(&self, id: FlowId) -> &MegaflowStats {
        self.stats.slot(id)
    }

    /// Megaflows by in_port, for people.
    pub fn by_port(&self) -> Vec<(u32, u32, u32)> {
        self.ports.iter().map(|(p, t)| (*p, t.flows, t.subtables.len() as u32)).collect()
    }

    /// Whether a port has so many masks that new ones are rounded.
    pub fn is_crowded(&self, in_port: u32) -> bool {
        self.ports.get(&in_port).is_some_and(|p| p.subtables.len() >= ROUND_ABOVE)
    }

    /// Subtables of all ports.
    pub fn subtables(&self) -> usize {
        self.ports.values().map(|p| p.subtables.len()).sum()
    }

    /// Slots in use or free, for [`FlowTable::slot`].
    pub fn slots(&self) -> u32 {
        (self.flows.rest.len() * CHUNK) as u32
    }

    /// The megaflow in a slot.
    #[inline(always)]
    pub fn slot(&self, id: FlowId) -> Option<&Megaflow> {
        self.flows.rest(id)
    }

    /// What hits read of megaflows, by slot.
    #[inline(always)]
    pub fn hot(&self) -> &[Hot; MAX_SLOTS] {
        self.flows.hot()
    }

    /// How packets of megaflows of that [`form`] are rewritten, by slot.
    #[inline(always)]
    pub fn rewrites(&self) -> &[Rewrite; MAX_SLOTS] {
        self.rewrites.first_chunk().expect("it was made so large")
    }

    /// Changes the size of the exact-match cache.
    pub fn set_emc(&mut self, size: EmcSize) {
        self.emc.resize(size);
    }

    /// The exact-match cache.
    pub fn emc(&self) -> &Emc {
        &self.emc
    }

    /// Ports that do without the exact-match cache for now.
    pub fn resting(&self) -> usize {
        self.ports.values().filter(|p| !p.admission.asks()).count()
    }

    /// A live megaflow's masked key.
    pub fn key_of(&self, id: FlowId) -> FlowKey {
        let mut k = FlowKey::ZERO;
        k.0[..6].copy_from_slice(&self.hot()[id as usize & LAST_SLOT].0[..6]);
        if let Some(x) = self.slot(id).and_then(|f| f.extra.as_ref()) {
            k.0[6..].copy_from_slice(&**x);
        }
        k
    }

    /// A live megaflow's mask.
    pub fn mask_of(&self, id: FlowId) -> FlowMask {
        let mask = self.hot()[id as usize & LAST_SLOT].mask();
        self.flows.masks.get(mask as usize).map_or(FlowMask::ZERO, |m| m.mask)
    }

    /// Whether megaflow `id` lives and matches.
    pub fn verify(&self, id: FlowId, key: &FlowKey) -> bool {
        self.flows.holds::<Scalar>(id, key)
    }

    /// The megaflow that every packet of `in_port` matches unseen, if nothing of a packet matters there.
    #[inline]
    pub fn blind(&self, in_port: u32) -> Option<(FlowId, &Hot)> {
        let port = self.ports.get(&in_port).filter(|p| p.blind)?;
        let mut key = FlowKey::ZERO;
        key.set(off::IN_PORT, in_port.to_be_bytes());
        let h = &self.hot()[port.last as usize & LAST_SLOT];
        (h.mask() != 0 && !h.more() && h.0[..6] == key.0[..6]).then_some((port.last, h))
    }

    fn hash(&self, key: &FlowKey, mask: &FlowMask, lanes: u8) -> u64 {
        match self.isa {
            // SAFETY: the ISA was chosen after the machine was asked for its features.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Isa::Avx512 => unsafe { hash_avx512(key, mask, lanes, &self.secret) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Isa::Avx2 => unsafe { hash_avx2(key, mask, lanes, &self.secret) },
            _ => Scalar::hash(key, mask, lanes, &self.secret),
        }
    }

    /// Looks up a batch of keys of one in_port: `out[i]` for `keys[i]`, [`NONE`] if nothing matches.
    pub fn lookup_batch(
        &mut self,
        in_port: u32,
        keys: &[FlowKey],
        out: &mut [FlowId; BATCH_SIZE],
    ) -> LookupCounts {
        self.lookup_seen(in_port, keys, &Seen::UNKNOWN, out)
    }

    /// The same, knowing what the keys have in common.
    #[inline]
    pub fn lookup_seen(
        &mut self,
        in_port: u32,
        keys: &[FlowKey],
        seen: &Seen,
        out: &mut [FlowId; BATCH_SIZE],
    ) -> LookupCounts {
        match self.isa {
            // SAFETY: the ISA was chosen after the machine was asked for its features.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Isa::Avx512 => unsafe { lookup_avx512(self, in_port, keys, seen, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            Isa::Avx2 => unsafe { lookup_avx2(self, in_port, keys, seen, out) },
            _ => self.lookup_with::<Scalar>(in_port, keys, seen, out),
        }
    }

    #[inline(always)]
    fn lookup_with<K: Kernel>(
        &mut self,
        in_port: u32,
        keys: &[FlowKey],
        seen: &Seen,
        out: &mut [FlowId; BATCH_SIZE],
    ) -> LookupCounts {
        let n = keys.len().min(BATCH_SIZE);
        let mut counts = LookupCounts::default();
        let Some(port) = self.ports.get_mut(&in_port).filter(|_| n > 0) else {
            out[..n].fill(NONE);
            return counts;
        };
        let mut tags = [0u32; BATCH_SIZE];
        if port.union_lanes == 1 && seen.agree(port.union.lane(0)) {
            // Nothing that any megaflow of the port looks at differs: one lookup is all, and often it is that of the last batch.
            // (No closures: they would not have this function's instruction set.)
            let mut found = None;
            if self.flows.holds::<K>(port.last, &keys[0]) {
                found = Some(port.last);
            } else {
                let id = self.emc.find::<K>(tag_of(K::hash(&keys[0], &port.union, 1, &self.secret)));
                if self.flows.holds::<K>(id, &keys[0]) {
                    found = Some(id);
                }
            }
            if let Some(id) = found {
                port.last = id;
                out[..n].fill(id);
                let forms = self.hot()[id as usize & LAST_SLOT].form();
                return LookupCounts { emc_hits: n as u32, one: true, forms, ..counts };
            }
        }
        let mut pending = u32::MAX >> (BATCH_SIZE - n);
        // (Port 0 is nobody's; there keys may look like those of free slots.)
        if port.admission.asks() && in_port != 0 {
            if port.union_lanes == 1 {
                for i in 0..n {
                    tags[i] = tag_of(K::hash(&keys[i], &port.union, 1, &self.secret));
                    self.emc.prefetch(tags[i]);
                }
            } else {
                for i in 0..n {
                    tags[i] = tag_of(K::hash(&keys[i], &port.union, port.union_lanes, &self.secret));
                    self.emc.prefetch(tags[i]);
                }
            }
            let hot = self.flows.hot();
            for i in 0..n {
                let id = self.emc.find::<K>(tags[i]);
                out[i] = id;
                prefetch(&hot[id as usize & LAST_SLOT]);
            }
            let (stats, rewrites) = (self.stats.all(), self.rewrites.first_chunk::<MAX_SLOTS>());
            let rewrites = rewrites.filter(|_| self.rewriters > 0);
            let (mut differ, mut joined) = (0, 0);
            for i in 0..n {
                let at = out[i] as usize & LAST_SLOT;
                differ |= self.flows.differ::<K>(&hot[at], &keys[i]);
                joined |= hot[at].0[6];
                prefetch(&stats[at]);
                if let Some(r) = rewrites {
                    prefetch(&r[at]);
                }
            }
            let all = Hot([0, 0, 0, 0, 0, 0, joined, 0]);
            counts.forms = all.form();
            pending = 0;
            if differ != 0 || all.more() {
                for i in 0..n {
                    if !self.flows.holds::<K>(out[i], &keys[i]) {
                        out[i] = NONE;
                        pending |= 1 << i;
                    }
                }
            }
        } else {
            out[..n].fill(NONE);
        }
        counts.emc_hits = n as u32 - pending.count_ones();
        if pending != 0 {
            self.walk_with::<K>(in_port, keys, &tags, pending, out, &mut counts);
        } else {
            port.admission.note(n as u32, n as u32, &self.emc);
        }
        counts
    }

    #[inline(always)]
    fn walk_with<K: Kernel>(
        &mut self,
        in_port: u32,
        keys: &[FlowKey],
        tags: &[u32; BATCH_SIZE],
        mut pending: u32,
        out: &mut [FlowId; BATCH_SIZE],
        counts: &mut LookupCounts,
    ) {
        let Some(mut port) = self.ports.remove(&in_port) else { return };
        let mut probed = 0;
        let mut hashes = [0u64; BATCH_SIZE];
        let asks = port.admission.asks() && in_port != 0;
        for s in &mut port.subtables {
            probed += 1;
            let m = &self.flows.masks[s.mask as usize];
            let mut todo = pending;
            while todo != 0 {
                let i = (todo.trailing_zeros() & 31) as usize;
                todo &= todo - 1;
                hashes[i] = K::hash(&keys[i], &m.mask, m.lanes, &self.secret);
                prefetch(&s.table.lines[s.table.line(hashes[i])]);
            }
            let (mut todo, mut maybe, moving) = (pending, 0u32, s.table.is_moving());
            while todo != 0 {
                let i = (todo.trailing_zeros() & 31) as usize;
                todo &= todo - 1;
                let b = &s.table.lines[s.table.line(hashes[i])];
                let found = K::find(b, tag_of(hashes[i]));
                if found != 0 {
                    self.flows.prefetch(b.ids[(found.trailing_zeros() & 7) as usize]);
                    maybe |= 1 << i;
                } else if moving || K::find(b, 0) == 0 {
                    maybe |= 1 << i; // overfull: it may stand in the next line; moving: in an old one
                }
            }
            while maybe != 0 {
                let i = (maybe.trailing_zeros() & 31) as usize;
                maybe &= maybe - 1;
                if let Some(id) = s.table.find::<K>(hashes[i], &self.flows, &keys[i]) {
                    out[i] = id;
                    prefetch(self.stats.slot(id));
                    counts.forms = form::PROGRAM;
                    pending &= !(1 << i);
                    s.hits = s.hits.saturating_add(1);
                    counts.walk_hits += 1;
                    counts.probed += probed;
                    if asks {
                        self.emc.insert(tags[i], id);
                    }
                }
            }
            if pending == 0 {
                break;
            }
        }
        port.admission.note(counts.emc_hits + counts.walk_hits, counts.emc_hits, &self.emc);
        port.walks = port.walks.wrapping_add(1);
        if port.walks % 1024 == 0 {
            port.subtables.sort_by_key(|s| std::cmp::Reverse(s.hits));
            port.subtables.iter_mut().for_each(|s| s.hits /= 2);
        }
        self.ports.insert(in_port, port);
    }

    /// Looks up one key.
    pub fn lookup_one(&mut self, key: &FlowKey) -> FlowId {
        let mut out = [NONE; BATCH_SIZE];
        self.lookup_batch(key.in_port(), std::slice::from_ref(key), &mut out);
        out[0]
    }

    /// Installs a megaflow for `key` under `mask`. One with the same mask and masked key is replaced; if the table is full see the module.
    pub fn insert(
        &mut self,
        key: &FlowKey,
        mask: &FlowMask,
        program: Arc<Program>,
        token: u64,
        now_ms: u64,
    ) -> Inserted {
        let in_port = key.in_port();
        let mut mask = *mask;
        mask.bytes_mut()[off::IN_PORT..off::RECIRC_ID + 4].fill(0xff);
        let mut mask_id = self.known_mask(&mask);
        if let Some(p) = self.ports.get(&in_port).filter(|p| p.subtables.len() >= ROUND_ABOVE) {
            if mask_id.is_none_or(|id| p.subtable(id).is_none()) {
                round_up(&mut mask);
                mask_id = self.known_mask(&mask);
            }
        }
        let masked = key.masked(&mask);
        let lanes = mask.lanes_used();
        let h = self.hash(&masked, &mask, lanes);
        let twin = mask_id.and_then(|mask_id| {
            let p = self.ports.get(&in_port)?;
            let s = &p.subtables[p.subtable(mask_id)?];
            s.table.find::<Scalar>(h, &self.flows, &masked)
        });
        let mut ended = None;
        if let Some(id) = twin {
            ended = self.end(id, false);
        } else if self.len >= self.limit {
            match self.victim(in_port, now_ms) {
                Some(id) => ended = self.end(id, true),
                None => return Inserted { id: NONE, ended },
            }
        }
        // Removals may have freed the mask.
        let mask_id = self.mask_id(&mask);
        let Some(id) = self.free_slot() else {
            return Inserted { id: NONE, ended };
        };
        let m = &mut self.flows.masks[mask_id as usize];
        m.users += 1;
        let extra = m.more.then(|| Box::new(std::array::from_fn(|i| masked.0[6 + i])));
        self.flows.hot[id as usize & LAST_SLOT] = Hot::new(&masked, mask_id, extra.is_some());
        self.set_form(id, &program);
        if let Some(s) = self.flows.rest_mut(id) {
            *s = Some(Megaflow { program, extra, token, hash: h, class: 0 });
        }
        self.top = self.top.max(id + 1);
        self.stats.slot(id).begin(token);
        self.len += 1;
        let port = self.ports.entry(in_port).or_insert_with(|| Box::new(PortTable::new()));
        let at = match port.subtable(mask_id) {
            Some(at) => at,
            None => {
                port.subtables.push(Subtable { mask: mask_id, flows: 0, hits: 0, table: TagTable::new() });
                let mut u = port.union;
                u.or_assign(&mask);
                port.set_union(u);
                port.subtables.len() - 1
            }
        };
        port.flows += 1;
        let s = &mut port.subtables[at];
        s.flows += 1;
        s.table.insert(h, id);
        Inserted { id, ended }
    }

    /// A slot without a megaflow: one that had one, else the first that never had.
    fn free_slot(&mut self) -> Option<FlowId> {
        if self.free_len > 0 {
            self.free_len -= 1;
            return Some(self.free[self.free_len]);
        }
        if self.top == self.slots() {
            self.more_slots()?;
        }
        if self.top + AHEAD >= self.slots() {
            self.ask_ahead();
        }
        Some(self.top)
    }

    /// One more chunk: the one that the helper has made. Where there is none, it is made here.
    fn more_slots(&mut self) -> Option<()> {
        if self.slots() as usize + CHUNK >= MAX_SLOTS {
            return None;
        }
        // A chunk that comes too late goes with the channel: memory was taken for slots that are in use then.
        let chunk = self.next.take().and_then(|next| next.try_recv().ok()).unwrap_or_else(|| {
            #[cfg(test)]
            (self.made_in_place += 1);
            new_chunk()
        });
        self.flows.rest.push(chunk);
        Some(())
    }

    /// Asks for the next chunk, once, if there may be so many megaflows.
    #[cold]
    fn ask_ahead(&mut self) {
        let slots = self.slots() as usize;
        if self.next.is_some() || self.limit <= slots || slots + CHUNK >= MAX_SLOTS {
            return;
        }
        let Some(helper) = &self.helper else { return };
        let (made, next) = sync_channel(1);
        let (parts, node) = (self.parts(slots / CHUNK), crate::sys::numa_node());
        helper.run(move || {
            crate::sys::prefer_memory_of(node);
            parts.iter().for_each(Part::populate);
            // Nobody waits for it if the worker was faster or is gone.
            let _ = made.try_send(new_chunk());
        });
        self.next = Some(next);
    }

    /// A mask's number, if it has one. New flows of a storm mostly have the mask of the last: that is not hashed.
    fn known_mask(&self, mask: &FlowMask) -> Option<u32> {
        match self.flows.masks.get(self.last_mask as usize) {
            Some(m) if m.users > 0 && m.mask == *mask => Some(self.last_mask),
            _ => self.mask_ids.get(mask).copied(),
        }
    }

    fn mask_id(&mut self, mask: &FlowMask) -> u32 {
        if let Some(id) = self.known_mask(mask) {
            self.last_mask = id;
            return id;
        }
        let slot = MaskSlot::new(mask, 0);
        let masks = &mut self.flows.masks;
        let id = match masks.iter().position(|m| m.users == 0) {
            Some(free) => {
                let old = std::mem::replace(&mut masks[free], slot);
                self.mask_ids.remove(&old.mask);
                free as u32
            }
            None => {
                masks.push(slot);
                (masks.len() - 1) as u32
            }
        };
        self.mask_ids.insert(*mask, id);
        self.last_mask = id;
        id
    }

    /// Puts one out if there are more than the (lowered) limit.
    pub fn shrink(&mut self, now_ms: u64) -> Option<Ended> {
        if self.len <= self.limit {
            return None;
        }
        // Port 0 is nobody's: it has no share to defend.
        let id = self.victim(0, now_ms)?;
        self.end(id, true)
    }

    /// The megaflow that makes room for a new one of this port; `None` if none may be put out for it.
    fn victim(&mut self, in_port: u32, now_ms: u64) -> Option<FlowId> {
        let slots = self.top;
        let share = (self.limit / self.ports.len().max(1)) as u32;
        let has_share = self.ports.get(&in_port).is_some_and(|p| p.flows >= share);
        let mut best: Option<(bool, u64, FlowId)> = None;
        let (mut seen, mut walked) = (0, 0);
        while seen < CANDIDATES && walked < slots.min(4096) {
            walked += 1;
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            let h = &self.hot()[self.hand as usize & LAST_SLOT];
            if h.mask() == 0 {
                continue;
            }
            seen += 1;
            let port = h.in_port();
            let others = self.ports.get(&port).is_none_or(|p| p.flows <= share) && port != in_port;
            if others && has_share {
                continue;
            }
            let used = self.stats.slot(self.hand).used_ms();
            if best.is_none_or(|(o, u, _)| (others, used) < (o, u)) {
                best = Some((others, used, self.hand));
            }
            if !others && used.saturating_add(STALE_MS) < now_ms {
                break;
            }
        }
        self.prefetch_victims();
        best.map(|b| b.2)
    }

    /// Starts fetching what the next evictions will touch: each costs four lines that no cache has.
    fn prefetch_victims(&self) {
        let ahead = |n: u32| if self.hand + n < self.top { self.hand + n } else { self.hand + n - self.top };
        if self.top < 64 {
            return;
        }
        self.flows.prefetch(ahead(6));
        prefetch(self.stats.slot(ahead(6)));
        if let Some(f) = self.flows.rest.get((ahead(6) >> CHUNK_BITS) as usize) {
            prefetch(&f[ahead(6) as usize & (CHUNK - 1)]);
        }
        let Some(f) = self.slot(ahead(2)) else { return };
        let h = &self.hot()[ahead(2) as usize & LAST_SLOT];
        if let Some(p) = self.ports.get(&h.in_port()) {
            if let Some(at) = p.subtable(h.mask()) {
                let t = &p.subtables[at].table;
                prefetch(&t.lines[t.line(f.hash)]);
            }
        }
    }

    /// Changes what a megaflow does.
    pub fn update(&mut self, id: FlowId, token: u64, program: Arc<Program>) -> bool {
        match self.flows.rest_mut(id) {
            Some(Some(f)) if f.token == token => {
                f.program = program.clone();
                self.set_form(id, &program);
                true
            }
            _ => false,
        }
    }

    /// Writes what hits read of a program.
    fn set_form(&mut self, id: FlowId, program: &Program) {
        let h = &mut self.flows.hot[id as usize & LAST_SLOT];
        self.rewriters -= usize::from(h.form() == form::REWRITE);
        let (form, port) = form_of(program);
        h.set_form(form, port);
        if let (form::REWRITE, Some(r)) = (form, &program.rewrite) {
            self.rewrites[id as usize & LAST_SLOT] = *r;
            self.rewriters += 1;
        }
    }

    /// Notes the class of the megaflow of a slot.
    pub fn set_class(&mut self, id: FlowId, class: u32) {
        if let Some(Some(f)) = self.flows.rest_mut(id) {
            f.class = class;
        }
    }

    /// Removes a megaflow, if the slot still has the one of this token.
    pub fn remove(&mut self, id: FlowId, token: u64) -> Option<Ended> {
        self.slot(id).filter(|f| f.token == token)?;
        self.end(id, false)
    }

    /// Ends the megaflow of a slot.
    pub fn end(&mut self, id: FlowId, evicted: bool) -> Option<Ended> {
        let f = self.flows.rest_mut(id).and_then(Option::take)?;
        let h = std::mem::replace(&mut self.flows.hot[id as usize & LAST_SLOT], Hot::NOTHING);
        let (mask, in_port) = (h.mask(), h.in_port());
        self.rewriters -= usize::from(h.form() == form::REWRITE);
        self.generation += 1;
        self.len -= 1;
        self.free[self.free_len] = id;
        self.free_len += 1;
        self.flows.masks[mask as usize].users -= 1;
        if let Some(p) = self.ports.get_mut(&in_port) {
            p.flows -= 1;
            if let Some(at) = p.subtable(mask) {
                let s = &mut p.subtables[at];
                s.table.remove(f.hash, id);
                s.flows -= 1;
                if s.flows == 0 {
                    p.subtables.remove(at);
                    p.unite(&self.flows.masks);
                }
            }
            if p.subtables.is_empty() {
                self.ports.remove(&in_port);
            }
        }
        Some(Ended { slot: id, token: f.token, counts: self.stats.slot(id).finish(), evicted })
    }
}

/// # Safety
/// - The machine has the features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(
    enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,vaes,aes,avx2,bmi1,bmi2,lzcnt,popcnt"
)]
unsafe fn lookup_avx512(
    t: &mut FlowTable,
    in_port: u32,
    keys: &[FlowKey],
    seen: &Seen,
    out: &mut [FlowId; BATCH_SIZE],
) -> LookupCounts {
    t.lookup_with::<simd::Avx512>(in_port, keys, seen, out)
}

/// # Safety
/// - The machine has the features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "aes,avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn lookup_avx2(
    t: &mut FlowTable,
    in_port: u32,
    keys: &[FlowKey],
    seen: &Seen,
    out: &mut [FlowId; BATCH_SIZE],
) -> LookupCounts {
    t.lookup_with::<simd::Avx2>(in_port, keys, seen, out)
}

/// # Safety
/// - The machine has the features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,vaes,aes,avx2")]
unsafe fn hash_avx512(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64 {
    simd::Avx512::hash(key, mask, lanes, secret)
}

/// # Safety
/// - The machine has the features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "aes,avx2")]
unsafe fn hash_avx2(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64 {
    simd::Avx2::hash(key, mask, lanes, secret)
}

/// Rounds a mask up: addresses to coarse prefixes, everything else to whole fields. A mask that is rounded already stays.
pub fn round_up(mask: &mut FlowMask) {
    let b = mask.bytes_mut();
    let mut whole = |at: usize, n: usize| {
        if b[at..at + n].iter().any(|x| *x != 0) {
            b[at..at + n].fill(0xff);
        }
    };
    for (at, n) in [
        (off::ETH_DST, 6),
        (off::ETH_SRC, 6),
        (off::ETH_TYPE, 2),
        (off::VLAN0_TCI, 2),
        (off::TP_SRC, 2),
        (off::TP_DST, 2),
        (off::IP_PROTO, 1),
        (off::IP_TOS, 1),
        (off::IP_TTL, 1),
        (off::IP_FRAG, 1),
        (off::TCP_FLAGS, 2),
        (off::VLAN0_TPID, 2),
        (off::VLAN1_TCI, 2),
        (off::VLAN1_TPID, 2),
        (off::TUNNEL_ID, 8),
        (off::PKT_MARK, 4),
        (off::ND_TARGET, 16),
        (off::ARP_SHA, 6),
        (off::ARP_THA, 6),
        (off::IPV6_FLABEL, 4),
        (off::MPLS_LSE, 4),
        (off::MPLS_LSE + 4, 12),
        (off::IPV6_EXTHDR, 2),
        (off::PBB_UCA, 1),
        (off::PBB_ISID, 4),
        (off::DP_HASH, 40),
    ] {
        whole(at, n);
    }
    // A prefix of n bytes is rounded up to the next stop.
    let mut prefix = |at: usize, stops: &[usize]| {
        let len = *stops.last().unwrap_or(&0);
        if let Some(last) = b[at..at + len].iter().rposition(|x| *x != 0) {
            let stop = stops.iter().copied().find(|s| *s > last).unwrap_or(len);
            b[at..at + stop].fill(0xff);
        }
    };
    prefix(off::IPV4_SRC, &[2, 3, 4]);
    prefix(off::IPV4_DST, &[2, 3, 4]);
    prefix(off::IPV6_SRC, &[4, 8, 16]);
    prefix(off::IPV6_DST, &[4, 8, 16]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DpAction, PortId};
    use quickcheck::{Arbitrary, Gen};

    fn program() -> Arc<Program> {
        Arc::new(Program::new(Vec::new(), 0))
    }

    /// Of every form, and of port 0, to which a key of zeros belongs: it looks like a free slot's.
    fn some_program(g: &mut Gen) -> Arc<Program> {
        let out = DpAction::Output(PortId(u32::arbitrary(g) % 4));
        Arc::new(Program::new(
            match u8::arbitrary(g) % 4 {
                0 => vec![],
                1 => vec![DpAction::DecNwTtl, out],
                2 => vec![out.clone(), out],
                _ => vec![out],
            },
            0,
        ))
    }

    /// What hits read is what the program says.
    fn agrees(t: &FlowTable, id: FlowId, p: &Program) {
        let h = &t.hot()[id as usize];
        match p.actions.as_slice() {
            [DpAction::Output(port)] => assert_eq!((h.form(), h.quick()), (form::OUTPUT, port.0)),
            [DpAction::DecNwTtl, DpAction::Output(port)] => {
                assert_eq!((h.form(), h.quick()), (form::REWRITE, NOT_QUICK));
                assert_eq!(
                    (t.rewrites()[id as usize].port, Some(t.rewrites()[id as usize])),
                    (port.0, p.rewrite)
                );
            }
            _ => assert_eq!((h.form(), h.quick()), (form::PROGRAM, NOT_QUICK)),
        }
    }

    fn small_key(g: &mut Gen) -> FlowKey {
        let mut k = FlowKey::ZERO;
        k.set(off::IN_PORT, (u32::arbitrary(g) % 4).to_be_bytes());
        for (at, m) in [
            (off::IPV4_SRC + 3, 7u8),
            (off::TP_DST + 1, 3),
            (off::IPV6_DST, 3),
            (off::MPLS_LSE, 1),
            (off::IP_PROTO, 1),
        ] {
            k.set_byte(at, u8::arbitrary(g) & m);
        }
        k
    }

    fn some_mask(g: &mut Gen) -> FlowMask {
        let mut m = FlowMask::ZERO;
        m.bytes_mut()[..8].fill(0xff);
        for at in [off::IPV4_SRC + 3, off::TP_DST + 1, off::IPV6_DST, off::MPLS_LSE, off::IP_PROTO] {
            if bool::arbitrary(g) {
                m.set_byte(at, *g.choose(&[0xff, 1, 3]).unwrap());
            }
        }
        m
    }

    /// Any megaflow that matches is right: the answer is checked against the linear reference's set of matches.
    #[test]
    fn equals_the_linear_reference_under_random_changes() {
        let mut g = Gen::new(64);
        for round in 0..90 {
            let limit = if round % 4 == 0 { 20 } else { 10_000 };
            let mut t = FlowTable::new(limit, EmcSize::Fixed(64), [1, 2, 3, round]);
            t.isa = [Isa::Scalar, Isa::Avx2, Isa::Avx512][round as usize % 3].min(crate::isa::best());
            let mut r = reference::Linear::default();
            let mut at: HashMap<u64, FlowId> = HashMap::new();
            let mut programs: HashMap<u64, Arc<Program>> = HashMap::new();
            for step in 0..400u64 {
                match u8::arbitrary(&mut g) % 8 {
                    0..=3 => {
                        let (k, m) = (small_key(&mut g), some_mask(&mut g));
                        let program = some_program(&mut g);
                        programs.insert(step, program.clone());
                        let ins = t.insert(&k, &m, program, step, step);
                        if let Some(e) = ins.ended {
                            assert!(r.remove(e.token));
                            at.remove(&e.token);
                        }
                        if t.slot(ins.id).is_none() {
                            assert!(t.len() == limit, "refused only when full");
                            continue;
                        }
                        r.insert(&k, &t.mask_of(ins.id), step);
                        at.insert(step, ins.id);
                    }
                    4 => {
                        let token = u64::arbitrary(&mut g) % (step + 1);
                        let gone = at.remove(&token).and_then(|id| t.remove(id, token));
                        assert_eq!(gone.is_some(), r.remove(token));
                    }
                    5 => {
                        let token = u64::arbitrary(&mut g) % (step + 1);
                        let program = some_program(&mut g);
                        if let Some(id) = at.get(&token) {
                            programs.insert(token, program.clone());
                            assert!(t.update(*id, token, program.clone()));
                            assert!(!t.update(*id, token + 1000, program));
                        }
                    }
                    _ => {
                        let port = u32::arbitrary(&mut g) % 4;
                        let keys: Vec<FlowKey> = (0..1 + usize::arbitrary(&mut g) % 32)
                            .map(|_| {
                                let mut k = small_key(&mut g);
                                k.set(off::IN_PORT, port.to_be_bytes());
                                k
                            })
                            .collect();
                        let mut out = [0; BATCH_SIZE];
                        let c = t.lookup_batch(port, &keys, &mut out);
                        let mut hits = 0;
                        for (k, id) in keys.iter().zip(out) {
                            let all = r.matches(k);
                            hits += u32::from(id != NONE);
                            match t.slot(id) {
                                None => assert!(id == NONE && all.is_empty()),
                                Some(f) => {
                                    assert!(all.contains(&f.token()));
                                    let program = &programs[&f.token()];
                                    assert!(Arc::ptr_eq(f.program(), program));
                                    agrees(&t, id, program);
                                }
                            }
                        }
                        if c.emc_hits as usize == keys.len() {
                            let forms =
                                out[..keys.len()].iter().fold(0, |f, id| f | t.hot()[*id as usize].form());
                            assert_eq!(c.forms, forms);
                        }
                        assert_eq!(hits, c.emc_hits + c.walk_hits);
                    }
                }
                assert_eq!(t.len(), r.len());
                assert!(t.len() <= limit);
            }
            for (token, id) in at {
                assert!(t.remove(id, token).is_some() && t.remove(id, token).is_none());
            }
            assert_eq!((t.subtables(), t.is_empty(), t.rewriters), (0, true, 0));
        }
    }

    /// A packet of port 1 from an address, and the mask of all that is told by the address.
    fn by_source() -> (impl Fn(u32) -> FlowKey, FlowMask) {
        let mut m = FlowMask::ZERO;
        m.bytes_mut()[off::IPV4_SRC..off::IPV4_SRC + 4].fill(0xff);
        let key = |i: u32| {
            let mut k = FlowKey::ZERO;
            k.set(off::IN_PORT, 1u32.to_be_bytes());
            k.set(off::IPV4_SRC, i.to_be_bytes());
            k
        };
        (key, m)
    }

    #[test]
    fn a_thousand_flows_in_one_subtable() {
        let mut t = FlowTable::new(100_000, EmcSize::Fixed(1024), [1, 2, 3, 4]);
        let (key, m) = by_source();
        for i in 0..20_000 {
            assert_eq!(t.insert(&key(i), &m, program(), u64::from(i) + 1, 0).id, i);
        }
        for i in 0..20_000 {
            assert_eq!(
                {
                    let id = t.lookup_one(&key(i));
                    t.slot(id)
                }
                .map(Megaflow::token),
                Some(u64::from(i) + 1)
            );
        }
        assert_eq!(t.lookup_one(&key(20_001)), NONE);
        for i in (0..20_000u32).step_by(2) {
            assert!(t.remove(i, u64::from(i) + 1).is_some());
        }
        for i in 0..20_000 {
            assert_eq!(t.lookup_one(&key(i)) != NONE, i % 2 == 1);
        }
    }

    /// At the limit, what is in use stays: a victim is one that was not used for a while, as long as there are such.
    #[test]
    fn what_is_used_is_not_put_out() {
        let mut t = FlowTable::new(1000, EmcSize::Fixed(64), [1, 2, 3, 4]);
        let (key, m) = by_source();
        let ids: Vec<u32> =
            (0..1000).map(|i| t.insert(&key(i), &m, program(), u64::from(i) + 1, 1).id).collect();
        let used = |i: usize| i % 10 < 6;
        let mut now = 0;
        let mut put_out = Vec::new();
        for round in 0..10u32 {
            now += 1000;
            for (i, id) in ids.iter().enumerate().filter(|(i, _)| used(*i)) {
                assert_ne!(t.lookup_one(&key(i as u32)), NONE, "one in use was put out");
                t.stats(*id).credit(1, 60, now, 0);
            }
            for i in 0..100 {
                let n = 1000 + round * 100 + i;
                let ins = t.insert(&key(n), &m, program(), u64::from(n) + 1, now);
                put_out.extend(ins.ended.map(|e| e.token - 1));
                t.stats(ins.id).credit(1, 60, now, 0);
                assert_eq!((t.len(), ins.ended.is_some_and(|e| e.evicted)), (1000, true), "one for one");
            }
        }
        assert_eq!(put_out.len(), 1000);
        assert!(put_out.iter().all(|n| *n >= 1000 || !used(*n as usize)));
    }

    /// A large table grows a few lines at a time, and knows all its entries meanwhile.
    #[test]
    fn a_table_grows_bit_by_bit() {
        let mut t = FlowTable::new(1 << 20, EmcSize::Fixed(0), [1, 2, 3, 4]);
        let (key, m) = by_source();
        let (mut grown, mut seen_moving, mut gone) = (0, 0, 0);
        let mut ids = Vec::new();
        for i in 0..40_000u32 {
            let before = t.ports.get(&1).map_or((1, 0), |p| {
                let t = &p.subtables[0].table;
                (t.lines.len(), if t.is_moving() { t.moved } else { t.old.len() })
            });
            ids.push(t.insert(&key(i), &m, program(), u64::from(i) + 1, 0).id);
            let table = &t.ports[&1].subtables[0].table;
            grown += u32::from(table.lines.len() > before.0);
            if table.is_moving() {
                seen_moving += 1;
                let from = if table.lines.len() > before.0 { 0 } else { before.1 };
                assert!(table.moved <= from + TagTable::MOVES, "{} lines at once", table.moved - from);
                // One that has not moved yet, one that has, and the newest.
                for j in [i / 3 * 2 + 1, i / 2, i] {
                    let there = j % 7 != 3 || j + 5 >= i;
                    assert_eq!(t.lookup_one(&key(j)) != NONE, there, "{j} of {i}");
                }
            }
            if i >= 5 && (i - 5) % 7 == 3 {
                assert!(t.remove(ids[i as usize - 5], u64::from(i) - 4).is_some());
                gone += 1;
                assert_eq!(t.lookup_one(&key(i - 5)), NONE);
            }
        }
        assert!(grown >= 8 && seen_moving > 1000, "{grown} {seen_moving}");
        assert_eq!(t.ports[&1].subtables[0].table.live, 40_000 - gone);
        for i in 0..40_000 - 5 {
            assert_eq!(t.lookup_one(&key(i)) != NONE, i % 7 != 3, "{i}");
        }
    }

    /// Chunks that are there in time, that come late, and that nobody makes: megaflows in all of them are right, and so again after all have ended.
    #[test]
    fn memory_is_taken_ahead_of_need() {
        const N: u32 = 3 * CHUNK as u32 + 5000;
        let (key, m) = by_source();
        for (helped, paced) in [(true, true), (true, false), (false, false)] {
            let thread = helped.then(|| crate::helper::HelperThread::start().unwrap());
            let mut t = FlowTable::new(1 << 20, EmcSize::Auto, [1, 2, 3, 4]);
            if let Some(thread) = &thread {
                t.prepare(thread.helper());
                assert_eq!((t.slots(), t.len()), (CHUNK as u32, 0));
            }
            for round in 0..2u64 {
                for i in 0..N {
                    let token = u64::from(i) + 1 + round * 1_000_000;
                    assert!(
                        t.insert(&key(i), &m, program(), token, 0).id < N,
                        "no slot twice, none left out"
                    );
                    if let Some(thread) = thread.as_ref().filter(|_| paced && t.next.is_some()) {
                        thread.settle();
                    }
                }
                for i in 0..N {
                    let id = t.lookup_one(&key(i));
                    let token = t.slot(id).map(Megaflow::token);
                    assert_eq!(token, Some(u64::from(i) + 1 + round * 1_000_000));
                    assert!(t.stats_table().read(id, token.unwrap()).is_some());
                }
                for id in 0..N {
                    assert!(t.end(id, false).is_some());
                }
                assert_eq!((t.len(), t.free_len, t.top), (0, N as usize, N));
            }
            match (helped, paced) {
                (true, true) => assert_eq!(t.made_in_place, 0, "a packet waited for memory"),
                (true, false) => assert!(t.made_in_place <= 3),
                (false, _) => assert_eq!(t.made_in_place, 4),
            }
        }
    }

    /// No more than the flow limit allows is made ahead.
    #[test]
    fn the_flow_limit_bounds_what_is_made_ahead() {
        let thread = crate::helper::HelperThread::start().unwrap();
        let (key, m) = by_source();
        let mut t = FlowTable::new(CHUNK, EmcSize::Auto, [1, 2, 3, 4]);
        t.prepare(thread.helper());
        for i in 0..2 * CHUNK as u32 {
            t.insert(&key(i), &m, program(), u64::from(i) + 1, 0);
        }
        assert_eq!((t.next.is_none(), t.slots()), (true, CHUNK as u32));
    }

    /// The table may end while the helper works for it, and the helper before the table.
    #[test]
    fn tables_and_helpers_end_in_any_order() {
        let (key, m) = by_source();
        for table_first in [true, false] {
            for _ in 0..5 {
                let thread = crate::helper::HelperThread::start().unwrap();
                let mut t = FlowTable::new(1 << 20, EmcSize::Auto, [1, 2, 3, 4]);
                t.prepare(thread.helper());
                let mut i = 0;
                while t.next.is_none() {
                    t.insert(&key(i), &m, program(), u64::from(i) + 1, 0);
                    i += 1;
                }
                assert_eq!(i, CHUNK as u32 - AHEAD + 1);
                if table_first {
                    drop(t);
                    continue;
                }
                drop(thread);
                for i in i..CHUNK as u32 + 10 {
                    assert_ne!(t.insert(&key(i), &m, program(), u64::from(i) + 1, 0).id, NONE);
                }
            }
        }
    }

    /// How long insertions take on the worker's thread: `cargo test --release -p datapath how_long -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints times"]
    fn how_long_insertions_take() {
        use std::time::{Duration, Instant};
        let (key, m) = by_source();
        let program = program();
        for helped in [false, true] {
            let thread = crate::helper::HelperThread::start().unwrap();
            let mut t = FlowTable::new(1 << 20, EmcSize::Auto, [1, 2, 3, 4]);
            if helped {
                t.prepare(thread.helper());
            }
            let mut took = Vec::new();
            let begin = Instant::now();
            for i in 0..200_000u32 {
                while begin.elapsed() < Duration::from_micros(5) * i {
                    std::hint::spin_loop();
                }
                let t0 = Instant::now();
                t.insert(&key(i), &m, program.clone(), u64::from(i) + 1, 0);
                took.push((t0.elapsed(), i));
            }
            let (first, in_place) = (took[0].0, t.made_in_place);
            took.sort_unstable_by(|a, b| b.cmp(a));
            println!(
                "helped {helped}: first {first:?}, {in_place} chunks in place, longest {:?}",
                &took[..12]
            );
        }
    }

    #[test]
    fn crafted_masks_stay_few() {
        let mut g = Gen::new(64);
        let mut t = FlowTable::new(100_000, EmcSize::Fixed(1024), [1, 2, 3, 4]);
        for i in 0..5000 {
            let (mut k, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
            k.set(off::IN_PORT, 1u32.to_be_bytes());
            for at in [off::IPV4_SRC, off::IPV4_DST, off::TP_SRC, off::TP_DST] {
                k.set(at, u16::arbitrary(&mut g).to_be_bytes());
                let plen = u16::arbitrary(&mut g) % 17;
                m.set(at, (if plen == 0 { 0 } else { 0xffffu16 << (16 - plen) }).to_be_bytes());
            }
            t.insert(&k, &m, program(), i, 0);
            assert_ne!(t.lookup_one(&k), NONE);
        }
        assert!(t.subtables() <= ROUND_ABOVE + 40, "{}", t.subtables());
    }
}
