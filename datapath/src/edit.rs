//! Changing headers in place, checksums always right.
//!
//! Checksums are updated from the difference (RFC 1624), so that a checksum that was wrong stays wrong and the receiver notices. A UDP
//! checksum of zero stays zero. SCTP's CRC32c is linear: the difference of two whole CRCs is applied. Where the checksum is still
//! owed by the sender's kernel (`Offload::needs_csum`), the field holds the un-inverted pseudo-header sum and is kept so.

use crate::extract::{eth_type, extract, ip_end, ip_proto, is_nd, nd_options, Layout, L3};
use crate::flow_key::{off, FlowKey, FlowMask, MPLS_DEPTH};
use crate::packet::Packet;

/// Why a header cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditError {
    /// The packet does not have the header.
    BadHeader,
    /// The packet would not fit its buffer.
    TooLong,
    /// The TTL is 0 or 1.
    TtlExpired,
}

/// Finds the headers again.
pub fn relayout(p: &Packet) -> Layout {
    let mut k = FlowKey::ZERO;
    extract(p.data(), 0, 0, &mut k)
}

#[inline]
fn be16(f: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([f[at], f[at + 1]])
}

#[inline]
fn fold(mut s: u32) -> u16 {
    s = (s & 0xffff) + (s >> 16);
    s = (s & 0xffff) + (s >> 16);
    s as u16
}

/// Writes the masked bits of `value` at `at` (even length, 16-bit aligned to the checksummed area); the checksum's difference.
#[inline]
fn put(f: &mut [u8], at: usize, value: &[u8], mask: &[u8]) -> u32 {
    let mut delta = 0;
    let Some(to) = f.get_mut(at..at + value.len()) else { return 0 };
    for ((t, v), m) in to.chunks_exact_mut(2).zip(value.chunks_exact(2)).zip(mask.chunks_exact(2)) {
        let (old, v, m) = (
            u16::from_be_bytes([t[0], t[1]]),
            u16::from_be_bytes([v[0], v[1]]),
            u16::from_be_bytes([m[0], m[1]]),
        );
        let new = (old & !m) | (v & m);
        t.copy_from_slice(&new.to_be_bytes());
        delta += u32::from(!old) + u32::from(new);
    }
    delta
}

