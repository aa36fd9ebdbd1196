//! Actions compiled once per megaflow into a flat program, and its execution on one packet.

use crate::action::DpAction;
use crate::edit::{self, EditError, Rewrite, SetOp};
use crate::extract::{Layout, L3};
use crate::flow_key::{off, FlowKey};
use crate::meter;
use crate::packet::{GsoType, Packet};
use crate::stats::DropReason;

/// Deepest nesting of [`DpAction::Clone`].
pub const MAX_DEPTH: usize = 16;

/// One step.
pub enum Op {
    /// Send a copy.
    OutputCopy(u32),
    /// Send the packet itself: nothing follows.
    OutputLast(u32),
    /// Queue for the outputs that follow.
    SetQueue(u32),
    /// Rewrite.
    Set(Box<SetOp>),
    /// See [`DpAction`] for these.
    #[allow(missing_docs)]
    DecNwTtl,
    #[allow(missing_docs)]
    PushVlan(u16, u16),
    #[allow(missing_docs)]
    PopVlan,
    #[allow(missing_docs)]
    PushMpls(u16, u32),
    #[allow(missing_docs)]
    PopMpls(u16),
    #[allow(missing_docs)]
    DecMplsTtl,
    #[allow(missing_docs)]
    CopyTtlOut,
    #[allow(missing_docs)]
    CopyTtlIn,
    #[allow(missing_docs)]
    PushPbb(u32),
    #[allow(missing_docs)]
    PopPbb,
    #[allow(missing_docs)]
    Meter(u32),
    #[allow(missing_docs)]
    Recirc(u32),
    #[allow(missing_docs)]
    Trunc(u32),
    #[allow(missing_docs)]
    Userspace(u64),
    /// On a copy.
    Clone(Box<[Op]>),
}

/// What to do, in its shortest form.
pub enum Shape {
    /// Nothing: drop.
    Drop,
    /// One output of the packet as it came.
    Output(u32),
    /// Steps.
    Ops(Box<[Op]>),
}

/// A megaflow's actions, ready to run.
#[repr(C)]
pub struct Program {
    /// The same in one go, where it can be said so: what is tried first.
    pub rewrite: Option<Rewrite>,
    /// IP TTL that the packet needs at least lest it be handed to the handler as an exception first; 0: any.
    pub min_nw_ttl: u8,
    /// The same for the outermost label.
    pub min_mpls_ttl: u8,
    /// Shortest form.
    pub shape: Shape,
    /// As given.
    pub actions: Vec<DpAction>,
    /// Index of the handler's reason if it drops.
    pub drop_reason: u16,
}

impl Program {
    /// Compiles.
    pub fn new(actions: Vec<DpAction>, drop_reason: u16) -> Self {
        let shape = match actions.as_slice() {
            [] => Shape::Drop,
            [DpAction::Output(p)] => Shape::Output(p.0),
            many => Shape::Ops(compile(many, 0)),
        };
        let (mut nw, mut mpls) = (0u8, 0u8);
        need_ttl(&actions, &mut nw, &mut mpls);
        let min = |n: u8| if n == 0 { 0 } else { n.saturating_add(1) };
        let rewrite = rewrite(&actions);
        Self { rewrite, min_nw_ttl: min(nw), min_mpls_ttl: min(mpls), shape, actions, drop_reason }
    }

    /// Whether any packet can be an exception.
    #[inline]
    pub fn has_exceptions(&self) -> bool {
        self.min_nw_ttl != 0 || self.min_mpls_ttl != 0
    }

    /// [`Program::is_exception`] of a packet with this key, as it came.
    #[inline(always)]
    pub fn is_exception_by_key(&self, p: &Packet, key: &FlowKey, l: &Layout) -> bool {
        let has_ttl = matches!(l.l3, L3::Ipv4 | L3::Ipv6);
        (has_ttl && key.byte(off::IP_TTL) < self.min_nw_ttl)
            || (self.min_mpls_ttl != 0 && self.is_exception(p, l))
    }

