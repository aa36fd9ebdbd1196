//! What each OpenFlow action does to the translation.

use super::{
    Copied, Credit, Dep, GroupView, List, Origin, PortTarget, Punt, Reason, Step, World, Xlate, MAX_STACKED,
};
use crate::check::constant;
use crate::fields::{self, flow_satisfies, loc, packet_in_match, prereq_mask, sub_loc};
use crate::flow::{mix, pipe, Flow};
use crate::group::Watch;
use crate::learned::{name_of, Answer, Learned};
use datapath::flow_key::{off, MPLS_DEPTH};
use datapath::DpAction;
use openflow::action::{
    hash, BundleAction, ControllerAction, Learn, LearnDst, LearnSrc, Multipath, Subfield,
};
use openflow::field::{Field, Prereq};
use openflow::group::GroupType;
use openflow::msg::{FlowMod, FlowModCommand, FlowModFlags, PacketInReason};
use openflow::{Action, GroupId, Instruction, Match, MeterId, Oxm, OxmField, PortNo, TableId};
use std::sync::Arc;

const VLAN_PRESENT: u16 = 0x1000;
const TCP_FIN_OR_RST: u16 = 0x005;
/// Links that highest random weight chooses among at most: it costs a hash each.
const MAX_HRW_LINKS: u64 = 64;

impl<W: World> Xlate<'_, '_, W> {
    /// Executes actions of a list from `at` on, until one asks for something to be done first.
    pub(super) fn actions(&mut self, list: List<W::Entry>, at: usize, origin: Origin) {
        let n = list.get().len();
        for i in at..n {
            if !self.works() {
                return;
            }
            let action = &list.get()[i];
            if self.reparse && !needs_no_headers(action) {
                self.steps.push(Step::Actions(list, i, origin));
                return self.freeze();
            }
            if self.listener.is_some() {
                let (d, text) =
                    (self.depth.shown, openflow::text::print_actions(std::slice::from_ref(action)));
                self.tell(|l| l.action(d, &text));
            }
            let before = self.steps.len();
            // What the action pushes is to be done before the rest of the list.
            self.steps.push(Step::Actions(list.clone(), i + 1, origin));
            let go_on = self.action(action, origin, list.owner());
            if self.steps.is_empty() || !go_on {
                // Aborted, or this copy of the packet ends here.
                if self.steps.len() > before {
                    self.steps.truncate(before);
                }
                return;
            }
            if self.steps.len() == before + 1 {
                self.steps.pop();
            } else {
                return;
            }
        }
    }

    /// One action, of an entry's `owner` or of nobody's. `false`: the list ends here.
    fn action(&mut self, action: &Action, origin: Origin, owner: Option<&W::Entry>) -> bool {
        match action {
            Action::Output { port, max_len } => self.output(*port, *max_len, origin),
            Action::OutputReg { src, max_len } => match self.read(src).and_then(port_number) {
                Some(port) => self.output(port, *max_len, origin),
                None => self.end(Reason::NoSuchPort),
            },
            Action::OutputTrunc { port, max_len } => self.output_cut(*port, *max_len),
            Action::Group(id) => self.group(*id, origin),
            Action::SetQueue(q) => self.queue.0 = Some(*q),
            Action::PopQueue => self.queue.0 = None,
            Action::SetField(Oxm::Known(f)) | Action::RegLoad2(Oxm::Known(f)) => self.set_field(f),
            Action::RegLoad { dst, value } => self.write(dst, (*value).into()),
            Action::RegMove { src, dst } => {
                if let Some(v) = self.read(src) {
                    self.write(dst, v);
                }
            }
            Action::SetTunnel(id) => self.put_field(Field::TunnelId, (*id).into()),
            Action::StackPush(s) => {
                if self.stack.len() >= MAX_STACKED {
                    self.abort(Reason::StackTooDeep);
                } else if let Some(v) = self.read(s) {
                    self.stack.push((v, s.n_bits));
                }
            }
            Action::StackPop(s) => match self.stack.pop() {
                Some((v, _)) => self.write(s, v),
                None => self.note("the stack is empty"),
            },
            Action::WriteMetadata { metadata, mask } => {
                let old = self.flow.get(pipe::METADATA, 8) as u64;
                self.flow.put(pipe::METADATA, 8, (old & !mask | metadata & mask).into());
            }
            Action::PushVlan(tpid) => self.push_vlan(*tpid),
            Action::PopVlan => self.pop_vlan(),
            Action::PushMpls(t) => self.push_mpls(*t),
            Action::PopMpls(t) => self.pop_mpls(*t),
            Action::PushPbb(_) => self.push_pbb(),
            Action::PopPbb => self.pop_pbb(),
            Action::SetNwTtl(ttl) => self.put_field(Field::IpTtl, (*ttl).into()),
            Action::SetMplsTtl(ttl) => self.put_field(Field::MplsTtl, (*ttl).into()),
            Action::DecNwTtl => return self.dec_ttl(Field::IpTtl, &[0], origin),
            Action::DecTtlCntIds(ids) => return self.dec_ttl(Field::IpTtl, ids, origin),
            Action::DecMplsTtl => return self.dec_ttl(Field::MplsTtl, &[0], origin),
            Action::CopyTtlOut => self.copy_ttl(true),
            Action::CopyTtlIn => self.copy_ttl(false),
            Action::Resubmit { in_port, table, .. } => self.resubmit(*in_port, *table, origin),
            Action::Controller(c) => self.controller(c, origin),
            Action::Learn(l) => self.learn(l, owner.cloned()),
            Action::Multipath(m) => self.multipath(m),
            Action::Bundle(b) => self.bundle(b, origin),
            Action::Clone(list) => {
                if self.deeper() {
                    let list = match owner {
                        Some(e) => List::Clone(Arc::new((e.clone(), list.clone()))),
                        None => List::Own(list.clone().into()),
                    };
                    self.copy(Copied::Clone, vec![Step::Actions(list, 0, origin)]);
                }
            }
            Action::Exit => {
                self.exit();
                return false;
            }
            Action::FinTimeout { idle, hard } => {
                if let Some(e) = owner {
                    self.fin_timeout(e, *idle, *hard);
                }
            }
            Action::Note(_) | Action::Conjunction { .. } | Action::Sample(_) => {}
            Action::SetField(_)
            | Action::RegLoad2(_)
            | Action::Ct(_)
            | Action::Nat(_)
            | Action::CtClear
            | Action::CheckPktLarger { .. }
            | Action::Encap { .. }
            | Action::Decap { .. }
            | Action::DecNshTtl
            | Action::DeleteField(_)
            | Action::Experimenter { .. }
            | Action::Unknown { .. } => {
                // Refused when a flow entry is added; kept here so that a new action is thought of.
                self.end(Reason::Unsupported);
            }
        }
        true
    }