/// Applies a difference to the inverted checksum at `at`.
#[inline]
fn adjust(f: &mut [u8], at: usize, delta: u32, udp: bool) {
    let old = be16(f, at);
    if udp && old == 0 {
        return;
    }
    let mut new = !fold(u32::from(!old) + u32::from(fold(delta)));
    if udp && new == 0 {
        new = 0xffff;
    }
    f[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

/// Offset of the checksum within the L4 header, and whether addresses count in it.
#[inline]
fn l4_checksum(proto: u8) -> Option<(usize, bool)> {
    match proto {
        ip_proto::TCP => Some((16, true)),
        ip_proto::UDP => Some((6, true)),
        ip_proto::ICMPV6 => Some((2, true)),
        ip_proto::ICMP => Some((2, false)),
        _ => None,
    }
}

/// Whether the checksum of the L4 header at `l4` is still owed.
#[inline]
fn owed(p: &Packet, l4: usize) -> bool {
    p.offload.needs_csum() && usize::from(p.offload.csum_start) == l4
}

/// Addresses of the pseudo header changed by `delta`.
fn pseudo_changed(p: &mut Packet, l: &Layout, delta: u32) {
    let l4 = usize::from(l.l4);
    let Some((at, true)) = l4_checksum(l.ip_proto) else { return };
    if l4 == 0 || delta == 0 {
        return;
    }
    let owed = owed(p, l4);
    let f = p.data_mut();
    if f.len() < l4 + at + 2 {
        return;
    }
    if owed {
        let new = fold(u32::from(be16(f, l4 + at)) + u32::from(fold(delta)));
        f[l4 + at..l4 + at + 2].copy_from_slice(&new.to_be_bytes());
    } else {
        adjust(f, l4 + at, delta, l.ip_proto == ip_proto::UDP);
    }
}

/// Bytes that the L4 checksum covers changed by `delta`.
fn l4_changed(p: &mut Packet, l: &Layout, delta: u32) {
    let l4 = usize::from(l.l4);
    let Some((at, _)) = l4_checksum(l.ip_proto) else { return };
    if owed(p, l4) {
        return;
    }
    let f = p.data_mut();
    if f.len() >= l4 + at + 2 {
        adjust(f, l4 + at, delta, l.ip_proto == ip_proto::UDP);
    }
}

const CRC32C: [u32; 256] = {
    let mut t = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 { (c >> 1) ^ 0x82f6_3b78 } else { c >> 1 };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
};

/// SCTP's checksum over `l4` with its own field taken as zero, in the byte order of the wire.
pub fn sctp_crc(l4: &[u8]) -> u32 {
    let mut c = !0u32;
    for (i, b) in l4.iter().enumerate() {
        let b = if (8..12).contains(&i) { 0 } else { *b };
        c = CRC32C[((c ^ u32::from(b)) & 0xff) as usize] ^ (c >> 8);
    }
    (!c).swap_bytes()
}

/// What to set, with the layers it touches found out beforehand.
#[derive(Clone)]
#[repr(C)]
pub struct SetOp {
    // First what most of them need.
    eth_value: [u32; 3],
    eth_mask: [u32; 3],
    eth: bool,
    vlan: bool,
    l3: bool,
    l4: bool,
    reshapes: bool,
    value: FlowKey,
    mask: FlowMask,
}

impl SetOp {
    /// Prepares.
    pub fn new(value: &FlowKey, mask: &FlowMask) -> Self {
        let any = |r: std::ops::Range<usize>| mask.bytes()[r].iter().any(|b| *b != 0);
        Self {
            value: *value,
            mask: *mask,
            eth_value: std::array::from_fn(|i| {
                let at = off::ETH_DST + i * 4;
                u32::from_ne_bytes(value.get(at)) & u32::from_ne_bytes(mask.get(at))
            }),
            eth_mask: std::array::from_fn(|i| u32::from_ne_bytes(mask.get(off::ETH_DST + i * 4))),
            eth: any(off::ETH_DST..off::ETH_DST + 12),
            vlan: any(off::VLAN0_TCI..off::VLAN0_TCI + 2) || any(off::VLAN0_TPID..off::VLAN1_TPID + 2),
            l3: any(off::IPV4_SRC..off::IPV4_DST + 4) || any(off::IP_TOS..off::IP_TTL + 1) || any(64..152),
            l4: any(off::TP_SRC..off::TP_DST + 2),
            reshapes: any(off::ETH_TYPE..off::ETH_TYPE + 2) || any(off::IP_PROTO..off::IP_PROTO + 1),
        }
    }

    /// The bits of the IP TTL that are set; all ones: the old one does not matter.
    pub fn ttl_mask(&self) -> u8 {
        self.mask.byte(off::IP_TTL)
    }

    /// Whether it changes what the next header is: then [`relayout`] after it.
    #[inline]
    pub fn reshapes(&self) -> bool {
        self.reshapes
    }

    /// Ethertype and IP protocol. The protocol counts in the pseudo header, so the checksum of what follows, where its old protocol has it,
    /// is adjusted too.
    #[inline(never)]
    fn reshape(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        let at = usize::from(l.payload);
        let (pv, pm) = (v[off::IP_PROTO], m[off::IP_PROTO]);
        match l.l3 {
            L3::Ipv4 if pm != 0 => {
                let delta = put(p.data_mut(), at + 8, &[0, pv], &[0, pm]);
                adjust(p.data_mut(), at + 10, delta, false);
                pseudo_changed(p, l, delta);
            }
            // Behind extension headers the last of them says what follows; only a bare header is changed.
            L3::Ipv6 if pm != 0 && p.data()[at + 6] == l.ip_proto => {
                put(p.data_mut(), at + 6, &[pv, 0], &[pm, 0]);
                let now = p.data()[at + 6];
                pseudo_changed(p, l, u32::from(!u16::from(l.ip_proto)) + u32::from(now));
            }
            _ => {}
        }
        if !l.no_type {
            let ty = off::ETH_TYPE..off::ETH_TYPE + 2;
            put(p.data_mut(), at - 2, &v[ty.clone()], &m[ty]);
        }
    }

    /// Changes the packet.
    #[inline]
    pub fn apply(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        if self.eth {
            if let Some(macs) = p.data_mut().first_chunk_mut::<12>() {
                let word =
                    |b: &[u8; 12], at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
                for at in [0, 4, 8] {
                    let new = (word(macs, at) & !self.eth_mask[at / 4]) | self.eth_value[at / 4];
                    macs[at..at + 4].copy_from_slice(&new.to_ne_bytes());
                }
            }
        }
        if self.vlan {
            self.set_vlan(p, l);
        }
        if self.l3 || self.l4 {
            match l.l3 {
                L3::Ipv4 => self.set_ipv4(p, l),
                L3::Ipv6 => self.set_ipv6(p, l),
                L3::Arp => self.set_arp(p, l),
                L3::Mpls => {
                    for n in 0..MPLS_DEPTH {
                        let at = off::MPLS_LSE + n * 4;
                        put(p.data_mut(), usize::from(l.payload) + n * 4, &v[at..at + 4], &m[at..at + 4]);
                    }
                }
                L3::Pbb => {
                    let at = usize::from(l.payload);
                    let uca = (m[off::PBB_UCA] & 1) << 3;
                    let mask = [uca, m[off::PBB_ISID + 1], m[off::PBB_ISID + 2], m[off::PBB_ISID + 3]];
                    let value = [
                        (v[off::PBB_UCA] & 1) << 3,
                        v[off::PBB_ISID + 1],
                        v[off::PBB_ISID + 2],
                        v[off::PBB_ISID + 3],
                    ];
                    put(p.data_mut(), at, &value, &mask);
                }
                L3::Other => {}
            }
        }
        if self.reshapes {
            self.reshape(p, l);
        }
    }

    fn set_vlan(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        for (n, (tci, tpid)) in
            [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)].iter().enumerate()
        {
            if usize::from(l.n_vlan) > n {
                let at = 12 + n * 4;
                put(p.data_mut(), at, &v[*tpid..tpid + 2], &m[*tpid..tpid + 2]);
                // 0x1000 says "a tag is present" in a key; on the wire it is the DEI, which is left alone.
                put(p.data_mut(), at + 2, &v[*tci..tci + 2], &[m[*tci] & 0xef, m[tci + 1]]);
            }
        }
    }

    fn set_ipv4(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        let l3 = usize::from(l.payload);
        if self.l3 {
            let f = p.data_mut();
            let addr = off::IPV4_SRC..off::IPV4_SRC + 8;
            let pseudo = put(f, l3 + 12, &v[addr.clone()], &m[addr]);
            let mut delta = pseudo;
            delta += put(f, l3, &[0, v[off::IP_TOS]], &[0, m[off::IP_TOS]]);
            delta += put(f, l3 + 8, &[v[off::IP_TTL], 0], &[m[off::IP_TTL], 0]);
            adjust(f, l3 + 10, delta, false);
            pseudo_changed(p, l, pseudo);
        }
        if self.l4 && l.l4 != 0 {
            self.set_l4(p, l);
        }
    }

    fn set_ipv6(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        let l3 = usize::from(l.payload);
        if self.l3 {
            let f = p.data_mut();
            let src = off::IPV6_SRC..off::IPV6_SRC + 16;
            let dst = off::IPV6_DST..off::IPV6_DST + 16;
            let mut pseudo = put(f, l3 + 8, &v[src.clone()], &m[src]);
            let d = put(f, l3 + 24, &v[dst.clone()], &m[dst]);
            if !l.routed {
                pseudo += d;
            }
            let (tv, tm) = (v[off::IP_TOS], m[off::IP_TOS]);
            let fl = off::IPV6_FLABEL;
            put(f, l3, &[tv >> 4, (tv << 4) | (v[fl + 1] & 15)], &[tm >> 4, (tm << 4) | (m[fl + 1] & 15)]);
            put(f, l3 + 2, &v[fl + 2..fl + 4], &m[fl + 2..fl + 4]);
            put(f, l3 + 6, &[0, v[off::IP_TTL]], &[0, m[off::IP_TTL]]);
            pseudo_changed(p, l, pseudo);
            let l4 = usize::from(l.l4);
            let nd = m[off::ND_TARGET..off::ND_TARGET + 28].iter().any(|b| *b != 0);
            // Padding behind the packet is no part of the message, nor of its checksum.
            let end = ip_end(p.data(), l3, L3::Ipv6);
            if nd && l.ip_proto == ip_proto::ICMPV6 && l4 != 0 && is_nd(&p.data()[..end], l4) {
                let t = off::ND_TARGET..off::ND_TARGET + 16;
                let mut delta = put(p.data_mut(), l4 + 8, &v[t.clone()], &m[t]);
                let mut found = [(0u8, 0usize); 8];
                let mut n = 0;
                nd_options(&p.data()[..end], l4, |ty, at| {
                    if let Some(x) = found.get_mut(n) {
                        *x = (ty, at);
                        n += 1;
                    }
                });
                for (ty, at) in &found[..n.min(8)] {
                    let from = if *ty == 1 { off::ARP_SHA } else { off::ARP_THA };
                    delta += put(p.data_mut(), *at, &v[from..from + 6], &m[from..from + 6]);
                }
                l4_changed(p, l, delta);
            }
        }
        if self.l4 && l.l4 != 0 {
            self.set_l4(p, l);
        }
    }

    fn set_l4(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        let l4 = usize::from(l.l4);
        let ports = off::TP_SRC..off::TP_SRC + 4;
        match l.ip_proto {
            ip_proto::ICMP | ip_proto::ICMPV6 => {
                let value = [v[off::TP_SRC + 1], v[off::TP_DST + 1]];
                let delta = put(p.data_mut(), l4, &value, &[m[off::TP_SRC + 1], m[off::TP_DST + 1]]);
                l4_changed(p, l, delta);
            }
            ip_proto::SCTP => {
                let owed = owed(p, l4);
                let end = ip_end(p.data(), usize::from(l.payload), l.l3).max(l4 + 12);
                let f = p.data_mut();
                let end = end.min(f.len());
                let before = sctp_crc(&f[l4..end]);
                put(f, l4, &v[ports.clone()], &m[ports]);
                if !owed {
                    let after = sctp_crc(&f[l4..end]);
                    let old = u32::from_be_bytes([f[l4 + 8], f[l4 + 9], f[l4 + 10], f[l4 + 11]]);
                    f[l4 + 8..l4 + 12].copy_from_slice(&(old ^ before ^ after).to_be_bytes());
                }
            }
            _ => {
                let delta = put(p.data_mut(), l4, &v[ports.clone()], &m[ports]);
                l4_changed(p, l, delta);
            }
        }
    }

    fn set_arp(&self, p: &mut Packet, l: &Layout) {
        let (v, m) = (self.value.bytes(), self.mask.bytes());
        let at = usize::from(l.payload);
        let f = p.data_mut();
        for (to, from, n) in [
            (6, off::TP_SRC, 2),
            (8, off::ARP_SHA, 6),
            (14, off::IPV4_SRC, 4),
            (18, off::ARP_THA, 6),
            (24, off::IPV4_DST, 4),
        ] {
            put(f, at + to, &v[from..from + n], &m[from..from + n]);
        }
    }
}

/// Sets an IP header's TTL at `l3`.
fn set_ip_ttl(f: &mut [u8], l3: usize, kind: L3, ttl: u8) {
    if kind == L3::Ipv4 {
        let delta = put(f, l3 + 8, &[ttl, 0], &[0xff, 0]);
        adjust(f, l3 + 10, delta, false);
    } else {
        f[l3 + 7] = ttl;
    }
}

/// TTL of the IP header, if there is one.
#[inline]
pub fn ip_ttl(f: &[u8], l: &Layout) -> Option<u8> {
    match l.l3 {
        L3::Ipv4 => f.get(usize::from(l.payload) + 8).copied(),
        L3::Ipv6 => f.get(usize::from(l.payload) + 7).copied(),
        _ => None,
    }
}

/// TTL of the outermost label stack entry.
#[inline]
pub fn mpls_ttl(f: &[u8], l: &Layout) -> Option<u8> {
    match l.l3 {
        L3::Mpls => f.get(usize::from(l.payload) + 3).copied(),
        _ => None,
    }
}

/// IP TTL minus one.
///
/// # Errors
/// No IP header, or the TTL is 0 or 1 (nothing has changed).
pub fn dec_nw_ttl(p: &mut Packet, l: &Layout) -> Result<(), EditError> {
    match ip_ttl(p.data(), l) {
        None => Err(EditError::BadHeader),
        Some(0 | 1) => Err(EditError::TtlExpired),
        Some(t) => {
            let at = usize::from(l.payload);
            let f = p.data_mut();
            if l.l3 == L3::Ipv4 {
                // One less in the upper byte of a word: 0x0100 more in the inverted sum (RFC 1141), carry around.
                f[at + 8] = t - 1;
                let sum = u32::from(be16(f, at + 10)) + 0x100;
                let sum = (sum + u32::from(sum >= 0xffff)) as u16;
                f[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
            } else {
                f[at + 7] = t - 1;
            }
            Ok(())
        }
    }
}

/// MPLS TTL minus one.
///
/// # Errors
/// No label, or the TTL is 0 or 1 (nothing has changed).
pub fn dec_mpls_ttl(p: &mut Packet, l: &Layout) -> Result<(), EditError> {
    match mpls_ttl(p.data(), l) {
        None => Err(EditError::BadHeader),
        Some(0 | 1) => Err(EditError::TtlExpired),
        Some(t) => {
            p.data_mut()[usize::from(l.payload) + 3] = t - 1;
            Ok(())
        }
    }
}

/// Where the TTL behind the outermost label is: the next label's, or that of the IP header below the stack.
fn next_ttl(f: &[u8], l: &Layout) -> Option<(usize, L3)> {
    let at = usize::from(l.payload);
    let lse = f.get(at..at + 4)?;
    let next = at + 4;
    if lse[2] & 1 == 0 {
        return (f.len() >= next + 4).then_some((next + 3, L3::Mpls));
    }
    match f.get(next)? >> 4 {
        4 if f.len() >= next + 20 => Some((next, L3::Ipv4)),
        6 if f.len() >= next + 40 => Some((next, L3::Ipv6)),
        _ => None,
    }
}

/// Copies the TTL of the second header that has one to the first.
///
/// # Errors
/// Without two such headers.
pub fn copy_ttl_out(p: &mut Packet, l: &Layout) -> Result<(), EditError> {
    if l.l3 != L3::Mpls {
        return Err(EditError::BadHeader);
    }
    let (at, kind) = next_ttl(p.data(), l).ok_or(EditError::BadHeader)?;
    let f = p.data_mut();
    let ttl = match kind {
        L3::Mpls => f[at],
        L3::Ipv4 => f[at + 8],
        _ => f[at + 7],
    };
    f[usize::from(l.payload) + 3] = ttl;
    Ok(())
}

/// Copies the TTL of the first header that has one to the second.
///
/// # Errors
/// Without two such headers.
pub fn copy_ttl_in(p: &mut Packet, l: &Layout) -> Result<(), EditError> {
    let ttl = mpls_ttl(p.data(), l).ok_or(EditError::BadHeader)?;
    let (at, kind) = next_ttl(p.data(), l).ok_or(EditError::BadHeader)?;
    let f = p.data_mut();
    if kind == L3::Mpls {
        f[at] = ttl;
    } else {
        set_ip_ttl(f, at, kind, ttl);
    }
    Ok(())
}

/// A tag behind the addresses of a frame that has them; false if it gets too long.
#[inline(always)]
fn insert_tag(p: &mut Packet, tpid: u16, tci: u16) -> bool {
    if !p.push_front(4) {
        return false;
    }
    if let Some(f) = p.data_mut().first_chunk_mut::<16>() {
        let mut new = [0u8; 16];
        new[..12].copy_from_slice(&f[4..]);
        new[12..14].copy_from_slice(&tpid.to_be_bytes());
        new[14..].copy_from_slice(&tci.to_be_bytes());
        *f = new;
    }
    true
}

/// Takes the four bytes behind the addresses out of a frame that has them.
#[inline(always)]
fn remove_tag(p: &mut Packet) {
    if let Some(f) = p.data_mut().first_chunk_mut::<16>() {
        let mut new = *f;
        new[4..].copy_from_slice(&f[..12]);
        *f = new;
        p.pull_front(4);
    }
}

/// VLAN tags that a [`Rewrite`] leaves behind more, or takes away, at most.
const TAGS: usize = 2;

/// The commonest rewriting in one line of memory and one go: tags pushed and popped, Ethernet addresses set, IPv4's TTL decremented and its
/// traffic class set; then one output.
///
/// These touch different bytes, so their order does not matter, but for that of the tags among themselves; of those it is kept what comes of
/// it: so many of the packet's tags go, so many others come. What is behind the tags stays where it is, and all that is written is the twenty
/// bytes in front and six of the IPv4 header. Without a branch that depends on the steps: packets of many rewritings come mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Rewrite {
    /// Where the packet goes.
    pub port: u32,
    /// Of the packet's own tags, how many go.
    pops: u8,
    /// Tags that come.
    pushes: u8,
    /// How many tags more than at first there are at the highest.
    peak: u8,
    /// Bit n: a packet with n tags can be rewritten so.
    fits: u8,
    /// Bytes by which the frame gets shorter in front.
    shift: i8,
    /// The least TTL that a packet needs.
    min_ttl: u8,
    /// Anything in the IPv4 header changes.
    ipv4: bool,
    /// Addresses: bits that stay, and what the others become.
    keep: u64,
    value: u64,
    keep_end: u32,
    value_end: u32,
    /// The eight bytes behind the addresses, likewise.
    keep_tags: u64,
    value_tags: u64,
    /// IPv4's traffic class likewise.
    keep_tos: u8,
    value_tos: u8,
    /// What is taken from the TTL.
    minus_ttl: u8,
    /// What comes to the inverted checksum in any case.
    sum: u32,
}

// SAFETY: integers and a bool.
#[allow(unsafe_code)]
unsafe impl crate::sys::Zeroed for Rewrite {}

impl Rewrite {
    /// Nothing but an output.
    pub fn new(port: u32) -> Self {
        Self {
            port,
            pops: 0,
            pushes: 0,
            peak: 0,
            fits: 7,
            shift: 0,
            min_ttl: 0,
            ipv4: false,
            keep: !0,
            value: 0,
            keep_end: !0,
            value_end: 0,
            keep_tags: !0,
            value_tags: 0,
            keep_tos: !0,
            value_tos: 0,
            minus_ttl: 0,
            sum: 0,
        }
    }

    /// The tags that come, outermost first: bytes as in the frame.
    fn tags(&self) -> [[u8; 4]; TAGS] {
        let b = self.value_tags.to_ne_bytes();
        [[b[0], b[1], b[2], b[3]], [b[4], b[5], b[6], b[7]]]
    }

    fn set_tags(&mut self, tags: [[u8; 4]; TAGS], pushes: u8) {
        let mut keep = [0xff; 8];
        keep[..usize::from(pushes) * 4].fill(0);
        self.pushes = pushes;
        self.keep_tags = u64::from_ne_bytes(keep);
        let [a, b] = tags;
        self.value_tags =
            u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]) & !self.keep_tags;
    }

    /// Adds a field to be set; false if that is nothing for this form.
    pub fn set(&mut self, value: &FlowKey, mask: &FlowMask) -> bool {
        let mut rest = *mask;
        rest.bytes_mut()[off::ETH_DST..off::ETH_DST + 12].fill(0);
        let tci = rest.get::<2>(off::VLAN0_TCI);
        rest.set(off::VLAN0_TCI, [0; 2]);
        let tos = rest.byte(off::IP_TOS);
        rest.set_byte(off::IP_TOS, 0);
        if rest != FlowMask::ZERO {
            return false;
        }
        if tci != [0; 2] {
            // Of a tag that was pushed; one that came with the packet may not be there.
            if self.pushes == 0 {
                return false;
            }
            let mut tags = self.tags();
            let m = u16::from_be_bytes([tci[0] & 0xef, tci[1]]);
            let old = u16::from_be_bytes([tags[0][2], tags[0][3]]);
            let new = (old & !m) | (value.u16(off::VLAN0_TCI) & m);
            tags[0][2..].copy_from_slice(&new.to_be_bytes());
            self.set_tags(tags, self.pushes);
        }
        if tos != 0 {
            self.ipv4 = true;
            self.keep_tos &= !tos;
            self.value_tos = (self.value_tos & !tos) | (value.byte(off::IP_TOS) & tos);
        }
        let macs = |k: &FlowKey| {
            (u64::from_ne_bytes(k.get(off::ETH_DST)), u32::from_ne_bytes(k.get(off::ETH_DST + 8)))
        };
        let (v, m) = (macs(value), macs(mask));
        self.keep &= !m.0;
        self.value = (self.value & !m.0) | (v.0 & m.0);
        self.keep_end &= !m.1;
        self.value_end = (self.value_end & !m.1) | (v.1 & m.1);
        true
    }

    /// Adds a TTL decrement; false if there was one.
    pub fn dec_ttl(&mut self) -> bool {
        self.ipv4 = true;
        self.min_ttl = 2;
        self.sum = u32::from(!u16::from_ne_bytes([1, 0]));
        std::mem::replace(&mut self.minus_ttl, 1) == 0
    }

    /// Adds a tag; false if that is nothing for this form.
    pub fn push(&mut self, tpid: u16, tci: u16) -> bool {
        if !matches!(tpid, eth_type::VLAN | eth_type::QINQ) || usize::from(self.pushes) == TAGS {
            return false;
        }
        let mut new = [0; 4];
        new[..2].copy_from_slice(&tpid.to_be_bytes());
        new[2..].copy_from_slice(&tci.to_be_bytes());
        self.set_tags([new, self.tags()[0]], self.pushes + 1);
        self.peak = self.peak.max(self.pushes.saturating_sub(self.pops));
        self.measure();
        true
    }

    /// What follows from tags that come and go.
    fn measure(&mut self) {
        self.shift = 4 * (self.pops as i8 - self.pushes as i8);
        self.fits = (0..=2u8).filter(|n| *n >= self.pops && n + self.peak <= 2).fold(0, |f, n| f | 1 << n);
    }

    /// Pops a tag; false if that is too much.
    pub fn pop(&mut self) -> bool {
        match self.pushes {
            0 if usize::from(self.pops) == TAGS => return false,
            0 => self.pops += 1,
            n => self.set_tags([self.tags()[1], [0; 4]], n - 1),
        }
        self.measure();
        true
    }

    /// Changes the packet; false, and nothing is changed, if it is one that only the steps one by one do justice.
    #[inline]
    pub fn apply(&self, p: &mut Packet, l: &Layout) -> bool {
        let at = usize::from(l.payload);
        let h = p.data().get(at..at + 9).filter(|_| l.l3 == L3::Ipv4 && at <= 24);
        let (tos, ttl) = h.map_or((0, 0), |h| (h[1], h[8]));
        if self.ipv4 && h.is_none() {
            return false;
        }
        self.apply_at(p, l.n_vlan, if h.is_some() { at } else { 14 }, tos, ttl)
    }

    /// The same of a packet with so many tags whose IPv4 header, if it has one, is at `l3`, at most 24, and has these values.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn apply_at(&self, p: &mut Packet, n_vlan: u8, l3: usize, tos: u8, ttl: u8) -> bool {
        if (self.fits >> n_vlan & 1 == 0) | (ttl < self.min_ttl) {
            return false;
        }
        let old = p.as_ptr().cast_mut();
        if !p.reframe::<36>(isize::from(self.shift)) {
            return false;
        }
        debug_assert!(l3 <= 24);
        // SAFETY: the frame was 36 bytes long at least, of which the first 8 at most are given up, and what has come in front is part of the
        // buffer: so `new..new + 20` and `old..old + 36`, where the IPv4 header's first twelve bytes are, can be read and written by whoever
        // holds the packet.
        unsafe {
            let new = old.offset(isize::from(self.shift));
            let first = (old.cast::<u64>().read_unaligned() & self.keep) | self.value;
            let second = (old.add(8).cast::<u32>().read_unaligned() & self.keep_end) | self.value_end;
            new.cast::<u64>().write_unaligned(first);
            new.add(8).cast::<u32>().write_unaligned(second);
            let tags = new.add(12).cast::<u64>();
            tags.write_unaligned((tags.read_unaligned() & self.keep_tags) | self.value_tags);
            if self.ipv4 {
                let h = old.add(l3);
                let new_tos = (tos & self.keep_tos) | self.value_tos;
                // RFC 1624, in words as they stand in memory: the order of bytes does not matter to such sums.
                let sum = h.add(10).cast::<u16>();
                let s = u32::from(!sum.read_unaligned())
                    + self.sum
                    + u32::from(u16::from_ne_bytes([0xff, !tos]))
                    + u32::from(u16::from_ne_bytes([0, new_tos]));
                h.add(1).write(new_tos);
                h.add(8).write(ttl.wrapping_sub(self.minus_ttl));
                sum.write_unaligned(!((s.wrapping_add(s.rotate_right(16)) >> 16) as u16));
            }
        }
        true
    }
}

