//! A flow entry: what never changes of it ([`RuleCore`], with its counters) and what does ([`Instrs`]), and the shared forms that keep it small.

use crate::classifier::StageHashes;
use crate::fields::{self, Loc};
use crate::flow::{mix, Flow, MaskInfo, MaskInterner, Values};
use crate::learned::LearnedSet;
use hashbrown::HashTable;
use openflow::action::Learn;
use openflow::field::Field;
use openflow::instruction::Instructions;
use openflow::msg::FlowModFlags;
use openflow::{Action, GroupId, Instruction, Match, MeterId, OxmField, PortNo};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// One field of a shape.
#[derive(Debug)]
struct ShapeField {
    field: Field,
    /// As sent.
    mask: Option<u128>,
    /// Bits that count ([`fields::match_bits`]).
    bits: u128,
    loc: Loc,
}

/// Fields of a match with their masks as sent, and the mask they make; the values are in the rule.
#[derive(Debug)]
pub struct Shape {
    hash: u64,
    fields: SmallVec<[ShapeField; 4]>,
    mask: Arc<MaskInfo>,
}

impl Shape {
    fn hash(m: &Match) -> u64 {
        m.known().fold(0, |h, f| {
            let bits = fields::match_bits(f);
            let h = mix(h, f.field as u64 | u64::from(f.mask.is_some()) << 32);
            mix(mix(h, bits as u64), (bits >> 64) as u64)
        })
    }
    fn is_of(&self, m: &Match) -> bool {
        let mut n = 0;
        let all = m.known().zip(&self.fields).all(|(f, s)| {
            n += 1;
            f.field == s.field && f.mask == s.mask && fields::match_bits(f) == s.bits
        });
        all && n == self.fields.len() && n == m.fields.len()
    }
}

/// Where a match belongs: found out once, for all that an add does with it. It is of the tables whose [`Interner`] made it.
pub struct Place {
    shape: Arc<Shape>,
    /// Words under the mask.
    pub values: Values,
    /// By which its table finds it.
    pub hashes: StageHashes,
}

impl Place {
    /// Of a match of this shape.
    fn of(shape: Arc<Shape>, m: &Match) -> Self {
        let mut value = Flow::ZERO;
        for (f, s) in m.known().zip(&shape.fields) {
            s.loc.set_masked(&mut value, f.value, s.bits);
        }
        Self { values: shape.mask.pack(&value), hashes: StageHashes::of(&shape.mask, &value), shape }
    }
    /// Its mask, shared.
    pub fn mask(&self) -> &Arc<MaskInfo> {
        &self.shape.mask
    }
    /// A rule that is new at a time.
    pub fn rule(
        self,
        table: u8,
        priority: u16,
        cookie: u64,
        timeouts: (u16, u16),
        flags: FlowModFlags,
        now_ns: u64,
    ) -> RuleCore {
        RuleCore {
            shape: self.shape,
            values: self.values,
            cookie,
            created_ns: now_ns,
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            used_ms: AtomicU64::new(now_ns / 1_000_000),
            priority,
            idle_timeout: timeouts.0.into(),
            hard_timeout: timeouts.1.into(),
            renewed: AtomicU32::new(0),
            flags,
            table,
            dead: AtomicBool::new(false),
            successor: Mutex::default(),
        }
    }
}

/// Words mixed one after the other: quick, and good enough for what a controller sends.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for c in bytes.chunks(8) {
            let mut w = [0; 8];
            w[..c.len()].copy_from_slice(c);
            self.write_u64(u64::from_le_bytes(w) ^ (c.len() as u64) << 60);
        }
    }
    fn write_u8(&mut self, v: u8) {
        self.write_u64(v.into());
    }
    fn write_u16(&mut self, v: u16) {
        self.write_u64(v.into());
    }
    fn write_u32(&mut self, v: u32) {
        self.write_u64(v.into());
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = mix(self.0, v);
    }
    fn write_usize(&mut self, v: usize) {
        self.write_u64(v as u64);
    }
}

/// What a learn action of an entry means for what it learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learns {
    /// What it learns.
    pub set: LearnedSet,
    /// It has a limit.
    pub is_limited: bool,
    /// What it learned goes with the last entry that learns it.
    pub deletes: bool,
}