    /// Nothing more is done for the packet in this bridge, or this bucket: no action of any table that led here, and no action set. (As Open
    /// vSwitch does, whose manual has the action set executed.)
    fn exit(&mut self) {
        let ends = |s: &Step<W::Entry>| matches!(s, Step::EndCopy(Copied::Bucket | Copied::Patch, _));
        let from = self.steps.iter().rposition(ends).map_or(0, |i| i + 1);
        // Clones on the way are closed.
        let closing: Vec<_> = self.steps.drain(from..).filter(|s| matches!(s, Step::EndCopy(..))).collect();
        self.steps.extend(closing);
        self.action_set.0.clear();
    }

    /// Nothing more is done at this level: what a resubmit led to ends, and what is around it goes on; else this copy of the packet ends.
    fn end_of_level(&mut self) {
        let ends = |s: &Step<W::Entry>| matches!(s, Step::EndCopy(..) | Step::Leave(_));
        let from = self.steps.iter().rposition(ends).map_or(0, |i| i + 1);
        self.steps.truncate(from);
        if !matches!(self.steps.last(), Some(Step::Leave(_))) {
            self.action_set.0.clear();
        }
    }

    // ---- fields ----

    /// Bits of a field as they are now.
    fn read(&mut self, s: &Subfield) -> Option<u128> {
        let l = sub_loc(s)?;
        self.look_mask(&prereq_mask(s.field.def().prereq));
        self.look_mask(&l.mask());
        Some(l.get(&self.flow))
    }
    fn write(&mut self, s: &Subfield, v: u128) {
        if let Some(l) = sub_loc(s) {
            let bits = l.mask();
            self.store(s.field, bits, |f| l.set(f, v));
        }
    }
    fn set_field(&mut self, f: &OxmField) {
        if let Some(l) = loc(f.field) {
            let mask = f.mask.unwrap_or(f.field.def().full_mask());
            let mut bits = Flow::ZERO;
            l.set_masked(&mut bits, u128::MAX, mask);
            self.store(f.field, bits, |flow| l.set_masked(flow, f.value, mask));
        }
    }
    fn put_field(&mut self, field: Field, v: u128) {
        self.set_field(&OxmField::exact(field, v));
    }
    /// Changes `bits` of the flow, if the packet has the field at all.
    fn store(&mut self, field: Field, bits: Flow, change: impl FnOnce(&mut Flow)) {
        let need = match field {
            Field::VlanVid | Field::VlanPcp => Prereq::Vlan,
            f => f.def().prereq,
        };
        self.look_mask(&prereq_mask(need));
        if !flow_satisfies(&self.flow, need) {
            return self.note("the packet has no such field: not set");
        }
        if field == Field::VlanTci {
            return self.store_tci(bits, change);
        }
        change(&mut self.flow);
        if field == Field::NxInPort {
            let port = PortNo::from_16(self.flow.u16(pipe::IN_PORT + 2));
            self.flow.put(pipe::IN_PORT, 4, port.0.into());
        }
        self.known.or_assign(&bits);
        self.pending.or_assign(&bits);
        // What the headers below mean now is only known after parsing them.
        self.reparse |= matches!(field, Field::EthType | Field::IpProto);
    }