/// Pushes an outermost VLAN tag.
///
/// # Errors
/// A frame without Ethernet header, or too long.
pub fn push_vlan(p: &mut Packet, l: &mut Layout, tpid: u16, tci: u16) -> Result<(), EditError> {
    if p.len() < 14 {
        return Err(EditError::BadHeader);
    }
    if !insert_tag(p, tpid, tci) {
        return Err(EditError::TooLong);
    }
    if matches!(tpid, eth_type::VLAN | eth_type::QINQ) {
        // A third tag is beyond what a key describes, but what is behind it stays what it was (and may be rewritten).
        l.n_vlan = (l.n_vlan + 1).min(2);
        l.payload += 4;
        if l.l4 != 0 {
            l.l4 += 4;
        }
    } else {
        *l = relayout(p);
    }
    Ok(())
}

/// Pops the outermost VLAN tag.
///
/// # Errors
/// Without one.
pub fn pop_vlan(p: &mut Packet, l: &mut Layout) -> Result<(), EditError> {
    if l.n_vlan == 0 {
        return Err(EditError::BadHeader);
    }
    remove_tag(p);
    if l.n_vlan == 1 {
        l.n_vlan = 0;
        l.payload -= 4;
        l.l4 = l.l4.saturating_sub(4);
    } else {
        *l = relayout(p);
    }
    Ok(())
}

