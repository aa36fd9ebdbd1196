//! May a switch that knows every table, group and meter named take this? What a flow-mod, a bucket or a packet-out says is judged
//! here by itself; whether what it names exists is the switch's to know.
//!
//! OpenFlow 1.3.5, "Flow Table Modification Messages" and "Action Structures": each refusal has the type and code given there.
//! Prerequisites of actions are those of the packet as it stands when the action's turn comes: after `push_mpls` a packet has
//! a label to set, whatever the match said; after a pop whose result is not known, nothing is held against it.

use crate::action::{Action, LearnDst, LearnSrc, Subfield};
use crate::error::OfpError;
use crate::field::{Field, Prereq, NICIRA_EXPERIMENTER};
use crate::ids::{GroupId, MeterId, PortNo, TableId};
use crate::instruction::Instruction;
use crate::matching::{Match, Oxm, OxmField};
use crate::msg::flow_mod::{FlowMod, FlowModCommand};

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} [{code}]")]
pub struct Refusal {
    /// The error to answer with.
    pub code: OfpError,
    /// What is wrong, for the log.
    pub what: String,
}

fn refuse<T>(code: OfpError, what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, what: what.into() })
}

/// Where actions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In an instruction of a flow entry.
    Flow,
    /// In a bucket of a group.
    Bucket,
    /// In a packet-out, the only place for output to TABLE.
    PacketOut,
}

/// Judges a flow-mod by itself.
///
/// # Errors
/// The first thing wrong, in this order: command, table, flags, match, instructions as they come.
pub fn flow_mod(f: &FlowMod) -> Result<(), Refusal> {
    use FlowModCommand as C;
    if f.command > C::DELETE_STRICT {
        return refuse(OfpError::OFPFMFC_BAD_COMMAND, format!("command {}", f.command.0));
    }
    let delete = matches!(f.command, C::DELETE | C::DELETE_STRICT);
    if f.table_id == TableId::ALL && !delete {
        return refuse(OfpError::OFPFMFC_BAD_TABLE_ID, "all tables are meant only by a delete");
    }
    if f.flags.unknown() != 0 {
        return refuse(OfpError::OFPFMFC_BAD_FLAGS, format!("flags {:#x}", f.flags.unknown()));
    }
    f.matching.validate().map_err(|e| Refusal { code: e.code, what: e.to_string() })?;
    // A delete's instructions are ignored (and may be there: it is a flow-mod like any other).
    if delete {
        return Ok(());
    }
    instructions(&f.instructions, f.table_id, &f.matching)
}

/// Judges the instructions of an entry of `table` with this match.
///
/// # Errors
/// `OFPBIC_*` for an instruction, `OFPBAC_*` for an action in it, `OFPMMFC_INVALID_METER` for a meter that cannot be.
pub fn instructions(list: &[Instruction], table: TableId, matching: &Match) -> Result<(), Refusal> {
    for (i, x) in list.iter().enumerate() {
        match x {
            Instruction::GotoTable(t) if t.0 <= table.0 || *t == TableId::ALL => {
                return refuse(OfpError::OFPBIC_BAD_TABLE_ID, format!("goto_table:{t} from table {table}"))
            }
            Instruction::WriteActions(a) | Instruction::ApplyActions(a) => {
                actions(a, Some(matching), Place::Flow)?
            }
            Instruction::Meter(m) if m.0 == 0 || *m > MeterId::MAX => {
                return refuse(OfpError::OFPMMFC_INVALID_METER, format!("meter {m}"))
            }
            Instruction::Experimenter { experimenter, .. } => {
                return refuse(
                    OfpError::OFPBIC_BAD_EXPERIMENTER,
                    format!("instruction of experimenter {experimenter:#010x}"),
                )
            }
            Instruction::Unknown { kind, .. } => {
                return refuse(OfpError::OFPBIC_UNKNOWN_INST, format!("instruction type {kind}"))
            }
            Instruction::GotoTable(_)
            | Instruction::WriteMetadata { .. }
            | Instruction::ClearActions
            | Instruction::Meter(_) => {}
        }
        if list[..i].iter().any(|before| before.kind() == x.kind()) {
            return refuse(OfpError::OFPBIC_UNSUP_INST, format!("instruction type {} twice", x.kind()));
        }
    }
    Ok(())
}