    /// Changes `bits` of the VLAN TCI, whose present bit says whether there is a tag: one is pushed or popped as it comes or goes.
    fn store_tci(&mut self, bits: Flow, change: impl FnOnce(&mut Flow)) {
        self.look(off::VLAN0_TCI, 2, VLAN_PRESENT.into());
        let mut changed = self.flow;
        change(&mut changed);
        let (before, after) = (self.flow.u16(off::VLAN0_TCI), changed.u16(off::VLAN0_TCI));
        match (before & VLAN_PRESENT != 0, after & VLAN_PRESENT != 0) {
            (true, true) => {}
            (false, true) => self.push_vlan(0x8100),
            (true, false) => return self.pop_vlan(),
            (false, false) => return self.note("a VLAN TCI without the present bit: no tag"),
        }
        self.flow.put(off::VLAN0_TCI, 2, after.into());
        self.known.or_assign(&bits);
        self.pending.or_assign(&bits);
    }

    // ---- tags and labels ----

    /// Everything about VLAN tags, before they move.
    fn look_vlans(&mut self) {
        self.look(off::VLAN0_TCI, 2, 0xffff);
        self.look(off::VLAN0_TPID, 6, u128::MAX);
        self.look(off::ETH_TYPE, 2, 0xffff);
    }
    fn vlans_are_known(&mut self) {
        self.known.put(off::VLAN0_TCI, 2, 0xffff);
        self.known.put(off::VLAN0_TPID, 6, u128::MAX >> 80);
    }
    fn push_vlan(&mut self, tpid: u16) {
        self.commit();
        self.look_vlans();
        let (tci0, tpid0) = (self.flow.u16(off::VLAN0_TCI), self.flow.u16(off::VLAN0_TPID));
        let (tci1, tpid1) = (self.flow.u16(off::VLAN1_TCI), self.flow.u16(off::VLAN1_TPID));
        if tci1 & VLAN_PRESENT != 0 {
            self.extra_vlans.push((tci1, tpid1));
        }
        let tci = tci0 & !VLAN_PRESENT; // id and priority are copied from the tag below, if there is one
        self.emit(DpAction::PushVlan { tpid, tci });
        self.put_tag(0, tci | VLAN_PRESENT, tpid);
        self.put_tag(1, tci0, tpid0);
        self.vlans_are_known();
    }
    fn pop_vlan(&mut self) {
        self.look_vlans();
        if self.flow.u16(off::VLAN0_TCI) & VLAN_PRESENT == 0 {
            return self.note("no VLAN tag to pop");
        }
        self.commit();
        self.emit(DpAction::PopVlan);
        let (tci1, tpid1) = (self.flow.u16(off::VLAN1_TCI), self.flow.u16(off::VLAN1_TPID));
        let (tci2, tpid2) = self.extra_vlans.pop().unwrap_or((0, 0));
        self.put_tag(0, tci1, tpid1);
        self.put_tag(1, tci2, tpid2);
        self.vlans_are_known();
        // A third tag that the key did not hold: what the headers are is only known after parsing them.
        self.reparse |= matches!(self.flow.eth_type(), 0x8100 | 0x88a8);
    }
    fn put_tag(&mut self, n: usize, tci: u16, tpid: u16) {
        let at = [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)][n];
        self.flow.put(at.0, 2, tci.into());
        self.flow.put(at.1, 2, tpid.into());
    }

    fn is_mpls(&self) -> bool {
        flow_satisfies(&self.flow, Prereq::Mpls)
    }
    fn is_ip(&self) -> bool {
        flow_satisfies(&self.flow, Prereq::Ip)
    }
    fn lse(&self, n: usize) -> u32 {
        self.flow.u32(off::MPLS_LSE + 4 * n)
    }
    /// Network and transport headers are out of sight from now on (constant zero).
    fn hide_l3(&mut self) {
        for (at, n) in [(off::IPV4_SRC, 16), (off::TCP_FLAGS, 2), (off::IPV6_SRC, 64), (off::IPV6_EXTHDR, 2)]
        {
            for b in at..at + n {
                self.flow.set_byte(b, 0);
                self.known.set_byte(b, 0xff);
            }
        }
    }
    fn push_mpls(&mut self, eth_type: u16) {
        self.commit();
        self.look(off::ETH_TYPE, 2, 0xffff);
        self.look(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
        let lse = if self.is_mpls() {
            self.lse(0) & !0x100
        } else {
            let ttl = if self.is_ip() {
                self.look(off::IP_TTL, 1, 0xff);
                u32::from(self.flow.byte(off::IP_TTL))
            } else {
                0
            };
            self.hide_l3();
            0x100 | ttl
        };
        self.emit(DpAction::PushMpls { eth_type, lse });
        for n in (1..MPLS_DEPTH).rev() {
            let v = self.lse(n - 1);
            self.flow.put(off::MPLS_LSE + 4 * n, 4, v.into());
        }
        self.flow.put(off::MPLS_LSE, 4, lse.into());
        self.known.put(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
        self.set_eth_type(eth_type);
    }
    /// The Ethertype, as a consequence of a push or pop.
    fn set_eth_type(&mut self, t: u16) {
        self.flow.put(off::ETH_TYPE, 2, t.into());
        self.known.put(off::ETH_TYPE, 2, 0xffff);
    }
    fn pop_mpls(&mut self, eth_type: u16) {
        self.look(off::ETH_TYPE, 2, 0xffff);
        if !self.is_mpls() {
            return self.note("no MPLS label to pop");
        }
        self.commit();
        self.look(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
        let depth = (0..MPLS_DEPTH).find(|&n| self.lse(n) & 0x100 != 0).map(|n| n + 1);
        self.emit(DpAction::PopMpls { eth_type });
        for n in 0..MPLS_DEPTH {
            let v = if n + 1 < MPLS_DEPTH { self.lse(n + 1) } else { 0 };
            self.flow.put(off::MPLS_LSE + 4 * n, 4, v.into());
        }
        self.known.put(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
        self.set_eth_type(eth_type);
        // Below the last label, and below what the key holds, nothing was parsed.
        self.reparse |= !self.is_mpls() || depth.is_none_or(|d| d == 1);
    }
    fn push_pbb(&mut self) {
        self.commit();
        self.look(off::ETH_TYPE, 2, 0xffff);
        self.look_vlans();
        let was_pbb = flow_satisfies(&self.flow, Prereq::Pbb);
        let isid = if was_pbb {
            self.look(off::PBB_ISID, 4, 0xff_ffff);
            self.flow.u32(off::PBB_ISID)
        } else {
            0
        };
        self.emit(DpAction::PushPbb { isid });
        self.hide_l3();
        self.set_eth_type(0x88e7);
        self.put_tag(0, 0, 0);
        self.put_tag(1, 0, 0);
        self.extra_vlans.clear();
        self.vlans_are_known();
        self.flow.put(off::PBB_ISID, 4, isid.into());
        self.flow.put(off::PBB_UCA, 1, 0);
        self.known.put(off::PBB_ISID, 4, u128::MAX >> 96);
        self.known.put(off::PBB_UCA, 1, 0xff);
    }
    fn pop_pbb(&mut self) {
        self.look(off::ETH_TYPE, 2, 0xffff);
        if !flow_satisfies(&self.flow, Prereq::Pbb) {
            return self.note("no PBB header to pop");
        }
        self.commit();
        self.emit(DpAction::PopPbb);
        // The customer's frame is not in the key.
        self.reparse = true;
    }
    fn copy_ttl(&mut self, out: bool) {
        self.look(off::ETH_TYPE, 2, 0xffff);
        if !self.is_mpls() {
            return self.note("no MPLS header to copy a TTL of");
        }
        self.commit();
        self.look(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
        let two = self.lse(0) & 0x100 == 0;
        let (a, b) = (self.lse(0), self.lse(1));
        if out {
            self.emit(DpAction::CopyTtlOut);
            if two {
                self.flow.put(off::MPLS_LSE, 4, (a & !0xff | b & 0xff).into());
            } else {
                self.reparse = true; // the IP header's TTL is not in the key
            }
        } else {
            self.emit(DpAction::CopyTtlIn);
            if two {
                self.flow.put(off::MPLS_LSE + 4, 4, (b & !0xff | a & 0xff).into());
            }
        }
        self.known.put(off::MPLS_LSE, 4 * MPLS_DEPTH, u128::MAX);
    }

    /// `false`: the TTL is used up, the packet goes to the controllers with these ids and no further.
    fn dec_ttl(&mut self, field: Field, ids: &[u16], origin: Origin) -> bool {
        let Some(l) = loc(field) else { return true };
        self.look_mask(&prereq_mask(field.def().prereq));
        if !flow_satisfies(&self.flow, field.def().prereq) {
            self.note("the packet has no TTL: not decremented");
            return true;
        }
        let ttl = l.get(&self.flow);
        let bits = l.mask();
        let is_set = bits.is_subset_of(&self.known);
        if ttl <= 1 {
            self.look_mask(&bits);
            self.commit();
            for id in ids {
                self.punt(origin, PacketInReason::INVALID_TTL, 0xffff, *id, Vec::new());
            }
            self.end(Reason::InvalidTtl);
            self.end_of_level();
            return false;
        }
        l.set(&mut self.flow, ttl - 1);
        if is_set {
            self.pending.or_assign(&bits);
        } else {
            // The packet's own TTL, whatever it is: the datapath decrements. Leading bits that prove it large enough are looked at, so
            // there are at most eight answers for all TTLs. Whoever looks at the TTL later looks at the packet's.
            let brought = l.get(&self.start);
            let floor = 1u128 << brought.max(1).ilog2();
            let enough = floor >= brought.saturating_sub(ttl) + 2;
            let mut bits = Flow::ZERO;
            l.set(&mut bits, if enough { !(floor - 1) } else { u128::MAX });
            self.look_mask(&bits);
            self.emit(if field == Field::IpTtl { DpAction::DecNwTtl } else { DpAction::DecMplsTtl });
        }
        true
    }

    /// A TCP packet that ends its connection shortens the timeouts of the entry.
    fn fin_timeout(&mut self, e: &W::Entry, idle: u16, hard: u16) {
        self.look_mask(&prereq_mask(Prereq::Tcp));
        if flow_satisfies(&self.flow, Prereq::Tcp) {
            self.look(off::TCP_FLAGS, 2, TCP_FIN_OR_RST.into());
            if self.flow.u16(off::TCP_FLAGS) & TCP_FIN_OR_RST != 0 {
                self.credits.push(Credit::Fin(self.bridge, e.clone(), idle, hard));
            }
        }
    }

    // ---- outputs ----

    fn punt(&mut self, origin: Origin, reason: PacketInReason, max_len: u16, id: u16, userdata: Vec<u8>) {
        let in_port = PortNo(self.flow.in_port());
        // "... packets on that port that generate a table miss should never trigger a packet-in" (1.3.5, "Port Structures").
        if origin.is_miss && self.world.port(self.bridge, in_port).is_some_and(|p| p.no_packet_in) {
            return self.end(Reason::NoPacketIn);
        }
        self.commit();
        // What a packet-in tells of the packet besides its frame.
        self.look(off::TUNNEL_ID, 8, u128::MAX >> 64);
        self.look(off::PKT_MARK, 4, u128::MAX >> 96);
        let token = self.world.punt(Punt {
            bridge: self.bridge,
            controller_id: id,
            reason,
            table: origin.table,
            cookie: origin.cookie,
            max_len,
            metadata: packet_in_match(&self.flow),
            userdata,
        });
        self.emit(DpAction::Userspace(token));
    }
    fn controller(&mut self, c: &ControllerAction, origin: Origin) {
        let meter = c.meter_id.and_then(|id| {
            self.deps.push(Dep::Meter(self.bridge, MeterId(id)));
            self.world.meter(self.bridge, MeterId(id))
        });
        self.commit();
        // On a copy: of what the meter drops, the controllers alone hear nothing.
        self.out.push(meter.iter().map(|(id, _)| DpAction::Meter(*id)).collect());
        self.punt(origin, PacketInReason(c.reason), c.max_len, c.controller_id, c.userdata.clone());
        let inner = self.out.pop().unwrap_or_default();
        self.join(inner);
    }

    pub(super) fn output(&mut self, port: PortNo, max_len: u16, origin: Origin) {
        let in_port = PortNo(self.flow.in_port());
        match port {
            PortNo::CONTROLLER => {
                self.punt(origin, origin.reason(), max_len, 0, Vec::new());
            }
            PortNo::IN_PORT => self.send(in_port),
            PortNo::ALL | PortNo::FLOOD => self.flood(|_| true),
            PortNo::NORMAL => self.normal(),
            PortNo::TABLE => {
                // Only in packet-outs (OpenFlow 1.3.5, "Reserved Ports").
                if origin.table == Origin::NONE.table && self.deeper() {
                    self.steps.push(Step::ActionSet);
                    self.steps.push(Step::Table(0));
                }
            }
            PortNo::ANY | PortNo::UNSET => self.end(Reason::NoSuchPort),
            p if p == in_port => self.end(Reason::InputPort),
            p => self.send(p),
        }
    }

    /// Out by one port, at most so many bytes of it. No other output is cut, also if this one comes to nothing.
    fn output_cut(&mut self, port: PortNo, max_len: u32) {
        let in_port = PortNo(self.flow.in_port());
        let port = match port {
            PortNo::IN_PORT => in_port,
            p if p == in_port => return self.end(Reason::InputPort),
            p => p,
        };
        if let Some(PortTarget::Patch(_)) = self.world.port(self.bridge, port).map(|p| p.target) {
            self.deps.push(Dep::Port(self.bridge, port));
            self.note("a packet cannot be cut on its way through a patch port");
            return self.end(Reason::Unsupported);
        }
        self.send_at_most(port, Some(max_len));
    }

    /// To every port that `wanted` names, but the one it came in by.
    pub(super) fn flood(&mut self, wanted: impl Fn(PortNo) -> bool) {
        let in_port = PortNo(self.flow.in_port());
        self.deps.push(Dep::Ports(self.bridge));
        let ports = self.world.ports(self.bridge);
        for p in ports.iter().filter(|p| p.number != in_port && !p.no_fwd && wanted(p.number)) {
            match p.target {
                // Sent at once; what crosses to another bridge comes after all of these.
                PortTarget::Datapath(_) => self.send(p.number),
                PortTarget::Patch(_) => self.steps.push(Step::Send(p.number)),
            }
        }
    }

    /// Out by one port, as the packet is now.
    pub(super) fn send(&mut self, number: PortNo) {
        self.send_at_most(number, None);
    }
    fn send_at_most(&mut self, number: PortNo, max_len: Option<u32>) {
        self.deps.push(Dep::Port(self.bridge, number));
        let Some(port) = self.world.port(self.bridge, number) else { return self.end(Reason::NoSuchPort) };
        if port.no_fwd {
            return self.end(Reason::OutputBlocked);
        }
        match port.target {
            PortTarget::Datapath(id) => {
                self.commit();
                if self.queue.0 != self.queue.1 {
                    self.queue.1 = self.queue.0;
                    self.emit(DpAction::SetQueue(self.queue.0));
                }
                if let Some(n) = max_len {
                    self.emit(DpAction::Trunc(n));
                }
                self.emit(DpAction::Output(id));
            }
            PortTarget::Patch(None) => self.end(Reason::NoSuchPort),
            PortTarget::Patch(Some((bridge, peer))) => self.cross(number, bridge, peer),
        }
    }

    /// Through a patch port: a copy of the packet enters the other bridge.
    fn cross(&mut self, out: PortNo, bridge: crate::api::BridgeId, peer: PortNo) {
        if !self.deeper() {
            return;
        }
        self.credits.push(Credit::Patch(self.bridge, out, false));
        self.credits.push(Credit::Patch(bridge, peer, true));
        self.commit();
        self.copy(Copied::Patch, Vec::new());
        self.bridge = bridge;
        for at in (pipe::IN_PORT..pipe::CONJ_ID + 4).step_by(4) {
            self.flow.put(at, 4, 0);
        }
        self.flow.put(pipe::IN_PORT, 4, peer.0.into());
        self.flow.put(pipe::IN_PHY_PORT, 4, peer.0.into());
        self.flow.put(pipe::ACTSET_OUTPUT, 4, PortNo::UNSET.0.into());
        self.action_set.0.clear();
        self.last = Origin::NONE;
        self.stack.clear();
        self.queue.0 = None;
        self.enter_bridge();
    }

    fn resubmit(&mut self, in_port: Option<PortNo>, table: Option<u8>, origin: Origin) {
        let here = origin.current_table();
        let table = table.filter(|t| *t != 0xff).unwrap_or(here);
        if table > here {
            self.nest(0);
        } else if !self.deeper() {
            return;
        }
        self.steps.push(Step::Resubmit(table, in_port.filter(|p| *p != PortNo::IN_PORT)));
    }

    // ---- groups ----

    fn group(&mut self, id: GroupId, origin: Origin) {
        self.deps.push(Dep::Group(self.bridge, id));
        let Some(group) = self.world.group(self.bridge, id) else { return self.end(Reason::NoSuchGroup) };
        if !self.deeper() {
            return;
        }
        self.credits.push(Credit::Group(self.bridge, id, group.clone()));
        let chosen = match group.kind() {
            GroupType::ALL => {
                // In order: the first bucket's copy is pushed last.
                for i in (0..group.buckets().len()).rev() {
                    self.bucket_later(id, &group, i, origin);
                }
                return;
            }
            GroupType::INDIRECT => (!group.buckets().is_empty()).then_some(0),
            GroupType::SELECT => {
                let mut looked = Flow::ZERO;
                let i = group.select(&self.flow, &mut looked);
                self.look_mask(&looked);
                self.depends_on_watched(&group);
                i
            }
            _ => {
                self.depends_on_watched(&group);
                group.failover()
            }
        };
        match chosen {
            Some(i) => self.bucket_later(id, &group, i, origin),
            None => self.end(Reason::NoBucket),
        }
    }

    fn depends_on_watched(&mut self, group: &W::Group) {
        let bridge = self.bridge;
        self.deps.extend(group.watched().iter().map(|w| match w {
            Watch::Port(p) => Dep::Port(bridge, *p),
            Watch::Group(g) => Dep::Group(bridge, *g),
        }));
    }

    /// Has a bucket's actions, as an action set, executed on a copy of the packet when its turn comes.
    fn bucket_later(&mut self, id: GroupId, group: &W::Group, i: usize, origin: Origin) {
        self.credits.push(Credit::Bucket(self.bridge, id, group.clone(), i));
        let mut set = super::ActionSet::default();
        group.buckets()[i].actions.iter().for_each(|a| set.write(a));
        self.steps.push(Step::Bucket(i, set.take().into(), Origin { in_group: true, ..origin }));
    }
    pub(super) fn bucket(&mut self, i: usize, list: Arc<[Action]>, origin: Origin) {
        if self.reparse {
            self.steps.push(Step::Bucket(i, list, origin));
            return self.freeze();
        }
        let d = self.depth.shown;
        self.tell(|l| l.action(d, &format!("bucket {i}")));
        self.nest(0);
        self.copy(Copied::Bucket, vec![Step::Actions(List::Own(list), 0, origin)]);
    }

    // ---- hashing ----

    /// Bytes of the flow, un-wildcarding them.
    fn bytes(&mut self, at: usize, n: usize) -> u128 {
        self.look(at, n, u128::MAX >> (128 - 8 * n));
        self.flow.get(at, n)
    }
    /// A hash of the fields that `NX_HASH_FIELDS_*` asks for and the packet has, and of no others; these alone are un-wildcarded.
    fn hash_fields(&mut self, fields: u16, basis: u16) -> u64 {
        let one = |v: u128| mix(mix(0x6f66, v as u64), (v >> 64) as u64);
        // The same with the two exchanged.
        let pair = |a: u128, b: u128| one(a).wrapping_add(one(b));
        let mut h = mix(0x6f66, basis.into());
        if fields == hash::ETH_SRC {
            return mix(h, one(self.bytes(off::ETH_SRC, 6)));
        }
        if fields == hash::SYMMETRIC_L4 {
            let (dst, src) = (self.bytes(off::ETH_DST, 6), self.bytes(off::ETH_SRC, 6));
            h = mix(h, pair(dst, src));
            h = mix(h, one(self.bytes(off::ETH_TYPE, 2)));
            for tci in [off::VLAN0_TCI, off::VLAN1_TCI] {
                // The id, and whether there is a tag; not the priority.
                self.look(tci, 2, 0x1fff);
                h = mix(h, u64::from(self.flow.u16(tci) & 0x1fff));
            }
        }
        self.look(off::ETH_TYPE, 2, 0xffff);
        let (at, n) = match self.flow.eth_type() {
            0x0800 => (off::IPV4_SRC, 4),
            0x86dd => (off::IPV6_SRC, 16),
            _ => return h,
        };
        match fields {
            hash::NW_SRC => return mix(h, one(self.bytes(at, n))),
            hash::NW_DST => return mix(h, one(self.bytes(at + n, n))),
            _ => {}
        }
        let (src, dst) = (self.bytes(at, n), self.bytes(at + n, n));
        h = mix(h, pair(src, dst));
        if fields == hash::SYMMETRIC_L3 {
            return h;
        }
        h = mix(h, one(self.bytes(off::IP_PROTO, 1)));
        let with_udp = fields == hash::SYMMETRIC_L3L4_UDP;
        let has_ports = [Prereq::Tcp, Prereq::Sctp].into_iter().chain(with_udp.then_some(Prereq::Udp));
        let mut ports = false;
        for p in has_ports {
            self.look_mask(&prereq_mask(p));
            ports |= flow_satisfies(&self.flow, p);
        }
        if ports {
            let (src, dst) = (self.bytes(off::TP_SRC, 2), self.bytes(off::TP_DST, 2));
            h = mix(h, pair(src, dst));
        }
        h
    }
    fn multipath(&mut self, m: &Multipath) {
        let h = self.hash_fields(m.fields, m.basis);
        let n = u64::from(m.max_link) + 1;
        let modulo_n = h % n;
        let link = match m.algorithm {
            hash::MODULO_N => modulo_n,
            hash::ITERATIVE => {
                let arg = u64::from(m.arg);
                let arg = if (n..=4 * n).contains(&arg) { arg } else { n.next_power_of_two() };
                // A link is found at once, nearly always: at least a quarter of the numbers are links.
                (1..=64).map(|i| mix(h, i) % arg).find(|l| *l < n).unwrap_or(modulo_n)
            }
            hash::HRW if n <= MAX_HRW_LINKS => (0..n).max_by_key(|l| mix(h, *l + 1)).unwrap_or(0),
            // Threshold, also for more links than highest random weight is good for.
            _ => ((u128::from(h) * u128::from(n)) >> 64) as u64,
        };
        self.write(&m.dst, link.into());
    }
    fn bundle(&mut self, b: &BundleAction, origin: Origin) {
        for p in &b.members {
            self.deps.push(Dep::Port(self.bridge, *p));
        }
        let live: Vec<PortNo> =
            b.members.iter().filter(|p| self.world.live(self.bridge, **p)).copied().collect();
        let chosen = match b.algorithm {
            hash::ACTIVE_BACKUP => live.first().copied(),
            _ => {
                let h = self.hash_fields(b.fields, b.basis);
                live.into_iter().max_by_key(|p| mix(h, p.0.into()))
            }
        };
        match (&b.dst, chosen) {
            // 0xffff, 16-bit OFPP_NONE, if none is live.
            (Some(dst), port) => self.write(dst, port.unwrap_or(PortNo::ANY).to_16().into()),
            (None, Some(port)) => self.output(port, 0xffff, origin),
            (None, None) => self.note("no member of the bundle is live"),
        }
    }

    // ---- learn ----

    fn learn(&mut self, l: &Learn, by: Option<W::Entry>) {
        let mut flow = FlowMod { command: FlowModCommand::ADD, ..FlowMod::default() };
        flow.table_id = TableId(l.table_id);
        flow.priority = l.priority;
        flow.cookie = l.cookie;
        flow.idle_timeout = l.idle_timeout;
        flow.hard_timeout = l.hard_timeout;
        if l.flags & Learn::SEND_FLOW_REM != 0 {
            flow.flags = FlowModFlags::SEND_FLOW_REM;
        }
        let mut actions = Vec::new();
        if l.fin_idle_timeout != 0 || l.fin_hard_timeout != 0 {
            actions.push(Action::FinTimeout { idle: l.fin_idle_timeout, hard: l.fin_hard_timeout });
        }
        for s in &l.specs {
            let v = match &s.src {
                LearnSrc::Field(f) => match self.read(f) {
                    Some(v) => v,
                    None => continue,
                },
                LearnSrc::Immediate(b) => constant(b),
            };
            match &s.dst {
                LearnDst::Match(d) => learn_match(&mut flow.matching, d, v),
                LearnDst::Load(d) => learn_loads(&mut actions, d, v),
                LearnDst::Output => {
                    actions.extend(learn_port(v).map(|port| Action::Output { port, max_len: 0 }));
                }
            }
        }
        if !actions.is_empty() {
            flow.instructions = vec![Instruction::ApplyActions(actions)].into();
        }
        let mut name = 0;
        if l.limit != 0 {
            let place = fields::match_to_flow(&flow.matching);
            name = place.map_or(0, |(value, mask)| name_of(&value, &mask, flow.priority));
        }
        let what = Arc::new(Learned { flow, limit: l.limit, name, by });
        let answer = self.world.learn(self.bridge, &what, self.side_effects);
        match answer {
            Answer::Yes if l.limit != 0 => self.deps.push(Dep::Learned(self.bridge, what.set(), name)),
            Answer::Yes => {}
            Answer::Full => {
                self.note("the limit is reached: not learned");
                self.deps.push(Dep::LearnRoom(self.bridge, what.set()));
            }
            Answer::Busy => self.cacheable = false,
        }
        if answer == Answer::Yes {
            self.credits.push(Credit::Learn(self.bridge, what));
        }
        if let Some(dst) = &l.result_dst {
            self.write(dst, u128::from(answer == Answer::Yes));
        }
    }
}

/// A learned match. A 16-bit in_port is the port itself, by its number of today.
fn learn_match(m: &mut Match, d: &Subfield, v: u128) {
    if *d == Subfield::whole(Field::NxInPort) {
        fields::match_subfield(m, &Subfield::whole(Field::InPort), PortNo::from_16(v as u16).0.into());
    } else {
        fields::match_subfield(m, d, v);
    }
}

/// A learned load, in pieces of the 64 bits that `NXAST_REG_LOAD` can hold.
fn learn_loads(actions: &mut Vec<Action>, d: &Subfield, v: u128) {
    for at in (0..d.n_bits).step_by(64) {
        let n_bits = 64.min(d.n_bits - at);
        let dst = Subfield { field: d.field, offset: d.offset + at, n_bits };
        actions.push(Action::RegLoad { dst, value: (v >> at) as u64 & u64::MAX >> (64 - n_bits) });
    }
}

/// The port that bits of a field name: 16 bits hold a number of OpenFlow 1.0's, as `NXM_OF_IN_PORT` and registers have them, and more
/// of them one of OpenFlow 1.3's. `None`: none can have it.
fn port_number(v: u128) -> Option<PortNo> {
    u16::try_from(v).map(PortNo::from_16).or_else(|_| u32::try_from(v).map(PortNo)).ok()
}

/// The port of a learned output: a port that can be, or one of those reserved that Open vSwitch learns. `None`: no output.
fn learn_port(v: u128) -> Option<PortNo> {
    let port = port_number(v)?;
    let reserved = matches!(port, PortNo::IN_PORT | PortNo::FLOOD | PortNo::ALL | PortNo::LOCAL);
    (reserved || port.0 != 0 && port <= PortNo::MAX).then_some(port)
}

/// Actions that can be executed on a packet whose headers below were not parsed.
fn needs_no_headers(a: &Action) -> bool {
    match a {
        Action::Output { port, .. } => !matches!(*port, PortNo::NORMAL | PortNo::TABLE),
        Action::OutputTrunc { .. }
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::Note(_)
        | Action::Exit => true,
        Action::Controller(_) | Action::SetTunnel(_) => true,
        Action::SetField(Oxm::Known(f)) => {
            matches!(f.field.def().prereq, Prereq::None) && f.field != Field::VlanVid
        }
        _ => false,
    }
}