/// An instruction list, shared by all entries that have an equal one.
#[derive(Debug)]
pub struct Instrs {
    /// As sent.
    pub list: Instructions,
    /// Ports it outputs to (for `out_port` filters).
    pub out_ports: SmallVec<[PortNo; 2]>,
    /// Groups it uses.
    pub groups: SmallVec<[GroupId; 1]>,
    /// Meters it uses.
    pub meters: SmallVec<[MeterId; 1]>,
    /// Where it goes on.
    pub goto: Option<u8>,
    /// Conjunction clauses `(id, clause, n_clauses)`; then nothing else is in the list.
    pub conj: SmallVec<[(u32, u8, u8); 1]>,
    /// Its learn actions that have a limit or delete what they learned.
    pub learns: Vec<Learns>,
    digest: u64,
}

/// All actions of a list, those of clones too.
pub fn each_action<'a>(list: &'a [Action], f: &mut dyn FnMut(&'a Action)) {
    for a in list {
        f(a);
        if let Action::Clone(inner) = a {
            each_action(inner, f);
        }
    }
}

fn digest(list: &Instructions) -> u64 {
    // `Action` has no `Hash`: its words in debug notation are as good, if slower; long lists are rare.
    let mut h = Mixer::default();
    for i in list {
        match i {
            Instruction::GotoTable(t) => (1u8, t.0).hash(&mut h),
            Instruction::WriteMetadata { metadata, mask } => (2u8, metadata, mask).hash(&mut h),
            Instruction::ClearActions => 3u8.hash(&mut h),
            Instruction::Meter(m) => (4u8, m.0).hash(&mut h),
            Instruction::ApplyActions(a) | Instruction::WriteActions(a) => {
                (5u8, matches!(i, Instruction::ApplyActions(_)), a.len()).hash(&mut h);
                for a in a {
                    match a {
                        Action::Output { port, max_len } => (port.0, max_len).hash(&mut h),
                        Action::Group(g) => (1u8, g.0).hash(&mut h),
                        Action::SetField(openflow::Oxm::Known(f)) => f.hash(&mut h),
                        a => format!("{a:?}").hash(&mut h),
                    }
                }
            }
            i => format!("{i:?}").hash(&mut h),
        }
    }
    h.finish()
}

impl Instrs {
    /// Takes a list apart.
    pub fn new(list: Instructions) -> Self {
        let digest = digest(&list);
        let mut s = Self {
            list,
            out_ports: SmallVec::new(),
            groups: SmallVec::new(),
            meters: SmallVec::new(),
            goto: None,
            conj: SmallVec::new(),
            learns: Vec::new(),
            digest,
        };
        for i in &s.list {
            match i {
                Instruction::GotoTable(t) => s.goto = Some(t.0),
                Instruction::Meter(m) => s.meters.push(*m),
                Instruction::ApplyActions(l) | Instruction::WriteActions(l) => {
                    each_action(l, &mut |a| match a {
                        Action::Output { port, .. } | Action::OutputTrunc { port, .. } => {
                            s.out_ports.push(*port)
                        }
                        Action::Group(g) => s.groups.push(*g),
                        Action::Conjunction { id, clause, n_clauses } => {
                            s.conj.push((*id, *clause, *n_clauses))
                        }
                        Action::Controller(c) => {
                            s.out_ports.push(PortNo::CONTROLLER);
                            s.meters.extend(c.meter_id.map(MeterId));
                        }
                        Action::Learn(l) if l.limit != 0 || l.flags & Learn::DELETE_LEARNED != 0 => {
                            s.learns.push(Learns {
                                set: LearnedSet { table: l.table_id, cookie: l.cookie },
                                is_limited: l.limit != 0,
                                deletes: l.flags & Learn::DELETE_LEARNED != 0,
                            });
                        }
                        Action::Bundle(b) if b.dst.is_none() => s.out_ports.extend(b.members.iter().copied()),
                        _ => {}
                    })
                }
                _ => {}
            }
        }
        s
    }
}