    /// Whether this packet must be looked at by itself: a TTL would run out half-way.
    #[inline]
    pub fn is_exception(&self, p: &Packet, l: &Layout) -> bool {
        (self.min_nw_ttl != 0 && edit::ip_ttl(p.data(), l).is_some_and(|t| t < self.min_nw_ttl))
            || (self.min_mpls_ttl != 0 && edit::mpls_ttl(p.data(), l).is_some_and(|t| t < self.min_mpls_ttl))
    }
}

fn rewrite(actions: &[DpAction]) -> Option<Rewrite> {
    let (DpAction::Output(port), steps) = actions.split_last()? else { return None };
    let mut r = Rewrite::new(port.0);
    let all = steps.iter().all(|a| match a {
        DpAction::Set(s) => r.set(&s.value, &s.mask),
        DpAction::DecNwTtl => r.dec_ttl(),
        DpAction::PushVlan { tpid, tci } => r.push(*tpid, *tci),
        DpAction::PopVlan => r.pop(),
        _ => false,
    });
    (all && !steps.is_empty()).then_some(r)
}

/// How many decrements the TTLs that the packet came with go through, at most. False when the headers are others from there on.
fn need_ttl(actions: &[DpAction], nw: &mut u8, mpls: &mut u8) -> bool {
    for a in actions {
        match a {
            DpAction::DecNwTtl => *nw = nw.saturating_add(1),
            DpAction::DecMplsTtl => *mpls = mpls.saturating_add(1),
            DpAction::Clone(inner) => {
                // Decrements in a copy come on top of those before it, but not of those after.
                let (mut n, mut m) = (*nw, *mpls);
                need_ttl(inner, &mut n, &mut m);
                *nw = (*nw).max(n);
                *mpls = (*mpls).max(m);
            }
            DpAction::Set(s) if s.mask.byte(crate::flow_key::off::IP_TTL) != 0 => return false,
            DpAction::Set(s) if s.mask.byte(crate::flow_key::off::MPLS_LSE + 3) != 0 => return false,
            DpAction::PushMpls { .. }
            | DpAction::PopMpls { .. }
            | DpAction::CopyTtlOut
            | DpAction::CopyTtlIn
            | DpAction::PushPbb { .. }
            | DpAction::PopPbb
            | DpAction::Recirc(_) => return false,
            _ => {}
        }
    }
    true
}

fn compile(actions: &[DpAction], depth: usize) -> Box<[Op]> {
    let mut ops = Vec::with_capacity(actions.len());
    for (i, a) in actions.iter().enumerate() {
        let last = i + 1 == actions.len();
        ops.push(match a {
            DpAction::Output(p) if last => Op::OutputLast(p.0),
            DpAction::Output(p) => Op::OutputCopy(p.0),
            DpAction::SetQueue(q) => Op::SetQueue(q.unwrap_or(0)),
            DpAction::Set(s) => Op::Set(Box::new(SetOp::new(&s.value, &s.mask))),
            DpAction::DecNwTtl => Op::DecNwTtl,
            DpAction::PushVlan { tpid, tci } => Op::PushVlan(*tpid, *tci),
            DpAction::PopVlan => Op::PopVlan,
            DpAction::PushMpls { eth_type, lse } => Op::PushMpls(*eth_type, *lse),
            DpAction::PopMpls { eth_type } => Op::PopMpls(*eth_type),
            DpAction::DecMplsTtl => Op::DecMplsTtl,
            DpAction::CopyTtlOut => Op::CopyTtlOut,
            DpAction::CopyTtlIn => Op::CopyTtlIn,
            DpAction::PushPbb { isid } => Op::PushPbb(*isid),
            DpAction::PopPbb => Op::PopPbb,
            DpAction::Meter(m) => Op::Meter(m.0),
            DpAction::Recirc(id) => Op::Recirc(*id),
            DpAction::Trunc(n) => Op::Trunc(*n),
            DpAction::Userspace(t) => Op::Userspace(*t),
            DpAction::Clone(inner) if depth < MAX_DEPTH => Op::Clone(compile(inner, depth + 1)),
            DpAction::Clone(_) => continue,
        });
    }
    ops.into()
}

