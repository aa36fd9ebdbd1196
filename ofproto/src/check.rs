//! Is this flow-mod, bucket or packet-out something the switch can do? Each refusal has the specification's error. Nothing is changed here.

use crate::fields;
use crate::table::Checks;
use crate::xlate::may_be_in_set;
use openflow::action::{hash, Action, Learn, LearnDst, LearnSrc, Subfield};
use openflow::field::{Field, Maskable, Prereq, NICIRA_EXPERIMENTER};
use openflow::instruction::Instructions;
use openflow::{Instruction, Match, MeterId, OfpError, Oxm, OxmField, PortNo, TableId};

/// Where the actions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A flow entry's apply-actions.
    Apply,
    /// An action set: write-actions or a bucket.
    Set,
    /// A packet-out.
    PacketOut,
}

/// What is known of packets at some point of an action list: the match, as changed by the actions before.
#[derive(Clone)]
struct Known {
    m: Match,
    /// Nothing is known: prerequisites cannot be judged.
    blind: bool,
}

impl Known {
    fn put(&mut self, field: Field, value: u128) {
        self.m.fields.retain(|o| !matches!(o, Oxm::Known(f) if f.field == field));
        self.m.fields.push(OxmField::exact(field, value).into());
    }
    fn satisfies(&self, p: Prereq) -> bool {
        self.blind || self.m.satisfies(p)
    }
}

/// A match that a table may hold.
///
/// # Errors
/// `OFPBMC_*`.
pub fn matching(m: &Match) -> Result<(), OfpError> {
    m.validate().map_err(|e| e.code)?;
    for f in m.known() {
        if fields::loc(f.field).is_none() {
            return Err(OfpError::OFPBMC_BAD_FIELD);
        }
        let port = |v: u128| {
            v == 0
                || (v > PortNo::MAX.0.into()
                    && !matches!(PortNo(v as u32), PortNo::LOCAL | PortNo::CONTROLLER))
        };
        if f.field == Field::InPort && port(f.value) {
            return Err(OfpError::OFPBMC_BAD_VALUE);
        }
    }
    Ok(())
}

fn known_bits(s: &Subfield) -> Result<(), OfpError> {
    if fields::loc(s.field).is_none() {
        return Err(OfpError::OFPBAC_BAD_SET_TYPE);
    }
    if s.n_bits == 0 || s.offset + s.n_bits > s.field.def().bits {
        return Err(OfpError::OFPBAC_BAD_SET_LEN);
    }
    Ok(())
}

fn writable(s: &Subfield, known: &Known) -> Result<(), OfpError> {
    known_bits(s)?;
    if !s.field.def().settable {
        return Err(OfpError::OFPBAC_BAD_SET_ARGUMENT);
    }
    if !known.satisfies(s.field.def().prereq) {
        return Err(OfpError::OFPBAC_MATCH_INCONSISTENT);
    }
    Ok(())
}

fn readable(s: &Subfield, known: &Known) -> Result<(), OfpError> {
    known_bits(s)?;
    if !known.satisfies(s.field.def().prereq) {
        return Err(OfpError::OFPBAC_MATCH_INCONSISTENT);
    }
    Ok(())
}

/// Whether a set-field action may name a field: "all OXM types except OXM_OF_IN_PORT, OXM_OF_IN_PHY_PORT" (OpenFlow 1.3.5, "Action Structures"; and
/// METADATA, which Open vSwitch takes). Nicira's loads and moves may have in_port, too.
pub fn set_field_may(f: Field) -> bool {
    f.def().settable && !matches!(f, Field::InPort | Field::InPhyPort | Field::NxInPort)
}