/// What stays of an entry from its add to its end. Counters are folded in by the control thread.
#[derive(Debug)]
pub struct RuleCore {
    shape: Arc<Shape>,
    /// Words under the mask.
    pub values: Values,
    /// Cookie.
    pub cookie: u64,
    /// Nanoseconds since the switch started, when it was added.
    pub created_ns: u64,
    /// Packets.
    pub packets: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
    /// Milliseconds since the switch started, when it was last used.
    pub used_ms: AtomicU64,
    /// Priority.
    pub priority: u16,
    /// Seconds, 0 never; only ever [`RuleCore::shorten`]ed.
    idle_timeout: AtomicU16,
    hard_timeout: AtomicU16,
    /// Hundredths of a second from its add to when it was last learned: the hard timeout counts from there.
    renewed: AtomicU32,
    /// `OFPFF_*`.
    pub flags: FlowModFlags,
    /// Table.
    pub table: u8,
    /// No longer in its table.
    pub dead: AtomicBool,
    /// The entry that an add put in its place and that took over its counters: traffic still on its way is that one's.
    successor: Mutex<Heir>,
}

/// Packed, so that it fills the gap that the mutex's byte would leave: a rule and its reference counts are 128 bytes, two cache lines.
#[repr(C, packed)]
#[derive(Default)]
struct Heir(Option<Arc<RuleCore>>);

const _: () = assert!(std::mem::size_of::<RuleCore>() <= 112);

impl std::fmt::Debug for Heir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heir")
    }
}

impl Drop for RuleCore {
    /// A long chain of successors is taken apart one by one, not by recursion.
    fn drop(&mut self) {
        let mut next = std::mem::take(self.successor.get_mut()).0;
        while let Some(mut rule) = next.and_then(Arc::into_inner) {
            next = std::mem::take(rule.successor.get_mut()).0;
        }
    }
}