/// Pushes a label stack entry behind the Ethernet header and its VLAN tags.
///
/// # Errors
/// A frame without Ethertype, or too long.
pub fn push_mpls(p: &mut Packet, l: &mut Layout, ty: u16, lse: u32) -> Result<(), EditError> {
    if l.no_type {
        return Err(EditError::BadHeader);
    }
    if !p.push_front(4) {
        return Err(EditError::TooLong);
    }
    let at = usize::from(l.payload);
    let f = p.data_mut();
    f.copy_within(4..4 + at, 0);
    f[at - 2..at].copy_from_slice(&ty.to_be_bytes());
    f[at..at + 4].copy_from_slice(&lse.to_be_bytes());
    *l = relayout(p);
    Ok(())
}

/// Pops the outermost label stack entry; what is left is `ty`.
///
/// # Errors
/// Without one.
pub fn pop_mpls(p: &mut Packet, l: &mut Layout, ty: u16) -> Result<(), EditError> {
    if l.l3 != L3::Mpls {
        return Err(EditError::BadHeader);
    }
    let at = usize::from(l.payload);
    let f = p.data_mut();
    f[at - 2..at].copy_from_slice(&ty.to_be_bytes());
    f.copy_within(0..at, 4);
    p.pull_front(4);
    *l = relayout(p);
    Ok(())
}