fn set_field(f: &OxmField, known: &mut Known, may_mask: bool) -> Result<(), OfpError> {
    let d = f.field.def();
    if !d.settable || fields::loc(f.field).is_none() {
        return Err(OfpError::OFPBAC_BAD_SET_TYPE);
    }
    let full = d.full_mask();
    if f.value & !full != 0 || f.mask.is_some_and(|m| m & !full != 0 || f.value & !m != 0) {
        return Err(OfpError::OFPBAC_BAD_SET_ARGUMENT);
    }
    if f.mask.is_some() && !may_mask {
        return Err(OfpError::OFPBAC_BAD_SET_TYPE);
    }
    if f.field == Field::VlanVid && f.mask.is_none() && f.value & 0x1000 == 0 {
        return Err(OfpError::OFPBAC_BAD_SET_ARGUMENT);
    }
    let prereq = if f.field == Field::VlanVid { Prereq::Vlan } else { d.prereq };
    if !known.satisfies(prereq) {
        return Err(OfpError::OFPBAC_MATCH_INCONSISTENT);
    }
    Ok(())
}

fn output(port: PortNo, place: Place) -> Result<(), OfpError> {
    match port {
        PortNo(0) | PortNo::ANY | PortNo::UNSET => Err(OfpError::OFPBAC_BAD_OUT_PORT),
        PortNo::TABLE if place != Place::PacketOut => Err(OfpError::OFPBAC_BAD_OUT_PORT),
        PortNo::IN_PORT
        | PortNo::TABLE
        | PortNo::NORMAL
        | PortNo::FLOOD
        | PortNo::ALL
        | PortNo::CONTROLLER
        | PortNo::LOCAL => Ok(()),
        p if p > PortNo::MAX => Err(OfpError::OFPBAC_BAD_OUT_PORT),
        _ => Ok(()),
    }
}

/// Actions without a match before them: of buckets and packet-outs.
///
/// # Errors
/// `OFPBAC_*`.
pub fn actions(list: &[Action], place: Place, refs: &dyn Checks) -> Result<(), OfpError> {
    list_of(list, place, refs, &mut Known { m: Match::new(), blind: true }, 0)
}

fn list_of(
    list: &[Action],
    place: Place,
    refs: &dyn Checks,
    k: &mut Known,
    depth: u8,
) -> Result<(), OfpError> {
    if depth > 8 {
        return Err(OfpError::OFPBAC_TOO_MANY);
    }
    for a in list {
        one(a, place, refs, k, depth)?;
        // A note is nothing to be executed, wherever it stands.
        if place == Place::Set && !may_be_in_set(a) && !matches!(a, Action::Note(_)) {
            return Err(OfpError::OFPBAC_BAD_TYPE);
        }
    }
    Ok(())
}