/// Judges actions: with `matching`, also whether they fit the packets that come to them.
///
/// # Errors
/// `OFPBAC_*` of the first action that is wrong.
pub fn actions(list: &[Action], matching: Option<&Match>, place: Place) -> Result<(), Refusal> {
    let mut packet = Packet::of(matching);
    list.iter().try_for_each(|a| action(a, &mut packet, place))
}

/// What is known of a packet on its way through a list of actions; `None`: anything may be.
#[derive(Debug, Clone)]
struct Packet<'a> {
    matching: Option<&'a Match>,
    eth_type: Known,
    ip_proto: Known,
    vlan: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Never matched nor set: a prerequisite on it is not met.
    No,
    Yes(u128),
    /// Changed in a way we cannot follow: nothing is held against it.
    Anything,
}

impl Known {
    fn is(self, values: &[u128]) -> bool {
        match self {
            Self::No => false,
            Self::Yes(v) => values.contains(&v),
            Self::Anything => true,
        }
    }
}

impl<'a> Packet<'a> {
    fn of(matching: Option<&'a Match>) -> Self {
        let known = |f| match matching {
            None => Known::Anything,
            Some(m) => m.get(f).map_or(Known::No, |o| Known::Yes(o.value)),
        };
        let vlan = matching.is_none_or(|m| m.satisfies(Prereq::Vlan));
        Self { matching, eth_type: known(Field::EthType), ip_proto: known(Field::IpProto), vlan }
    }

    fn meets(&self, p: Prereq) -> bool {
        let Some(matching) = self.matching else { return true };
        let ip = self.eth_type.is(&[0x0800, 0x86dd]);
        let nd = |types: &[u128]| {
            self.eth_type == Known::Anything
                || self.ip_proto == Known::Anything
                || matching.get(Field::Icmpv6Type).is_some_and(|t| types.contains(&t.value))
        };
        match p {
            Prereq::None => true,
            Prereq::InPort => matching.satisfies(p),
            Prereq::Vlan => self.vlan,
            Prereq::Ip => ip,
            Prereq::Ipv4 => self.eth_type.is(&[0x0800]),
            Prereq::Ipv6 => self.eth_type.is(&[0x86dd]),
            Prereq::Arp => self.eth_type.is(&[0x0806, 0x8035]),
            Prereq::Tcp => ip && self.ip_proto.is(&[6]),
            Prereq::Udp => ip && self.ip_proto.is(&[17]),
            Prereq::Sctp => ip && self.ip_proto.is(&[132]),
            Prereq::Icmpv4 => self.eth_type.is(&[0x0800]) && self.ip_proto.is(&[1]),
            Prereq::Icmpv6 => self.eth_type.is(&[0x86dd]) && self.ip_proto.is(&[58]),
            Prereq::Nd => self.meets(Prereq::Icmpv6) && nd(&[135, 136]),
            Prereq::NdSol => self.meets(Prereq::Icmpv6) && nd(&[135]),
            Prereq::NdAdv => self.meets(Prereq::Icmpv6) && nd(&[136]),
            Prereq::Mpls => self.eth_type.is(&[0x8847, 0x8848]),
            Prereq::Pbb => self.eth_type.is(&[0x88e7]),
            Prereq::Nsh => self.eth_type.is(&[0x894f]),
        }
    }

    fn wants(&self, p: Prereq, what: impl FnOnce() -> String) -> Result<(), Refusal> {
        if self.meets(p) {
            Ok(())
        } else {
            refuse(OfpError::OFPBAC_MATCH_INCONSISTENT, format!("{} on packets that may not have it", what()))
        }
    }
}