/// Pushes a backbone header: outer addresses are copies, the priority is the outermost VLAN tag's.
///
/// # Errors
/// A frame without Ethernet header, or too long.
pub fn push_pbb(p: &mut Packet, l: &mut Layout, isid: u32) -> Result<(), EditError> {
    if p.len() < 14 {
        return Err(EditError::BadHeader);
    }
    let pcp = if l.n_vlan > 0 { p.data()[14] & 0xe0 } else { 0 };
    if !p.push_front(18) {
        return Err(EditError::TooLong);
    }
    let f = p.data_mut();
    f.copy_within(18..30, 0);
    f[12..14].copy_from_slice(&eth_type::PBB.to_be_bytes());
    f[14..18].copy_from_slice(&((isid & 0xff_ffff) | (u32::from(pcp) << 24)).to_be_bytes());
    *l = relayout(p);
    Ok(())
}

/// Pops the backbone header, its tags and the I-TAG: what is left is the customer's frame.
///
/// # Errors
/// Without an I-TAG and a whole customer header behind it.
pub fn pop_pbb(p: &mut Packet, l: &mut Layout) -> Result<(), EditError> {
    let inner = usize::from(l.payload) + 4;
    if l.l3 != L3::Pbb || p.len() < inner + 14 {
        return Err(EditError::BadHeader);
    }
    p.pull_front(inner);
    *l = relayout(p);
    Ok(())
}