impl RuleCore {
    /// Adds traffic.
    pub fn credit(&self, packets: u64, bytes: u64, used_ms: u64) {
        let Some(mut heir) = self.successor() else { return self.credit_own(packets, bytes, used_ms) };
        while let Some(further) = heir.successor() {
            heir = further;
        }
        heir.credit_own(packets, bytes, used_ms);
    }
    /// Who took its place and its counters.
    fn successor(&self) -> Option<Arc<RuleCore>> {
        let mut place = self.successor.lock();
        let heir = std::mem::take(&mut *place).0;
        *place = Heir(heir.clone());
        heir
    }
    /// Names who takes its place and its counters.
    pub fn set_successor(&self, heir: Option<Arc<RuleCore>>) {
        let before = std::mem::replace(&mut *self.successor.lock(), Heir(heir));
        drop(before);
    }
    /// Idle and hard timeout in seconds, 0 never.
    pub fn timeouts(&self) -> (u16, u16) {
        (self.idle_timeout.load(Ordering::Relaxed), self.hard_timeout.load(Ordering::Relaxed))
    }
    /// Makes its timeouts no longer than these, of which 0 says nothing; true if one changed. The control thread alone does.
    pub fn shorten(&self, idle: u16, hard: u16) -> bool {
        let one = |t: &AtomicU16, most: u16| {
            let now = t.load(Ordering::Relaxed);
            let shorter = most != 0 && (now == 0 || now > most);
            if shorter {
                t.store(most, Ordering::Relaxed);
            }
            shorter
        };
        one(&self.idle_timeout, idle) | one(&self.hard_timeout, hard)
    }
    /// Its mask, shared.
    #[inline]
    pub fn mask(&self) -> &Arc<MaskInfo> {
        &self.shape.mask
    }
    /// The hash of its match, by which its table finds it.
    pub fn hash(&self) -> u32 {
        self.hashes().whole()
    }
    /// The hashes of its match.
    pub fn hashes(&self) -> StageHashes {
        StageHashes::of(self.mask(), &self.mask().unpack(&self.values))
    }
    fn credit_own(&self, packets: u64, bytes: u64, used_ms: u64) {
        if !self.flags.contains(FlowModFlags::NO_PKT_COUNTS) {
            self.packets.fetch_add(packets, Ordering::Relaxed);
        }
        if !self.flags.contains(FlowModFlags::NO_BYT_COUNTS) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.used_ms.fetch_max(used_ms, Ordering::Relaxed);
    }
    /// It is learned again: its hard timeout starts anew.
    pub fn renew(&self, at_ms: u64) {
        let since = at_ms.saturating_sub(self.created_ns / 1_000_000) / 10;
        self.renewed.fetch_max(since.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    /// When it was added or last learned, in milliseconds since the switch started, rounded down to 10 ms.
    pub fn modified_ms(&self) -> u64 {
        self.created_ns / 1_000_000 + u64::from(self.renewed.load(Ordering::Relaxed)) * 10
    }
    /// Packets and bytes.
    pub fn counts(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
    /// The match exactly as sent.
    pub fn matching(&self) -> Match {
        let f = self.mask().unpack(&self.values);
        let mut m = Match::new();
        for s in &self.shape.fields {
            m.fields.push(OxmField { field: s.field, value: s.loc.get(&f), mask: s.mask }.into());
        }
        m
    }
    /// Matches everything at priority 0.
    pub fn is_table_miss(&self) -> bool {
        self.priority == 0 && self.mask().words.is_empty()
    }
}

/// Shared forms of masks, shapes and instruction lists.
#[derive(Default)]
pub struct Interner {
    masks: MaskInterner,
    shapes: HashTable<Arc<Shape>>,
    instrs: hashbrown::HashMap<u64, SmallVec<[Arc<Instrs>; 1]>>,
    n_instrs: usize,
    sweep_shapes: usize,
    sweep_instrs: usize,
}

impl Interner {
    /// Mask of a flow.
    pub fn mask(&mut self, mask: &Flow) -> Arc<MaskInfo> {
        self.masks.intern(mask)
    }
    /// The shared form of a mask, if some entry of late has it.
    pub fn known_mask(&self, mask: &Flow) -> Option<&Arc<MaskInfo>> {
        self.masks.find(mask)
    }
    fn known_shape(&self, hash: u64, m: &Match) -> Option<&Arc<Shape>> {
        self.shapes.find(hash, |s| s.hash == hash && s.is_of(m))
    }
    /// Shape of a match; `None` if it has a field that the switch does not know.
    fn shape(&mut self, m: &Match) -> Option<Arc<Shape>> {
        let hash = Shape::hash(m);
        if let Some(s) = self.known_shape(hash, m) {
            return Some(s.clone());
        }
        if self.shapes.len() >= self.sweep_shapes {
            self.shapes.retain(|s| Arc::strong_count(s) > 1);
            self.sweep_shapes = self.shapes.len() * 2 + 64;
        }
        let (_, mask) = fields::match_to_flow(m)?;
        let mask = self.mask(&mask);
        let of = |f: &OxmField| {
            let loc = fields::loc(f.field)?;
            Some(ShapeField { field: f.field, mask: f.mask, bits: fields::match_bits(f), loc })
        };
        let fields = m.known().map(of).collect::<Option<_>>()?;
        let s = Arc::new(Shape { hash, fields, mask });
        self.shapes.insert_unique(hash, s.clone(), |s| s.hash);
        Some(s)
    }
    /// The shared form of an instruction list.
    pub fn instrs(&mut self, list: &Instructions) -> Arc<Instrs> {
        let d = digest(list);
        if let Some(a) = self.instrs.get(&d).and_then(|v| v.iter().find(|i| i.list == *list)) {
            return a.clone();
        }
        if self.n_instrs >= self.sweep_instrs {
            for v in self.instrs.values_mut() {
                v.retain(|a| Arc::strong_count(a) > 1);
            }
            self.instrs.retain(|_, v| !v.is_empty());
            self.n_instrs = self.instrs.values().map(SmallVec::len).sum();
            self.sweep_instrs = self.n_instrs * 2 + 64;
        }
        let a = Arc::new(Instrs::new(list.clone()));
        self.instrs.entry(a.digest).or_default().push(a.clone());
        self.n_instrs += 1;
        a
    }
    /// The place of a match that has been validated; `None` if it has a field that the switch does not know.
    pub fn place(&mut self, m: &Match) -> Option<Place> {
        Some(Place::of(self.shape(m)?, m))
    }
    /// The place of a match, which may be anything, if some entry of late had such fields and masks.
    pub fn known_place(&self, m: &Match) -> Option<Place> {
        Some(Place::of(self.known_shape(Shape::hash(m), m)?.clone(), m))
    }
}