/// A field is read: its prerequisite must be met.
fn read(s: &Subfield, packet: &Packet<'_>) -> Result<(), Refusal> {
    packet.wants(s.field.def().prereq, || format!("{} is read", s.field))
}

/// A field is written: it must be one that can be, and there.
fn write(field: Field, packet: &Packet<'_>) -> Result<(), Refusal> {
    let d = field.def();
    if !d.settable {
        return refuse(OfpError::OFPBAC_BAD_SET_TYPE, format!("{field} cannot be set"));
    }
    packet.wants(d.prereq, || format!("{field} is set"))
}

fn set(oxm: &Oxm, packet: &mut Packet<'_>) -> Result<(), Refusal> {
    let f: &OxmField = match oxm {
        Oxm::Known(f) => f,
        Oxm::Unknown(u) => {
            return refuse(
                OfpError::OFPBAC_BAD_SET_TYPE,
                format!("field {} of class {:#06x} is not known", u.number, u.class),
            )
        }
    };
    write(f.field, packet)?;
    let full = f.field.def().full_mask();
    let mask = f.mask.unwrap_or(full);
    if f.value & !full != 0 || f.value & !mask != 0 || mask & !full != 0 {
        return refuse(
            OfpError::OFPBAC_BAD_SET_ARGUMENT,
            format!("{} has a value wider than itself", f.field),
        );
    }
    if f.field == Field::VlanVid && f.mask.is_none() && f.value & 0x1000 == 0 {
        return refuse(OfpError::OFPBAC_BAD_SET_ARGUMENT, "vlan_vid lacks the present bit 0x1000");
    }
    match f.field {
        Field::EthType => packet.eth_type = Known::Yes(f.value),
        Field::IpProto => packet.ip_proto = Known::Yes(f.value),
        Field::VlanVid | Field::VlanTci => packet.vlan = true,
        _ => {}
    }
    Ok(())
}

fn out_port(port: PortNo, place: Place) -> Result<(), Refusal> {
    let reserved_and_usable = matches!(
        port,
        PortNo::IN_PORT | PortNo::NORMAL | PortNo::FLOOD | PortNo::ALL | PortNo::CONTROLLER | PortNo::LOCAL
    ) || (port == PortNo::TABLE && place == Place::PacketOut);
    if reserved_and_usable || (1..=PortNo::MAX.0).contains(&port.0) {
        Ok(())
    } else {
        refuse(OfpError::OFPBAC_BAD_OUT_PORT, format!("output to port {:#x}", port.0))
    }
}