/// Where a running program's effects go.
pub trait Sink {
    /// The packet leaves.
    fn output(&mut self, port: u32, p: Packet);
    /// A copy for the handler.
    fn userspace(&mut self, token: u64, p: &mut Packet);
    /// The packet is to be looked up again.
    fn recirc(&mut self, id: u32, p: Packet);
    /// Asks a meter.
    fn meter(&mut self, id: u32, bytes: usize) -> meter::Verdict;
    /// The packet ended.
    fn drop(&mut self, why: DropReason);
}

/// Bytes that `p` will have on the wire, all segments together.
pub(crate) fn wire_bytes(p: &Packet) -> usize {
    let o = &p.offload;
    if o.gso_type == GsoType::None || o.gso_size == 0 || usize::from(o.hdr_len) >= p.len() {
        return p.len();
    }
    let payload = p.len() - usize::from(o.hdr_len);
    p.len() + (payload.div_ceil(usize::from(o.gso_size)) - 1) * usize::from(o.hdr_len)
}

/// What becomes of a packet whose steps have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It leaves by this port.
    Send(u32),
    /// It is looked up again.
    Recirc(u32),
    /// It ended and is accounted for (copies left, the handler has it, or it was dropped under a name).
    Ended,
    /// It went nowhere, and nobody said why: its megaflow's reason counts.
    Nowhere,
}

/// Runs the steps on a packet and hands it to the sink. False: it went nowhere ([`Fate::Nowhere`]).
pub fn execute(ops: &[Op], mut p: Packet, mut l: Layout, sink: &mut impl Sink) -> bool {
    match run(ops, &mut p, &mut l, sink) {
        Fate::Send(port) => sink.output(port, p),
        Fate::Recirc(id) => sink.recirc(id, p),
        Fate::Ended => {}
        Fate::Nowhere => return false,
    }
    true
}

/// Runs the steps on a packet in its place.
pub fn run(ops: &[Op], p: &mut Packet, l: &mut Layout, sink: &mut impl Sink) -> Fate {
    let mut trunc = usize::MAX;
    let mut went = false;
    for op in ops {
        let r = match op {
            Op::OutputLast(port) => {
                cut(p, &mut trunc);
                return Fate::Send(*port);
            }
            Op::OutputCopy(port) => {
                let mut c = if trunc < p.len() { p.copy_cut(trunc) } else { p.copy() };
                cut(&mut c, &mut trunc);
                sink.output(*port, c);
                went = true;
                Ok(())
            }
            Op::SetQueue(q) => {
                p.set_queue(*q);
                Ok(())
            }
            Op::Set(s) => {
                s.apply(p, l);
                if s.reshapes() {
                    *l = edit::relayout(p);
                }
                Ok(())
            }
            Op::DecNwTtl => edit::dec_nw_ttl(p, l),
            Op::PushVlan(tpid, tci) => edit::push_vlan(p, l, *tpid, *tci),
            Op::PopVlan => edit::pop_vlan(p, l),
            Op::PushMpls(ty, lse) => edit::push_mpls(p, l, *ty, *lse),
            Op::PopMpls(ty) => edit::pop_mpls(p, l, *ty),
            Op::DecMplsTtl => edit::dec_mpls_ttl(p, l),
            // Without a second TTL there is nothing to copy: OpenFlow has no error for that on the packet path.
            Op::CopyTtlOut => {
                let _ = edit::copy_ttl_out(p, l);
                Ok(())
            }
            Op::CopyTtlIn => {
                let _ = edit::copy_ttl_in(p, l);
                Ok(())
            }
            Op::PushPbb(isid) => edit::push_pbb(p, l, *isid),
            Op::PopPbb => edit::pop_pbb(p, l),
            Op::Meter(id) => match sink.meter(*id, wire_bytes(p)) {
                meter::Verdict::Pass => Ok(()),
                meter::Verdict::Drop => {
                    sink.drop(DropReason::Meter);
                    return Fate::Ended;
                }
                meter::Verdict::Remark { prec_level } => {
                    edit::remark(p, l, prec_level);
                    Ok(())
                }
            },
            Op::Recirc(id) => return Fate::Recirc(*id),
            Op::Trunc(n) => {
                trunc = *n as usize;
                Ok(())
            }
            Op::Userspace(token) => {
                sink.userspace(*token, p);
                went = true;
                Ok(())
            }
            Op::Clone(inner) => {
                went |= execute(inner, p.copy(), *l, sink);
                Ok(())
            }
        };
        if let Err(e) = r {
            sink.drop(match e {
                EditError::BadHeader => DropReason::BadHeader,
                EditError::TooLong => DropReason::TooLong,
                EditError::TtlExpired => DropReason::TtlExpired,
            });
            return Fate::Ended;
        }
    }
    if went {
        Fate::Ended
    } else {
        Fate::Nowhere
    }
}

