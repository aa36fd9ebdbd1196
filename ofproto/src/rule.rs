//! A flow entry: what never changes of it ([`RuleCore`], with its counters) and what does ([`Instrs`]), and the shared forms that keep it small.

use crate::fields;
use crate::flow::{Flow, MaskInfo, MaskInterner, Values};
use openflow::field::Field;
use openflow::instruction::Instructions;
use openflow::msg::FlowModFlags;
use openflow::{Action, GroupId, Instruction, Match, MeterId, OxmField, PortNo};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// Fields of a match with their masks as sent; the values are in the rule.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Shape(SmallVec<[(Field, Option<u128>); 4]>);

/// An instruction list, shared by all entries that have an equal one.
#[derive(Debug)]
pub struct Instrs {
    /// As sent.
    pub list: Instructions,
    /// Ports it outputs to (for `out_port` filters).
    pub out_ports: SmallVec<[PortNo; 2]>,
    /// Groups it uses.
    pub groups: SmallVec<[GroupId; 1]>,
    /// Its meter.
    pub meter: Option<MeterId>,
    /// Where it goes on.
    pub goto: Option<u8>,
    /// Conjunction clauses `(id, clause, n_clauses)`; then nothing else is in the list.
    pub conj: SmallVec<[(u32, u8, u8); 1]>,
    digest: u64,
}

fn each_action<'a>(list: &'a [Action], f: &mut dyn FnMut(&'a Action)) {
    for a in list {
        f(a);
        if let Action::Clone(inner) = a {
            each_action(inner, f);
        }
    }
}

fn digest(list: &Instructions) -> u64 {
    // `Action` has no `Hash`: its words in debug notation are as good, if slower; long lists are rare.
    let mut h = DefaultHasher::new();
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
            meter: None,
            goto: None,
            conj: SmallVec::new(),
            digest,
        };
        for i in &s.list {
            match i {
                Instruction::GotoTable(t) => s.goto = Some(t.0),
                Instruction::Meter(m) => s.meter = Some(*m),
                Instruction::ApplyActions(l) | Instruction::WriteActions(l) => {
                    each_action(l, &mut |a| match a {
                        Action::Output { port, .. } | Action::OutputTrunc { port, .. } => {
                            s.out_ports.push(*port)
                        }
                        Action::Group(g) => s.groups.push(*g),
                        Action::Conjunction { id, clause, n_clauses } => {
                            s.conj.push((*id, *clause, *n_clauses))
                        }
                        Action::Controller(_) => s.out_ports.push(PortNo::CONTROLLER),
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
    /// Mask, shared.
    pub mask: Arc<MaskInfo>,
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
    /// Seconds, 0 never.
    pub idle_timeout: u16,
    /// Seconds, 0 never.
    pub hard_timeout: u16,
    /// `OFPFF_*`.
    pub flags: FlowModFlags,
    /// Table.
    pub table: u8,
    /// No longer in its table.
    pub dead: AtomicBool,
    /// The entry that an add put in its place and that took over its counters: traffic still on its way is that one's.
    pub successor: Mutex<Option<Arc<RuleCore>>>,
}

impl Drop for RuleCore {
    /// A long chain of successors is taken apart one by one, not by recursion.
    fn drop(&mut self) {
        let mut next = self.successor.get_mut().take();
        while let Some(mut rule) = next.and_then(Arc::into_inner) {
            next = rule.successor.get_mut().take();
        }
    }
}

impl RuleCore {
    /// Adds traffic.
    pub fn credit(&self, packets: u64, bytes: u64, used_ms: u64) {
        let mut next = self.successor.lock().clone();
        let Some(mut heir) = next.take() else { return self.credit_own(packets, bytes, used_ms) };
        loop {
            let further = heir.successor.lock().clone();
            match further {
                Some(f) => heir = f,
                None => return heir.credit_own(packets, bytes, used_ms),
            }
        }
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
    /// Packets and bytes.
    pub fn counts(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
    /// The match exactly as sent.
    pub fn matching(&self) -> Match {
        let f = self.mask.unpack(&self.values);
        let mut m = Match::new();
        for (field, mask) in &self.shape.0 {
            let value = fields::loc(*field).map_or(0, |l| l.get(&f));
            m.fields.push(OxmField { field: *field, value, mask: *mask }.into());
        }
        m
    }
    /// Matches everything at priority 0.
    pub fn is_table_miss(&self) -> bool {
        self.priority == 0 && self.mask.words.is_empty()
    }
}

/// Shared forms of masks, shapes and instruction lists.
#[derive(Default)]
pub struct Interner {
    masks: MaskInterner,
    shapes: hashbrown::HashMap<Arc<Shape>, ()>,
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
    /// Shape of a match.
    pub fn shape(&mut self, m: &Match) -> Arc<Shape> {
        let s = Shape(m.known().map(|f| (f.field, f.mask)).collect());
        if let Some((a, ())) = self.shapes.get_key_value(&s) {
            return a.clone();
        }
        if self.shapes.len() >= self.sweep_shapes {
            self.shapes.retain(|s, ()| Arc::strong_count(s) > 1);
            self.sweep_shapes = self.shapes.len() * 2 + 64;
        }
        let a = Arc::new(s);
        self.shapes.insert(a.clone(), ());
        a
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
    /// A rule of a match that has been validated (all fields known to [`fields::loc`]).
    #[allow(clippy::too_many_arguments)]
    pub fn rule(
        &mut self,
        table: u8,
        m: &Match,
        priority: u16,
        cookie: u64,
        timeouts: (u16, u16),
        flags: FlowModFlags,
        now_ns: u64,
    ) -> Option<RuleCore> {
        let (value, mask) = fields::match_to_flow(m)?;
        let mask = self.mask(&mask);
        let values = mask.pack(&value);
        Some(RuleCore {
            shape: self.shape(m),
            values,
            cookie,
            created_ns: now_ns,
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            used_ms: AtomicU64::new(now_ns / 1_000_000),
            priority,
            idle_timeout: timeouts.0,
            hard_timeout: timeouts.1,
            flags,
            table,
            dead: AtomicBool::new(false),
            successor: Mutex::new(None),
            mask,
        })
    }
}