fn one(a: &Action, place: Place, refs: &dyn Checks, k: &mut Known, depth: u8) -> Result<(), OfpError> {
    match a {
        Action::OutputTrunc {
            port: PortNo::TABLE | PortNo::NORMAL | PortNo::FLOOD | PortNo::ALL | PortNo::CONTROLLER,
            ..
        } => return Err(OfpError::OFPBAC_BAD_OUT_PORT),
        // The Ethernet header stays.
        Action::OutputTrunc { max_len: 0..14, .. } => return Err(OfpError::OFPBAC_BAD_ARGUMENT),
        Action::Output { port, .. } | Action::OutputTrunc { port, .. } => {
            output(*port, place)?;
            if !refs.port_ok(*port) {
                return Err(OfpError::OFPBAC_BAD_OUT_PORT);
            }
        }
        Action::Group(g) => {
            if !refs.group_exists(*g) {
                return Err(OfpError::OFPBAC_BAD_OUT_GROUP);
            }
        }
        Action::SetQueue(q) if !crate::queue::can_exist(*q) => return Err(OfpError::OFPBAC_BAD_QUEUE),
        Action::PushVlan(t) => {
            if !matches!(t, 0x8100 | 0x88a8) {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
            k.put(Field::VlanVid, 0x1000);
        }
        Action::PopVlan => {
            k.m.fields
                .retain(|o| !matches!(o, Oxm::Known(f) if matches!(f.field, Field::VlanVid | Field::VlanPcp)))
        }
        Action::PushMpls(t) => {
            if !matches!(t, 0x8847 | 0x8848) {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
            k.put(Field::EthType, (*t).into());
        }
        Action::PopMpls(t) => {
            k.put(Field::EthType, (*t).into());
            // What comes to light may have any protocol.
            k.m.fields.retain(|o| !matches!(o, Oxm::Known(f) if f.field == Field::IpProto));
        }
        Action::PushPbb(t) => {
            if *t != 0x88e7 {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
            k.put(Field::EthType, 0x88e7);
        }
        Action::PopPbb => k.blind = true,
        Action::SetField(Oxm::Known(f)) if !set_field_may(f.field) => {
            return Err(OfpError::OFPBAC_BAD_SET_TYPE);
        }
        Action::SetField(Oxm::Known(f)) => set_field(f, k, false)?,
        Action::RegLoad2(Oxm::Known(f)) => set_field(f, k, true)?,
        Action::SetField(_) | Action::RegLoad2(_) => return Err(OfpError::OFPBAC_BAD_SET_TYPE),
        Action::SetNwTtl(_)
        | Action::DecNwTtl
        | Action::DecTtlCntIds(_)
        | Action::SetMplsTtl(_)
        | Action::DecMplsTtl => {}
        Action::RegLoad { dst, value } => {
            writable(dst, k)?;
            if dst.n_bits < 64 && value >> dst.n_bits != 0 {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
        }
        Action::RegMove { src, dst } => {
            readable(src, k)?;
            writable(dst, k)?;
            if src.n_bits != dst.n_bits {
                return Err(OfpError::OFPBAC_BAD_SET_LEN);
            }
        }
        Action::StackPush(s) | Action::OutputReg { src: s, .. } => readable(s, k)?,
        Action::StackPop(s) => writable(s, k)?,
        Action::Multipath(m) => {
            writable(&m.dst, k)?;
            let known = m.fields <= hash::SYMMETRIC_L3 && m.algorithm <= hash::ITERATIVE;
            if !known || m.dst.n_bits < 16 && m.max_link >> m.dst.n_bits != 0 {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
        }
        Action::Bundle(b) => {
            let known = b.fields <= hash::SYMMETRIC_L3 && b.algorithm <= hash::BUNDLE_HRW;
            if !known || b.dst.is_some_and(|dst| dst.n_bits < 16) {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
            if let Some(dst) = &b.dst {
                writable(dst, k)?;
            }
        }
        Action::Learn(l) => learn(l, k)?,
        Action::Clone(inner) => list_of(inner, place, refs, &mut k.clone(), depth + 1)?,
        Action::Conjunction { clause, n_clauses, .. } => {
            if place != Place::Apply || !(2..=64).contains(n_clauses) || clause >= n_clauses {
                return Err(OfpError::OFPBAC_BAD_ARGUMENT);
            }
        }
        Action::Resubmit { ct: true, .. } => return Err(OfpError::OFPBAC_BAD_ARGUMENT),
        // There are no continuations.
        Action::Controller(c) if c.pause => return Err(OfpError::OFPBAC_BAD_EXP_TYPE),
        Action::Controller(c) => {
            if c.meter_id.is_some_and(|id| !refs.meter_exists(MeterId(id))) {
                return Err(OfpError::OFPMMFC_INVALID_METER);
            }
        }
        // It is the entry's own timeouts that it shortens.
        Action::FinTimeout { .. } if depth > 0 || place == Place::PacketOut => {
            return Err(OfpError::OFPBAC_BAD_ARGUMENT);
        }
        Action::Ct(_)
        | Action::Nat(_)
        | Action::CtClear
        | Action::CheckPktLarger { .. }
        | Action::Encap { .. }
        | Action::Decap { .. }
        | Action::DecNshTtl
        | Action::DeleteField(_)
        | Action::Sample(_) => return Err(OfpError::OFPBAC_BAD_EXP_TYPE),
        Action::Experimenter { experimenter: NICIRA_EXPERIMENTER, .. } => {
            return Err(OfpError::OFPBAC_BAD_EXP_TYPE);
        }
        Action::Experimenter { .. } => return Err(OfpError::OFPBAC_BAD_EXPERIMENTER),
        Action::Unknown { .. } => return Err(OfpError::OFPBAC_BAD_TYPE),
        Action::CopyTtlOut
        | Action::CopyTtlIn
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::SetTunnel(_)
        | Action::Resubmit { .. }
        | Action::Note(_)
        | Action::Exit
        | Action::FinTimeout { .. }
        | Action::WriteMetadata { .. } => {}
    }
    Ok(())
}

/// A learn action. What the new entry will match must allow what else it matches and does: only constants are sure to (ovs-actions(7):
/// "Match field specifications must honor prerequisites for both the flow with the learn and the new flow that it creates").
fn learn(l: &Learn, known: &Known) -> Result<(), OfpError> {
    let flags = Learn::SEND_FLOW_REM | Learn::DELETE_LEARNED | Learn::WRITE_RESULT;
    let has_result = l.flags & Learn::WRITE_RESULT != 0;
    if l.table_id == TableId::ALL.0 || l.flags & !flags != 0 || has_result != l.result_dst.is_some() {
        return Err(OfpError::OFPBAC_BAD_ARGUMENT);
    }
    if let Some(dst) = &l.result_dst {
        known_bits(dst)?;
        if !dst.field.def().settable {
            return Err(OfpError::OFPBAC_BAD_SET_ARGUMENT);
        }
    }
    let mut new = Known { m: Match::new(), blind: false };
    for s in &l.specs {
        if let LearnSrc::Field(f) = &s.src {
            readable(f, known)?;
        }
        match &s.dst {
            LearnDst::Match(d) => {
                readable(d, &new)?;
                let def = d.field.def();
                if d.n_bits != def.bits && def.maskable == Maskable::No {
                    return Err(OfpError::OFPBAC_BAD_SET_LEN);
                }
                if let LearnSrc::Immediate(b) = &s.src {
                    fields::match_subfield(&mut new.m, d, constant(b));
                }
            }
            LearnDst::Load(d) => writable(d, &new)?,
            LearnDst::Output => {}
        }
    }
    Ok(())
}

/// The number that a learn action's immediate stands for.
pub fn constant(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |v, b| v << 8 | u128::from(*b))
}

/// Instructions of an entry with this match in this table.
///
/// # Errors
/// `OFPBIC_*`, `OFPBAC_*`, `OFPMMFC_INVALID_METER`.
pub fn instructions(list: &Instructions, table: u8, m: &Match, refs: &dyn Checks) -> Result<(), OfpError> {
    let mut seen = [false; 7];
    for i in list {
        let kind = i.kind() as usize;
        if let Some(s) = seen.get_mut(kind) {
            if std::mem::replace(s, true) {
                return Err(OfpError::OFPBIC_UNSUP_INST);
            }
        }
        match i {
            Instruction::GotoTable(t) => {
                if t.0 <= table || t.0 > refs.max_table() {
                    return Err(OfpError::OFPBIC_BAD_TABLE_ID);
                }
            }
            Instruction::Meter(id) => {
                // The virtual meters are for what goes to controllers or to the slow path: no flow entry can be bound to one.
                if *id > MeterId::MAX || !refs.meter_exists(*id) {
                    return Err(OfpError::OFPMMFC_INVALID_METER);
                }
            }
            Instruction::ApplyActions(l) => {
                list_of(l, Place::Apply, refs, &mut Known { m: m.clone(), blind: false }, 0)?;
                let conj = l.iter().filter(|a| matches!(a, Action::Conjunction { .. })).count();
                let notes = l.iter().filter(|a| matches!(a, Action::Note(_))).count();
                if conj != 0 && (conj + notes != l.len() || list.len() != 1) {
                    return Err(OfpError::OFPBAC_BAD_ARGUMENT);
                }
            }
            Instruction::WriteActions(l) => {
                // Order in a set is not the list's: judge by the match and the pushes in it.
                let mut k = Known { m: m.clone(), blind: false };
                k.blind = l.iter().any(|a| {
                    matches!(
                        a,
                        Action::PushVlan(_)
                            | Action::PushMpls(_)
                            | Action::PushPbb(_)
                            | Action::PopMpls(_)
                            | Action::PopPbb
                    )
                });
                list_of(l, Place::Set, refs, &mut k, 0)?;
            }
            Instruction::WriteMetadata { .. } | Instruction::ClearActions => {}
            Instruction::Experimenter { .. } => return Err(OfpError::OFPBIC_BAD_EXPERIMENTER),
            Instruction::Unknown { .. } => return Err(OfpError::OFPBIC_UNKNOWN_INST),
        }
    }
    Ok(())
}