#[inline]
fn cut(p: &mut Packet, trunc: &mut usize) {
    let n = std::mem::replace(trunc, usize::MAX);
    if n < p.len() {
        edit::complete(p);
        p.offload = crate::packet::Offload::default();
        p.truncate(n.max(14));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{DpMeterId, PortId};

    #[derive(Default)]
    struct Log(Vec<String>);
    impl Sink for Log {
        fn output(&mut self, port: u32, p: Packet) {
            self.0.push(format!("out {port} {}", p.len()));
        }
        fn userspace(&mut self, token: u64, p: &mut Packet) {
            self.0.push(format!("user {token} {}", p.len()));
        }
        fn recirc(&mut self, id: u32, p: Packet) {
            self.0.push(format!("recirc {id} {}", p.len()));
        }
        fn meter(&mut self, id: u32, _: usize) -> meter::Verdict {
            if id == 1 {
                meter::Verdict::Pass
            } else {
                meter::Verdict::Drop
            }
        }
        fn drop(&mut self, why: DropReason) {
            self.0.push(format!("drop {}", why.word()));
        }
    }

    fn run(actions: Vec<DpAction>) -> String {
        let p = Packet::from_bytes(&crate::extract::tests::hex(crate::extract::tests::TCP4));
        let l = edit::relayout(&p);
        let mut log = Log::default();
        let went = execute(&compile(&actions, 0), p, l, &mut log);
        format!("{}{}", log.0.join(", "), if went { "" } else { " nowhere" })
    }

    #[test]
    fn steps_in_order() {
        use DpAction::*;
        let o = |n| Output(PortId(n));
        assert_eq!(
            run(vec![o(1), PushVlan { tpid: 0x8100, tci: 1 }, o(2), PopVlan, o(3)]),
            "out 1 62, out 2 66, out 3 62"
        );
        assert_eq!(run(vec![Trunc(20), o(1), o(2)]), "out 1 20, out 2 62");
        assert_eq!(
            run(vec![Clone(vec![PushVlan { tpid: 0x8100, tci: 1 }, o(2)]), o(1)]),
            "out 2 66, out 1 62"
        );
        assert_eq!(run(vec![Meter(DpMeterId(1)), Userspace(7)]), "user 7 62");
        assert_eq!(run(vec![Meter(DpMeterId(2)), o(1)]), "drop meter");
        assert_eq!(run(vec![PopVlan, o(1)]), "drop bad_header");
        assert_eq!(run(vec![DecNwTtl, Recirc(5)]), "recirc 5 62");
        assert_eq!(run(vec![DecNwTtl]), " nowhere");
    }

    /// The short form does to every packet what the steps do, or nothing.
    #[test]
    fn a_rewrite_equals_its_steps() {
        use crate::action::KeyPatch;
        use quickcheck::{Arbitrary, Gen};
        let mut g = Gen::new(64);
        let frames = [
            crate::extract::tests::TCP4,
            "0200000000020200000000018100200508004510002800014000 4006 0000 0a000001 0a000002 1234 0050 00000001 00000002 5012 ffff 0000 0000",
            "02000000000202000000000188a8200581002006 0800 4510002800014000 0106 0000 0a000001 0a000002 1234 0050 00000001 00000002 5012 ffff 0000 0000",
            "3333ff000002 020000000001 86dd 60000000 0008 3aff 20010db8000000000000000000000001 20010db8000000000000000000000002 8700123400000000",
            "0200000000020200000000010806",
        ];
        let (mut short, mut whole) = (0, 0);
        for _ in 0..20_000 {
            let mut steps = Vec::new();
            for _ in 0..1 + usize::arbitrary(&mut g) % 5 {
                let (mut value, mut mask) = (FlowKey::ZERO, FlowKey::ZERO);
                steps.push(match u8::arbitrary(&mut g) % 7 {
                    0 => DpAction::DecNwTtl,
                    1 => DpAction::PushVlan {
                        tpid: [0x8100, 0x88a8][usize::from(bool::arbitrary(&mut g))],
                        tci: u16::arbitrary(&mut g) | 0x1000,
                    },
                    2 => DpAction::PopVlan,
                    3 => {
                        value.set(off::VLAN0_TCI, u16::arbitrary(&mut g).to_be_bytes());
                        mask.set(off::VLAN0_TCI, [0x1f, 0xff]);
                        DpAction::Set(Box::new(KeyPatch { value, mask }))
                    }
                    4 => {
                        let m = u8::arbitrary(&mut g);
                        value.set_byte(off::IP_TOS, u8::arbitrary(&mut g) & m);
                        mask.set_byte(off::IP_TOS, m);
                        DpAction::Set(Box::new(KeyPatch { value, mask }))
                    }
                    _ => {
                        let at = off::ETH_DST + usize::arbitrary(&mut g) % 7;
                        value.set(at, u32::arbitrary(&mut g).to_be_bytes());
                        mask.set(at, u32::arbitrary(&mut g).to_be_bytes());
                        for i in 0..FlowKey::ZERO.0.len() {
                            value.0[i] &= mask.0[i];
                        }
                        DpAction::Set(Box::new(KeyPatch { value, mask }))
                    }
                });
            }
            steps.push(DpAction::Output(PortId(3)));
            let program = Program::new(steps, 0);
            let (Some(r), Shape::Ops(ops)) = (&program.rewrite, &program.shape) else { continue };
            whole += 1;
            for f in frames {
                let (mut a, mut b) = (
                    Packet::from_bytes(&crate::extract::tests::hex(f)),
                    Packet::from_bytes(&crate::extract::tests::hex(f)),
                );
                let mut l = edit::relayout(&a);
                if !r.apply(&mut a, &l) {
                    assert_eq!(a.data(), b.data());
                    continue;
                }
                short += 1;
                assert_eq!(super::run(ops, &mut b, &mut l, &mut Log::default()), Fate::Send(r.port));
                assert_eq!(a.data(), b.data(), "{:?}", program.actions);
            }
        }
        assert!(whole > 5000 && short > 5000, "{whole} {short}");
    }

    #[test]
    fn a_ttl_that_would_run_out_is_seen_beforehand() {
        use DpAction::*;
        let p = Program::new(vec![DecNwTtl, Clone(vec![DecNwTtl]), Output(PortId(1))], 0);
        assert_eq!((p.min_nw_ttl, p.min_mpls_ttl), (3, 0));
        let mut f = crate::extract::tests::hex(crate::extract::tests::TCP4);
        for (ttl, exception) in [(1, true), (2, true), (3, false), (64, false)] {
            f[22] = ttl;
            let pkt = Packet::from_bytes(&f);
            assert_eq!(p.is_exception(&pkt, &edit::relayout(&pkt)), exception);
        }
    }
}