fn action(a: &Action, packet: &mut Packet<'_>, place: Place) -> Result<(), Refusal> {
    let ethertype = |t: u16, ok: &[u16]| {
        if ok.contains(&t) {
            Ok(())
        } else {
            refuse(OfpError::OFPBAC_BAD_ARGUMENT, format!("Ethertype {t:#06x} cannot be pushed so"))
        }
    };
    match a {
        Action::Output { port, .. } | Action::OutputTrunc { port, .. } => out_port(*port, place)?,
        Action::Group(g) if *g > GroupId::MAX => {
            return refuse(OfpError::OFPBAC_BAD_OUT_GROUP, format!("group {g} cannot be"))
        }
        Action::SetMplsTtl(_) | Action::DecMplsTtl => {
            packet.wants(Prereq::Mpls, || "the MPLS TTL is set".into())?
        }
        Action::SetNwTtl(_) | Action::DecNwTtl | Action::DecTtlCntIds(_) => {
            packet.wants(Prereq::Ip, || "the IP TTL is set".into())?
        }
        Action::PushVlan(t) => {
            ethertype(*t, &[0x8100, 0x88a8])?;
            packet.vlan = true;
        }
        Action::PushMpls(t) => {
            ethertype(*t, &[0x8847, 0x8848])?;
            packet.eth_type = Known::Yes(*t as u128);
        }
        Action::PopMpls(t) => {
            packet.wants(Prereq::Mpls, || "an MPLS label is popped".into())?;
            (packet.eth_type, packet.ip_proto) = (Known::Yes(*t as u128), Known::Anything);
        }
        Action::PushPbb(t) => {
            ethertype(*t, &[0x88e7])?;
            packet.eth_type = Known::Yes(0x88e7);
        }
        Action::PopPbb => {
            packet.wants(Prereq::Pbb, || "a PBB header is popped".into())?;
            (packet.eth_type, packet.ip_proto) = (Known::Anything, Known::Anything);
        }
        // What is below the popped tag is not known to be another.
        Action::PopVlan => packet.vlan = packet.matching.is_none(),
        Action::SetField(oxm) | Action::RegLoad2(oxm) => set(oxm, packet)?,
        Action::RegLoad { dst, value } => {
            write(dst.field, packet)?;
            if *dst == Subfield::whole(dst.field) {
                match dst.field {
                    Field::EthType => packet.eth_type = Known::Yes(*value as u128),
                    Field::IpProto => packet.ip_proto = Known::Yes(*value as u128),
                    _ => {}
                }
            }
            if matches!(dst.field, Field::VlanTci | Field::VlanVid) {
                packet.vlan = true;
            }
        }
        Action::RegMove { src, dst } => {
            if src.n_bits != dst.n_bits {
                return refuse(OfpError::OFPBAC_BAD_SET_LEN, "move between different widths");
            }
            read(src, packet)?;
            write(dst.field, packet)?;
        }
        Action::StackPush(s) | Action::OutputReg { src: s, .. } => read(s, packet)?,
        Action::StackPop(s) => write(s.field, packet)?,
        Action::Multipath(m) => write(m.dst.field, packet)?,
        Action::Bundle(b) => b.dst.iter().try_for_each(|d| write(d.field, packet))?,
        Action::CheckPktLarger { dst, .. } => write(dst.field, packet)?,
        Action::DeleteField(f) => write(*f, packet)?,
        Action::Learn(l) => {
            for s in &l.specs {
                if let LearnSrc::Field(f) = &s.src {
                    read(f, packet)?;
                }
                if let LearnDst::Load(d) = &s.dst {
                    if !d.field.def().settable {
                        return refuse(OfpError::OFPBAC_BAD_SET_TYPE, format!("{} cannot be set", d.field));
                    }
                }
            }
            if l.table_id == 0xff {
                return refuse(OfpError::OFPBAC_BAD_ARGUMENT, "learn into all tables");
            }
            l.result_dst.iter().try_for_each(|d| write(d.field, packet))?;
        }
        Action::Conjunction { clause, n_clauses, .. } => {
            if !(2..=64).contains(n_clauses) || clause >= n_clauses {
                return refuse(
                    OfpError::OFPBAC_BAD_ARGUMENT,
                    format!("conjunction {}/{n_clauses}", *clause as u16 + 1),
                );
            }
            if place != Place::Flow {
                return refuse(OfpError::OFPBAC_UNSUPPORTED_ORDER, "conjunction outside a flow entry");
            }
        }
        Action::Nat(_) => return refuse(OfpError::OFPBAC_BAD_ARGUMENT, "nat outside ct"),
        Action::Ct(c) => {
            packet.wants(Prereq::Ip, || "connection tracking".into())?;
            let mut inside = packet.clone();
            for a in c.actions.iter().filter(|a| !matches!(a, Action::Nat(_))) {
                action(a, &mut inside, place)?;
            }
        }
        Action::Clone(list) => {
            let mut inside = packet.clone();
            list.iter().try_for_each(|a| action(a, &mut inside, place))?;
        }
        // An encapsulation changes what the packet is in ways that are not followed here.
        Action::Encap { .. } | Action::Decap { .. } => {
            (packet.eth_type, packet.ip_proto) = (Known::Anything, Known::Anything);
        }
        Action::Experimenter { experimenter: NICIRA_EXPERIMENTER, body } => {
            let subtype = body.get(..2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            return refuse(OfpError::OFPBAC_BAD_EXP_TYPE, format!("Nicira action {subtype}"));
        }
        Action::Experimenter { experimenter, .. } => {
            return refuse(
                OfpError::OFPBAC_BAD_EXPERIMENTER,
                format!("action of experimenter {experimenter:#010x}"),
            )
        }
        Action::Unknown { kind, .. } => {
            return refuse(OfpError::OFPBAC_BAD_TYPE, format!("action type {kind}"))
        }
        Action::Group(_)
        | Action::CopyTtlOut
        | Action::CopyTtlIn
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::Resubmit { .. }
        | Action::SetTunnel(_)
        | Action::Controller(_)
        | Action::Note(_)
        | Action::Exit
        | Action::FinTimeout { .. }
        | Action::Sample(_)
        | Action::WriteMetadata { .. }
        | Action::CtClear
        | Action::DecNshTtl => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::flow_mod::FlowModFlags;
    use crate::OfpError as E;

    fn ip() -> Match {
        Match::new().with(Field::EthType, 0x0800)
    }
    fn mpls() -> Match {
        Match::new().with(Field::EthType, 0x8847)
    }
    fn set_field(f: Field, v: u128) -> Action {
        Action::SetField(OxmField::exact(f, v).into())
    }
    fn out(port: PortNo) -> Action {
        Action::Output { port, max_len: 0 }
    }
    fn code(m: &Match, list: &[Action]) -> Option<E> {
        actions(list, Some(m), Place::Flow).err().map(|r| r.code)
    }

    #[test]
    fn actions_are_refused_with_the_specified_code() {
        let any = Match::new();
        let unknown = Action::Unknown { kind: 99, body: vec![] };
        let exp = |experimenter| Action::Experimenter { experimenter, body: vec![0, 200] };
        for (m, list, want) in [
            (&any, vec![out(PortNo(1)), out(PortNo::CONTROLLER)], None),
            (&any, vec![out(PortNo(0))], Some(E::OFPBAC_BAD_OUT_PORT)),
            (&any, vec![out(PortNo::ANY)], Some(E::OFPBAC_BAD_OUT_PORT)),
            (&any, vec![out(PortNo(0xffff_ff01))], Some(E::OFPBAC_BAD_OUT_PORT)),
            (&any, vec![out(PortNo::TABLE)], Some(E::OFPBAC_BAD_OUT_PORT)),
            (&any, vec![Action::Group(GroupId::ALL)], Some(E::OFPBAC_BAD_OUT_GROUP)),
            (&any, vec![unknown], Some(E::OFPBAC_BAD_TYPE)),
            (&any, vec![exp(1)], Some(E::OFPBAC_BAD_EXPERIMENTER)),
            (&any, vec![exp(NICIRA_EXPERIMENTER)], Some(E::OFPBAC_BAD_EXP_TYPE)),
            (&any, vec![Action::PushVlan(0x0800)], Some(E::OFPBAC_BAD_ARGUMENT)),
            (&any, vec![Action::PushPbb(0x88a8)], Some(E::OFPBAC_BAD_ARGUMENT)),
            (&any, vec![set_field(Field::InPhyPort, 1)], Some(E::OFPBAC_BAD_SET_TYPE)),
            (&any, vec![set_field(Field::Ipv4Src, 1)], Some(E::OFPBAC_MATCH_INCONSISTENT)),
            (
                &any,
                vec![Action::PushVlan(0x8100), set_field(Field::VlanVid, 5)],
                Some(E::OFPBAC_BAD_SET_ARGUMENT),
            ),
            (
                &any,
                vec![Action::PushVlan(0x8100), set_field(Field::VlanPcp, 8)],
                Some(E::OFPBAC_BAD_SET_ARGUMENT),
            ),
            (&any, vec![Action::DecNwTtl], Some(E::OFPBAC_MATCH_INCONSISTENT)),
            (&any, vec![Action::PopMpls(0x0800)], Some(E::OFPBAC_MATCH_INCONSISTENT)),
            (
                &any,
                vec![Action::Conjunction { id: 1, clause: 2, n_clauses: 2 }],
                Some(E::OFPBAC_BAD_ARGUMENT),
            ),
        ] {
            assert_eq!(code(m, &list), want, "{list:?}");
        }
    }

    #[test]
    fn prerequisites_follow_the_packet() {
        let any = Match::new();
        assert_eq!(code(&any, &[Action::PushVlan(0x8100), set_field(Field::VlanVid, 0x1005)]), None);
        assert_eq!(code(&any, &[Action::PushMpls(0x8847), set_field(Field::MplsLabel, 5)]), None);
        assert_eq!(code(&mpls(), &[Action::PopMpls(0x0800), set_field(Field::Ipv4Src, 5)]), None);
        assert_eq!(code(&mpls(), &[Action::PopMpls(0x0800), set_field(Field::TcpDst, 5)]), None);
        assert_eq!(code(&ip(), &[set_field(Field::TcpDst, 5)]), Some(E::OFPBAC_MATCH_INCONSISTENT));
        assert_eq!(code(&ip().with(Field::IpProto, 6), &[set_field(Field::TcpDst, 5)]), None);
        assert_eq!(
            code(&ip(), &[Action::PushMpls(0x8847), set_field(Field::Ipv4Src, 5)]),
            Some(E::OFPBAC_MATCH_INCONSISTENT)
        );
        assert_eq!(
            code(&any, &[Action::Clone(vec![Action::PushMpls(0x8847)]), set_field(Field::MplsTc, 1)]),
            Some(E::OFPBAC_MATCH_INCONSISTENT)
        );
        assert!(actions(&[set_field(Field::Ipv4Src, 1), Action::DecNwTtl], None, Place::Bucket).is_ok());
        assert!(actions(&[out(PortNo::TABLE)], None, Place::PacketOut).is_ok());
    }

    #[test]
    fn flow_mods_are_refused_with_the_specified_code() {
        let base = FlowMod { table_id: TableId(3), ..Default::default() };
        let with = |i: Vec<Instruction>| FlowMod { instructions: i.into(), ..base.clone() };
        for (f, want) in [
            (base.clone(), None),
            (FlowMod { command: FlowModCommand(9), ..base.clone() }, Some(E::OFPFMFC_BAD_COMMAND)),
            (FlowMod { table_id: TableId::ALL, ..base.clone() }, Some(E::OFPFMFC_BAD_TABLE_ID)),
            (FlowMod { table_id: TableId::ALL, command: FlowModCommand::DELETE, ..base.clone() }, None),
            (FlowMod { flags: FlowModFlags(0x80), ..base.clone() }, Some(E::OFPFMFC_BAD_FLAGS)),
            (
                FlowMod { matching: Match::new().with(Field::TcpDst, 1), ..base.clone() },
                Some(E::OFPBMC_BAD_PREREQ),
            ),
            (with(vec![Instruction::GotoTable(TableId(3))]), Some(E::OFPBIC_BAD_TABLE_ID)),
            (with(vec![Instruction::GotoTable(TableId(4))]), None),
            (with(vec![Instruction::GotoTable(TableId::ALL)]), Some(E::OFPBIC_BAD_TABLE_ID)),
            (with(vec![Instruction::Meter(MeterId(0))]), Some(E::OFPMMFC_INVALID_METER)),
            (with(vec![Instruction::ClearActions, Instruction::ClearActions]), Some(E::OFPBIC_UNSUP_INST)),
            (with(vec![Instruction::Unknown { kind: 9, body: vec![] }]), Some(E::OFPBIC_UNKNOWN_INST)),
            (
                with(vec![Instruction::Experimenter { experimenter: 1, body: vec![] }]),
                Some(E::OFPBIC_BAD_EXPERIMENTER),
            ),
        ] {
            assert_eq!(flow_mod(&f).err().map(|r| r.code), want, "{f:?}");
        }
    }
}