/// Raises the drop precedence of an IP packet (meters' DSCP remark).
pub fn remark(p: &mut Packet, l: &Layout, prec_level: u8) {
    let at = usize::from(l.payload);
    let tos = match l.l3 {
        L3::Ipv4 => p.data()[at + 1],
        L3::Ipv6 => (p.data()[at] << 4) | (p.data()[at + 1] >> 4),
        _ => return,
    };
    let dscp = crate::meter::remark_dscp(tos >> 2, prec_level);
    if dscp != tos >> 2 {
        let (mut v, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
        v.set_byte(off::IP_TOS, dscp << 2);
        m.set_byte(off::IP_TOS, 0xfc);
        SetOp::new(&v, &m).apply(p, l);
    }
}

/// Pays the checksum that is owed, in software.
pub fn complete(p: &mut Packet) {
    if p.offload.needs_csum() {
        let (start, offset) = (p.offload.csum_start, p.offload.csum_offset);
        let _ = crate::port::offload::complete_checksum(p.data_mut(), start, offset);
        p.offload.csum_start = 0;
        p.offload.csum_offset = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::Gen;

    fn sum(b: &[u8]) -> u32 {
        b.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum()
    }

    fn ones(mut s: u32) -> u16 {
        while s > 0xffff {
            s = (s & 0xffff) + (s >> 16);
        }
        s as u16
    }

    /// Sum over pseudo header and L4, from scratch; a correct packet gives 0xffff.
    fn l4_sum(f: &[u8], l: &Layout) -> u16 {
        let (l3, l4) = (usize::from(l.payload), usize::from(l.l4));
        let end = ip_end(f, l3, l.l3);
        let mut s = sum(&f[l4..end]);
        if l.ip_proto != ip_proto::ICMP {
            let addrs = if l.l3 == L3::Ipv4 { &f[l3 + 12..l3 + 20] } else { &f[l3 + 8..l3 + 40] };
            s += sum(addrs) + u32::from(l.ip_proto) + (end - l4) as u32;
        }
        ones(s)
    }

    /// Whether every checksum of the frame is right, computed from scratch.
    fn sound(f: &[u8], udp_zero: bool) -> bool {
        let mut k = FlowKey::ZERO;
        let l = extract(f, 0, 0, &mut k);
        let (l3, l4) = (usize::from(l.payload), usize::from(l.l4));
        if l.l3 == L3::Ipv4 && ones(sum(&f[l3..l3 + usize::from(f[l3] & 15) * 4])) != 0xffff {
            return false;
        }
        if l4 == 0 {
            return true;
        }
        match l.ip_proto {
            ip_proto::SCTP => sctp_crc(&f[l4..ip_end(f, l3, l.l3)]).to_be_bytes() == f[l4 + 8..l4 + 12],
            ip_proto::UDP if udp_zero => f[l4 + 6..l4 + 8] == [0, 0],
            ip_proto::UDP if f[l4 + 6..l4 + 8] == [0, 0] => false,
            _ => l4_sum(f, &l) == 0xffff,
        }
    }

    /// A random frame with right checksums; UDP sometimes without one.
    fn frame(g: &mut Gen, proto: u8, v6: bool, tags: usize, udp_zero: bool) -> Vec<u8> {
        let r = |g: &mut Gen| u8::from(bool_of(g)) ^ byte(g);
        let mut f: Vec<u8> = (0..12).map(|_| r(g) & 0xfe).collect();
        for _ in 0..tags {
            f.extend([0x81, 0, byte(g) & 0xef, byte(g)]);
        }
        let n = 20 + usize::from(byte(g)) % 50;
        let mut l4: Vec<u8> = (0..n).map(|_| byte(g)).collect();
        if proto == ip_proto::ICMPV6 && bool_of(g) {
            l4.truncate(24);
            l4[0] = 135;
            l4[1] = 0;
            l4.extend([1, 1, 2, 2, 2, 2, 2, 2]);
        }
        let n = l4.len();
        if v6 {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, n as u8, proto, 64]);
            f.extend((0..32).map(|_| byte(g)));
        } else {
            f.extend([8, 0, 0x45, byte(g), 0, 20 + n as u8, byte(g), byte(g), 0, 0, 64, proto, 0, 0]);
            f.extend((0..8).map(|_| byte(g)));
        }
        f.extend(&l4);
        f.extend(vec![0xaa; usize::from(byte(g)) % 9]); // Ethernet padding that no checksum covers
        let mut k = FlowKey::ZERO;
        let l = extract(&f, 0, 0, &mut k);
        let (l3, at) = (usize::from(l.payload), usize::from(l.l4));
        if !v6 {
            let c = !ones(sum(&f[l3..l3 + 20]));
            f[l3 + 10..l3 + 12].copy_from_slice(&c.to_be_bytes());
        }
        if proto == ip_proto::SCTP {
            let c = sctp_crc(&f[at..ip_end(&f, l3, l.l3)]);
            f[at + 8..at + 12].copy_from_slice(&c.to_be_bytes());
        } else {
            let c = at + l4_checksum(proto).unwrap().0;
            f[c..c + 2].copy_from_slice(&[0, 0]);
            if proto != ip_proto::UDP || !udp_zero {
                let v = match !l4_sum(&f, &l) {
                    0 if proto == ip_proto::UDP => 0xffff,
                    v => v,
                };
                f[c..c + 2].copy_from_slice(&v.to_be_bytes());
            }
        }
        f
    }

    fn byte(g: &mut Gen) -> u8 {
        <u8 as quickcheck::Arbitrary>::arbitrary(g)
    }
    fn bool_of(g: &mut Gen) -> bool {
        <bool as quickcheck::Arbitrary>::arbitrary(g)
    }

    fn random_set(g: &mut Gen) -> SetOp {
        let (mut v, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
        let fields = [
            (off::ETH_DST, 6),
            (off::ETH_SRC, 6),
            (off::VLAN0_TCI, 2),
            (off::IPV4_SRC, 4),
            (off::IPV4_DST, 4),
            (off::TP_SRC, 2),
            (off::TP_DST, 2),
            (off::IP_TOS, 1),
            (off::IP_TTL, 1),
            (off::IPV6_SRC, 16),
            (off::IPV6_DST, 16),
            (off::ND_TARGET, 16),
            (off::ARP_SHA, 6),
            (off::IPV6_FLABEL, 4),
        ];
        for (at, n) in fields {
            if byte(g).is_multiple_of(3) {
                for i in at..at + n {
                    v.set_byte(i, byte(g));
                    m.set_byte(i, if bool_of(g) { 0xff } else { byte(g) });
                }
            }
        }
        SetOp::new(&v, &m)
    }

    #[test]
    fn checksums_stay_right_under_random_edits() {
        let mut g = Gen::new(100);
        for round in 0..6000 {
            let proto =
                [ip_proto::TCP, ip_proto::UDP, ip_proto::SCTP, ip_proto::ICMP, ip_proto::ICMPV6][round % 5];
            let v6 = proto == ip_proto::ICMPV6 || (proto != ip_proto::ICMP && bool_of(&mut g));
            let udp_zero = proto == ip_proto::UDP && !v6 && bool_of(&mut g);
            let tags = usize::from(byte(&mut g) % 3);
            let f = frame(&mut g, proto, v6, tags, udp_zero);
            assert!(sound(&f, udp_zero), "the generator makes sound frames");
            let mut p = Packet::from_bytes(&f);
            let mut l = relayout(&p);
            // Three tags are more than parsing looks behind.
            let tags = |p: &Packet| p.data()[12..].chunks(4).take_while(|t| t[..2] == [0x81, 0]).count();
            for _ in 0..4 {
                match byte(&mut g) % 8 {
                    0 => push_vlan(&mut p, &mut l, 0x8100, 5).unwrap(),
                    1 => drop(pop_vlan(&mut p, &mut l)),
                    2 => drop(dec_nw_ttl(&mut p, &l)),
                    3 => remark(&mut p, &l, 1),
                    4 if l.l3 != L3::Other && tags(&p) <= 2 => {
                        push_mpls(&mut p, &mut l, 0x8847, 0x1140).unwrap();
                        copy_ttl_in(&mut p, &l).unwrap();
                        pop_mpls(&mut p, &mut l, if v6 { 0x86dd } else { 0x800 }).unwrap();
                    }
                    _ => {
                        let s = random_set(&mut g);
                        // An ICMPv6 type or code may turn it into or from neighbour discovery: only sums matter here.
                        s.apply(&mut p, &l);
                    }
                }
                assert!(sound(p.data(), udp_zero), "proto {proto} v6 {v6} round {round}");
                assert!(tags(&p) > 2 || l == relayout(&p));
            }
        }
    }

    #[test]
    fn an_owed_checksum_is_right_after_completion() {
        let mut g = Gen::new(100);
        for round in 0..3000 {
            let proto = if round % 2 == 0 { ip_proto::TCP } else { ip_proto::UDP };
            let v6 = bool_of(&mut g);
            let mut f = frame(&mut g, proto, v6, 0, false);
            let mut k = FlowKey::ZERO;
            let l = extract(&f, 0, 0, &mut k);
            f.truncate(ip_end(&f, usize::from(l.payload), l.l3));
            let (l3, l4) = (usize::from(l.payload), usize::from(l.l4));
            let at = l4_checksum(proto).unwrap().0;
            let addrs = if v6 { &f[l3 + 8..l3 + 40] } else { &f[l3 + 12..l3 + 20] };
            let pseudo = ones(sum(addrs) + u32::from(proto) + (f.len() - l4) as u32);
            f[l4 + at..l4 + at + 2].copy_from_slice(&pseudo.to_be_bytes());
            let mut p = Packet::from_bytes(&f);
            (p.offload.csum_start, p.offload.csum_offset) = (l4 as u16, at as u16);
            let mut l = relayout(&p);
            random_set(&mut g).apply(&mut p, &l);
            push_vlan(&mut p, &mut l, 0x8100, 5).unwrap();
            random_set(&mut g).apply(&mut p, &l);
            complete(&mut p);
            assert!(sound(p.data(), false), "round {round}");
        }
    }

    #[test]
    fn pushes_and_pops_undo_each_other() {
        let mut g = Gen::new(100);
        for tags in 0..3 {
            let f = frame(&mut g, ip_proto::TCP, false, tags, false);
            let mut p = Packet::from_bytes(&f);
            let mut l = relayout(&p);
            push_pbb(&mut p, &mut l, 0x123456).unwrap();
            assert_eq!(p.data()[12..14], [0x88, 0xe7]);
            assert_eq!(p.data()[15..18], [0x12, 0x34, 0x56]);
            pop_pbb(&mut p, &mut l).unwrap();
            push_mpls(&mut p, &mut l, 0x8847, 0x1100).unwrap();
            push_mpls(&mut p, &mut l, 0x8847, 0x2240).unwrap();
            copy_ttl_in(&mut p, &l).unwrap();
            assert_eq!(p.data()[usize::from(l.payload) + 7], 0x40);
            pop_mpls(&mut p, &mut l, 0x8847).unwrap();
            copy_ttl_out(&mut p, &l).unwrap();
            pop_mpls(&mut p, &mut l, 0x800).unwrap();
            assert_eq!(p.data(), &f[..]);
        }
    }

    #[test]
    fn ethertype_and_protocol_can_be_set() {
        let mut g = Gen::new(100);
        for tags in 0..2 {
            let f = frame(&mut g, ip_proto::TCP, false, tags, false);
            let mut p = Packet::from_bytes(&f);
            let l = relayout(&p);
            let (mut v, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
            v.set_byte(off::IP_PROTO, 200);
            m.set_byte(off::IP_PROTO, 0xff);
            SetOp::new(&v, &m).apply(&mut p, &l);
            assert_eq!((p.data()[23 + 4 * tags], relayout(&p).l4), (200, 0));
            assert!(sound(p.data(), false), "the header's sum follows");
            let (mut v, mut m) = (FlowKey::ZERO, FlowMask::ZERO);
            v.set(off::ETH_TYPE, [0x88, 0x48]);
            m.set(off::ETH_TYPE, [0xff, 0xff]);
            let op = SetOp::new(&v, &m);
            op.apply(&mut p, &l);
            assert_eq!(p.data()[12 + 4 * tags..14 + 4 * tags], [0x88, 0x48]);
            assert!(op.reshapes() && relayout(&p).l3 == L3::Mpls);
        }
    }

    #[test]
    fn crc32c_of_a_known_string() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(sctp_crc(&[0; 32]).to_be_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
    }
}
