//! From bytes to a [`FlowKey`]: one walk over the headers, every read bounds-checked, no input can make it fail.
//!
//! A header that is cut short or contradicts itself ends the walk: the fields before it stand, those behind it are zero. Besides the
//! key, the walk leaves a [`Layout`]: where the headers are, for the actions.

use crate::flow_key::{off, FlowKey, MPLS_DEPTH};
use crate::packet::{Packet, BATCH_SIZE};

/// Ethertypes the datapath knows.
#[allow(missing_docs)]
pub mod eth_type {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const RARP: u16 = 0x8035;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;
    pub const IPV6: u16 = 0x86dd;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MC: u16 = 0x8848;
    pub const PBB: u16 = 0x88e7;
    /// 802.2 LLC without SNAP.
    pub const LLC: u16 = 0x05ff;
}

/// IP protocol numbers the datapath knows.
#[allow(missing_docs)]
pub mod ip_proto {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DEST_OPTS: u8 = 60;
    pub const SCTP: u8 = 132;
}

/// Bits of `ipv6_exthdr` (`OFPIEH_*`).
#[allow(missing_docs)]
pub mod exthdr {
    pub const NONEXT: u16 = 1 << 0;
    pub const ESP: u16 = 1 << 1;
    pub const AUTH: u16 = 1 << 2;
    pub const DEST: u16 = 1 << 3;
    pub const FRAG: u16 = 1 << 4;
    pub const ROUTER: u16 = 1 << 5;
    pub const HOP: u16 = 1 << 6;
    pub const UNREP: u16 = 1 << 7;
    pub const UNSEQ: u16 = 1 << 8;
}

/// What stands behind the Ethernet header and its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum L3 {
    /// Something the datapath does not know, or a broken header.
    #[default]
    Other,
    /// A sound IPv4 header.
    Ipv4,
    /// A sound IPv6 header.
    Ipv6,
    /// ARP for IPv4 over Ethernet.
    Arp,
    /// At least one whole label stack entry.
    Mpls,
    /// An I-TAG.
    Pbb,
}

/// Where the headers of a frame are, in bytes from its start. Frames are shorter than 64 KiB + 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Layout {
    /// Behind the Ethernet header, its tags (and LLC/SNAP).
    pub payload: u16,
    /// L4 header; 0: none (later fragment, unknown, cut short).
    pub l4: u16,
    /// What stands at `payload`.
    pub l3: L3,
    /// VLAN tags, at most 2 counted.
    pub n_vlan: u8,
    /// IP protocol after extension headers.
    pub ip_proto: u8,
    /// An IPv6 routing header has segments left: the destination here is not the one in the pseudo header.
    pub routed: bool,
    /// The frame has no Ethertype (LLC without SNAP, or shorter than a header).
    pub no_type: bool,
}

/// The keys of a batch.
pub struct Keys {
    keys: Box<[FlowKey; BATCH_SIZE]>,
    /// Bit i: lanes 1 and 2 of key i may hold something; else they are zero, and so need not be written for most packets.
    upper: u32,
}

impl Default for Keys {
    fn default() -> Self {
        Self { keys: Box::new([FlowKey::ZERO; BATCH_SIZE]), upper: 0 }
    }
}

impl std::ops::Deref for Keys {
    type Target = [FlowKey; BATCH_SIZE];
    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.keys
    }
}

impl Keys {
    #[inline(always)]
    fn clear_upper(&mut self) {
        if self.upper != 0 {
            for (_, k) in self.keys.iter_mut().enumerate().filter(|(i, _)| self.upper & (1 << i) != 0) {
                k.0[8..].fill(0);
            }
            self.upper = 0;
        }
    }

    /// A key by the walk over its headers.
    #[inline(never)]
    fn extract(&mut self, i: usize, p: &Packet, in_port: u32, recirc_id: u32, seen: &mut Seen) -> Layout {
        let k = &mut self.keys[i];
        let l = extract(p.data(), in_port, recirc_id, k);
        if k.0[8..].iter().any(|w| *w != 0) {
            self.upper |= 1 << i;
            seen.plain = false;
        }
        seen.add(k.lane(0));
        l
    }
}

/// The layouts of a batch.
pub struct Layouts {
    /// Bit i: packet i has a common shape, whose layout its key tells.
    common: u32,
    other: [Layout; BATCH_SIZE],
}

impl Default for Layouts {
    #[inline(always)]
    fn default() -> Self {
        Self { common: 0, other: [Layout::default(); BATCH_SIZE] }
    }
}

impl Layouts {
    /// Where the headers of packet `i` are.
    #[inline(always)]
    pub fn of(&self, i: usize, keys: &Keys) -> Layout {
        let i = i % BATCH_SIZE;
        if self.common & (1 << i) != 0 {
            let k = &keys[i];
            common_layout(u8::from(k.byte(off::VLAN0_TCI) & 0x10 != 0), k.byte(off::IP_PROTO))
        } else {
            self.other[i]
        }
    }
}

impl Layouts {
    /// Bit i: packet i is IPv4 with TCP or UDP, without options, with at most one tag: its key says all of its layout.
    #[inline(always)]
    pub fn common(&self) -> u32 {
        self.common
    }
}

/// What the keys of a batch have in common.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Seen {
    /// Bits of lane 0 that any key has, and that all have.
    any: [u64; 8],
    all: [u64; 8],
    /// No key has anything in its other lanes.
    plain: bool,
}

impl Seen {
    /// Of no key yet.
    pub const NOTHING: Self = Self { any: [0; 8], all: [!0; 8], plain: true };
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { any: [!0; 8], all: [0; 8], plain: false };

    #[inline(always)]
    fn add(&mut self, lane: &[u64; 8]) {
        for ((any, all), w) in self.any.iter_mut().zip(&mut self.all).zip(lane) {
            *any |= w;
            *all &= w;
        }
    }
    /// Whether all keys are surely equal on `mask`, which has bits in lane 0 only.
    #[inline(always)]
    pub fn agree(&self, mask: &[u64; 8]) -> bool {
        self.plain && (0..8).fold(0, |d, i| d | ((self.any[i] ^ self.all[i]) & mask[i])) == 0
    }
    /// The TCP flags of all.
    #[inline(always)]
    pub fn tcp_flags(&self) -> u16 {
        let b = self.any[off::TCP_FLAGS / 8].to_ne_bytes();
        u16::from_be_bytes([b[0], b[1]])
    }
}

/// Layouts of the common shapes.
#[inline(always)]
fn common_layout(n_vlan: u8, proto: u8) -> Layout {
    let payload = 14 + 4 * u16::from(n_vlan);
    Layout { payload, l4: payload + 20, l3: L3::Ipv4, n_vlan, ip_proto: proto, routed: false, no_type: false }
}

/// Extracts a batch that came in by one port with one recirculation id. `keys` and `layouts` have room for all.
#[inline]
pub fn extract_batch(
    packets: &[Packet],
    in_port: u32,
    recirc_id: u32,
    keys: &mut Keys,
    layouts: &mut Layouts,
) -> Seen {
    keys.clear_upper();
    #[cfg(target_arch = "x86_64")]
    if crate::isa::current() == crate::isa::Isa::Avx512 {
        // SAFETY: the ISA was chosen after the machine was asked for its features.
        #[allow(unsafe_code)]
        return unsafe { extract_batch_avx512(packets, in_port, recirc_id, keys, layouts) };
    }
    extract_batch_scalar(packets, in_port, recirc_id, keys, layouts)
}

fn extract_batch_scalar(
    packets: &[Packet],
    in_port: u32,
    recirc_id: u32,
    keys: &mut Keys,
    layouts: &mut Layouts,
) -> Seen {
    let mut seen = Seen::NOTHING;
    let prefix = prefix(in_port, recirc_id);
    let n = packets.len().min(BATCH_SIZE);
    for (i, p) in packets.iter().enumerate().take(BATCH_SIZE) {
        let f = p.data();
        let lane = keys.keys[i].lane_mut(0);
        let common = match f.get(12..14) {
            Some([8, 0]) => common::<14>(f, prefix, lane),
            Some([0x81, 0] | [0x88, 0xa8]) => common::<18>(f, prefix, lane),
            _ => false,
        };
        if common {
            layouts.common |= 1 << i;
        } else {
            layouts.other[i] = keys.extract(i, p, in_port, recirc_id, &mut seen);
        }
    }
    // Apart, so that the sums stay in registers.
    let (mut any, mut all) = (seen.any, seen.all);
    for k in &keys.keys[..n] {
        for ((any, all), w) in any.iter_mut().zip(&mut all).zip(k.lane(0)) {
            *any |= w;
            *all &= w;
        }
    }
    (seen.any, seen.all) = (any, all);
    seen
}

#[inline(always)]
fn prefix(in_port: u32, recirc_id: u32) -> u64 {
    let (a, b) = (in_port.to_be_bytes(), recirc_id.to_be_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

/// Lane 0 of a whole IPv4 packet with TCP or UDP and without options, whose IP header is at `E`: word by word, as the lane lies in memory.
/// False, and nothing written, if it is another packet.
#[inline(always)]
fn common<const E: usize>(f: &[u8], prefix: u64, lane: &mut [u64; 8]) -> bool {
    if cfg!(target_endian = "big") {
        return false;
    }
    let Some(h) = f.get(..E + 28) else { return false };
    let half = |at: usize| u64::from(u16::from_ne_bytes([h[at], h[at + 1]]));
    let word = |at: usize| u64::from(u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    let long = |at: usize| {
        u64::from_ne_bytes([
            h[at],
            h[at + 1],
            h[at + 2],
            h[at + 3],
            h[at + 4],
            h[at + 5],
            h[at + 6],
            h[at + 7],
        ])
    };
    let proto = h[E + 9];
    let tcp = proto == ip_proto::TCP;
    let odd = (half(E - 2) ^ u64::from(eth_type::IPV4.to_be()))
        | u64::from(h[E] ^ 0x45)
        | (half(E + 6) & u64::from(0x3fffu16.to_be()));
    if odd != 0 || !(tcp || proto == ip_proto::UDP) || (tcp && f.len() < E + 40) {
        return false;
    }
    let (mut tag, mut rest) = (0, 0);
    if E == 18 {
        tag = (half(14) | 0x10) << 48;
        rest = half(12) << 16;
    }
    if tcp {
        rest |= u64::from(f[E + 32] & 0x0f) | u64::from(f[E + 33]) << 8;
    }
    let ip = u64::from(proto) << 32 | u64::from(h[E + 1]) << 40 | u64::from(h[E + 8]) << 48;
    lane[0] = prefix;
    lane[1] = long(0);
    lane[2] = word(8) | half(E - 2) << 32 | tag;
    lane[3] = long(E + 12);
    lane[4] = word(E + 20) | ip;
    lane[5] = rest;
    lane[6] = 0;
    lane[7] = 0;
    true
}

/// # Safety
/// - The machine has the features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx2,bmi1,bmi2")]
unsafe fn extract_batch_avx512(
    packets: &[Packet],
    in_port: u32,
    recirc_id: u32,
    keys: &mut Keys,
    layouts: &mut Layouts,
) -> Seen {
    use crate::classifier::simd::{profile_of, Common};
    let n = packets.len().min(BATCH_SIZE);
    let mut seen = Seen::NOTHING;
    let mut odd = 0u32;
    // SAFETY: the features are enabled here; the kernel reads only what a packet says is readable.
    unsafe {
        let mut run = Common::new(prefix(in_port, recirc_id), &seen.any, &seen.all);
        // Mostly all packets are of one shape, whose constants then stay in registers.
        let mut i = 0;
        let shape = packets.first().map_or(0, |p| profile_of(p.data()));
        match shape {
            0 => {
                while i < n && run.extract(0, &packets[i], &mut keys.keys[i]) {
                    i += 1;
                }
            }
            1 => {
                while i < n && run.extract(1, &packets[i], &mut keys.keys[i]) {
                    i += 1;
                }
            }
            _ => {}
        }
        while i < n {
            let shape = profile_of(packets[i].data());
            let done = run.extract(shape, &packets[i], &mut keys.keys[i]);
            odd |= u32::from(!done) << i;
            i += 1;
        }
        run.finish(&mut seen.any, &mut seen.all);
    }
    layouts.common = (u32::MAX >> ((BATCH_SIZE - n) & 31)) & !odd;
    while odd != 0 {
        let i = (odd.trailing_zeros() & 31) as usize;
        odd &= odd - 1;
        if let Some(p) = packets.get(i) {
            layouts.other[i] = keys.extract(i, p, in_port, recirc_id, &mut seen);
        }
    }
    seen
}

#[inline]
fn be16(f: &[u8], at: usize) -> Option<u16> {
    f.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// Fills `key` (all of it) from `frame` and says where things are.
pub fn extract(frame: &[u8], in_port: u32, recirc_id: u32, key: &mut FlowKey) -> Layout {
    *key = FlowKey::ZERO;
    key.set(off::IN_PORT, in_port.to_be_bytes());
    key.set(off::RECIRC_ID, recirc_id.to_be_bytes());
    let mut l = Layout::default();
    let Some(macs) = frame.first_chunk::<14>() else {
        l.no_type = true;
        return l;
    };
    key.bytes_mut()[off::ETH_DST..off::ETH_DST + 12].copy_from_slice(&macs[..12]);
    let mut ty = u16::from_be_bytes([macs[12], macs[13]]);
    let mut at = 14;
    while matches!(ty, eth_type::VLAN | eth_type::QINQ) && l.n_vlan < 2 {
        let Some(tag) = frame.get(at..at + 4) else { break };
        let (tci, tpid) =
            if l.n_vlan == 0 { (off::VLAN0_TCI, off::VLAN0_TPID) } else { (off::VLAN1_TCI, off::VLAN1_TPID) };
        key.set(tci, [tag[0] | 0x10, tag[1]]);
        key.set(tpid, ty.to_be_bytes());
        ty = u16::from_be_bytes([tag[2], tag[3]]);
        at += 4;
        l.n_vlan += 1;
    }
    if ty < 0x600 {
        ty = eth_type::LLC;
        l.no_type = true;
        if let Some(llc) = frame.get(at..at + 8) {
            let snap = u16::from_be_bytes([llc[6], llc[7]]);
            if llc[..6] == [0xaa, 0xaa, 3, 0, 0, 0] && snap >= 0x600 {
                ty = snap;
                at += 8;
                l.no_type = false;
            }
        }
    }
    key.set(off::ETH_TYPE, ty.to_be_bytes());
    l.payload = at as u16;
    let rest = frame.get(at..).unwrap_or(&[]);
    match ty {
        eth_type::IPV4 => ipv4(frame, rest, at, key, &mut l),
        eth_type::IPV6 => ipv6(frame, rest, at, key, &mut l),
        eth_type::ARP | eth_type::RARP => arp(rest, key, &mut l),
        eth_type::MPLS | eth_type::MPLS_MC => {
            for n in 0..MPLS_DEPTH {
                let Some(lse) = rest.get(n * 4..n * 4 + 4).and_then(|b| b.first_chunk::<4>()) else { break };
                key.set(off::MPLS_LSE + n * 4, *lse);
                l.l3 = L3::Mpls;
                if lse[2] & 1 != 0 {
                    break;
                }
            }
        }
        eth_type::PBB => {
            if let Some(tag) = rest.first_chunk::<4>() {
                l.l3 = L3::Pbb;
                key.set_byte(off::PBB_UCA, (tag[0] >> 3) & 1);
                key.set(off::PBB_ISID, [0, tag[1], tag[2], tag[3]]);
            }
        }
        _ => {}
    }
    l
}

fn ipv4(frame: &[u8], rest: &[u8], at: usize, key: &mut FlowKey, l: &mut Layout) {
    let Some(h) = rest.first_chunk::<20>() else { return };
    let header = usize::from(h[0] & 15) * 4;
    if h[0] >> 4 != 4 || header < 20 || header > rest.len() {
        return;
    }
    l.l3 = L3::Ipv4;
    let b = key.bytes_mut();
    b[off::IPV4_SRC..off::IPV4_SRC + 8].copy_from_slice(&h[12..20]);
    b[off::IP_PROTO] = h[9];
    b[off::IP_TOS] = h[1];
    b[off::IP_TTL] = h[8];
    l.ip_proto = h[9];
    let frag = u16::from_be_bytes([h[6], h[7]]) & 0x3fff;
    if frag != 0 {
        b[off::IP_FRAG] = if frag & 0x1fff == 0 { 1 } else { 3 };
        if frag & 0x1fff != 0 {
            return;
        }
    }
    l4(frame, at + header, h[9], key, l);
}

fn ipv6(frame: &[u8], rest: &[u8], at: usize, key: &mut FlowKey, l: &mut Layout) {
    let Some(h) = rest.first_chunk::<40>() else { return };
    if h[0] >> 4 != 6 {
        return;
    }
    l.l3 = L3::Ipv6;
    let b = key.bytes_mut();
    b[off::IPV6_SRC..off::IPV6_SRC + 32].copy_from_slice(&h[8..40]);
    b[off::IPV6_FLABEL + 1..off::IPV6_FLABEL + 4].copy_from_slice(&[h[1] & 15, h[2], h[3]]);
    b[off::IP_TOS] = (h[0] << 4) | (h[1] >> 4);
    b[off::IP_TTL] = h[7];
    let mut next = h[6];
    let mut pos = at + 40;
    let mut bits = 0u16;
    // Rank in the order that RFC 8200 recommends; destination options may stand before the routing header and at the end.
    let mut last_rank = 0u8;
    let mut dests = 0u8;
    let mut sound = true;
    loop {
        let (bit, rank) = match next {
            ip_proto::HOP_BY_HOP => (exthdr::HOP, 1),
            ip_proto::DEST_OPTS => (exthdr::DEST, if dests == 0 && last_rank <= 1 { 2 } else { 7 }),
            ip_proto::ROUTING => (exthdr::ROUTER, 3),
            ip_proto::FRAGMENT => (exthdr::FRAG, 4),
            ip_proto::AUTH => (exthdr::AUTH, 5),
            ip_proto::ESP => (exthdr::ESP, 6),
            ip_proto::NO_NEXT => (exthdr::NONEXT, 8),
            _ => break,
        };
        if next == ip_proto::DEST_OPTS {
            dests = dests.saturating_add(1);
        }
        let repeated = if next == ip_proto::DEST_OPTS { dests > 2 } else { bits & bit != 0 };
        if repeated {
            bits |= exthdr::UNREP;
        } else if rank < last_rank {
            bits |= exthdr::UNSEQ;
        }
        last_rank = last_rank.max(rank);
        bits |= bit;
        if matches!(next, ip_proto::ESP | ip_proto::NO_NEXT) {
            sound = false;
            break;
        }
        let Some(e) = frame.get(pos..pos + 8) else {
            sound = false;
            break;
        };
        let len = match next {
            ip_proto::FRAGMENT => 8,
            ip_proto::AUTH => (usize::from(e[1]) + 2) * 4,
            _ => (usize::from(e[1]) + 1) * 8,
        };
        if next == ip_proto::ROUTING && e[3] != 0 {
            l.routed = true;
        }
        if next == ip_proto::FRAGMENT {
            let word = u16::from_be_bytes([e[2], e[3]]);
            if word & 0xfff9 != 0 {
                let later = word & 0xfff8 != 0;
                key.set_byte(off::IP_FRAG, if later { 3 } else { 1 });
                if later {
                    next = e[0];
                    sound = false;
                    break;
                }
            }
        }
        next = e[0];
        pos += len;
        if pos > frame.len() {
            sound = false;
            break;
        }
    }
    key.set(off::IPV6_EXTHDR, bits.to_be_bytes());
    key.set_byte(off::IP_PROTO, next);
    l.ip_proto = next;
    if sound {
        l4(frame, pos, next, key, l);
        if next == ip_proto::ICMPV6 && l.l4 != 0 {
            // Padding behind the packet is no part of the message.
            neighbour_discovery(&frame[..ip_end(frame, at, L3::Ipv6)], pos, key);
        }
    }
}

fn arp(rest: &[u8], key: &mut FlowKey, l: &mut Layout) {
    let Some(h) = rest.first_chunk::<28>() else { return };
    if h[..6] != [0, 1, 8, 0, 6, 4] {
        return;
    }
    l.l3 = L3::Arp;
    let b = key.bytes_mut();
    b[off::TP_SRC..off::TP_SRC + 2].copy_from_slice(&h[6..8]);
    b[off::ARP_SHA..off::ARP_SHA + 6].copy_from_slice(&h[8..14]);
    b[off::IPV4_SRC..off::IPV4_SRC + 4].copy_from_slice(&h[14..18]);
    b[off::ARP_THA..off::ARP_THA + 6].copy_from_slice(&h[18..24]);
    b[off::IPV4_DST..off::IPV4_DST + 4].copy_from_slice(&h[24..28]);
}

fn l4(frame: &[u8], at: usize, proto: u8, key: &mut FlowKey, l: &mut Layout) {
    let Some(h) = frame.get(at..) else { return };
    let need = match proto {
        ip_proto::TCP => 20,
        ip_proto::UDP | ip_proto::ICMPV6 | ip_proto::ICMP => 8,
        ip_proto::SCTP => 12,
        _ => return,
    };
    // ICMPv6 and ICMP messages may be as short as four bytes of header.
    let need = if matches!(proto, ip_proto::ICMP | ip_proto::ICMPV6) { 4 } else { need };
    if h.len() < need || at > 0xffff {
        return;
    }
    l.l4 = at as u16;
    let b = key.bytes_mut();
    match proto {
        ip_proto::ICMP | ip_proto::ICMPV6 => {
            b[off::TP_SRC + 1] = h[0];
            b[off::TP_DST + 1] = h[1];
        }
        _ => {
            b[off::TP_SRC..off::TP_SRC + 4].copy_from_slice(&h[..4]);
            if proto == ip_proto::TCP {
                b[off::TCP_FLAGS] = h[12] & 0x0f;
                b[off::TCP_FLAGS + 1] = h[13];
            }
        }
    }
}

/// Where the options of a neighbour discovery message are: calls `f(option type, offset of its link address)` for the well-formed ones.
pub(crate) fn nd_options(frame: &[u8], l4: usize, mut f: impl FnMut(u8, usize)) {
    let mut at = l4 + 24;
    while let Some(o) = frame.get(at..at + 8) {
        let len = usize::from(o[1]) * 8;
        if len == 0 || at + len > frame.len() {
            return;
        }
        if matches!(o[0], 1 | 2) && len == 8 {
            f(o[0], at + 2);
        }
        at += len;
    }
}

/// Whether an ICMPv6 header at `l4` is a neighbour solicitation or advertisement with its target.
pub(crate) fn is_nd(frame: &[u8], l4: usize) -> bool {
    frame.get(l4..l4 + 24).is_some_and(|h| matches!(h[0], 135 | 136) && h[1] == 0)
}

fn neighbour_discovery(frame: &[u8], l4: usize, key: &mut FlowKey) {
    if !is_nd(frame, l4) {
        return;
    }
    key.bytes_mut()[off::ND_TARGET..off::ND_TARGET + 16].copy_from_slice(&frame[l4 + 8..l4 + 24]);
    nd_options(frame, l4, |ty, at| {
        let to = if ty == 1 { off::ARP_SHA } else { off::ARP_THA };
        key.bytes_mut()[to..to + 6].copy_from_slice(&frame[at..at + 6]);
    });
}

/// End of the IP packet at `l3` (without Ethernet padding), at most the frame's end.
pub(crate) fn ip_end(frame: &[u8], l3: usize, kind: L3) -> usize {
    let len = match kind {
        L3::Ipv4 => be16(frame, l3 + 2).map_or(0, usize::from),
        L3::Ipv6 => be16(frame, l3 + 4).map_or(0, |n| if n == 0 { 0 } else { usize::from(n) + 40 }),
        _ => 0,
    };
    // 0: a frame longer than the field can say (GSO).
    if len < 20 {
        frame.len()
    } else {
        frame.len().min(l3 + len)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const TCP4: &str = "0200000000020200000000010800 4510003000014000 4006 0000 0a000001 0a000002 1234 0050 00000001 00000002 5012 ffff 0000 0000 0000000000000000";

    pub(crate) fn hex(s: &str) -> Vec<u8> {
        let d: Vec<u8> = s.bytes().filter(u8::is_ascii_hexdigit).collect();
        d.chunks_exact(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
    }

    fn key_of(s: &str) -> (FlowKey, Layout) {
        let mut k = FlowKey::ZERO;
        let l = extract(&hex(s), 7, 9, &mut k);
        (k, l)
    }

    #[test]
    fn tcp_over_ipv4() {
        let (k, l) = key_of(TCP4);
        assert_eq!((k.in_port(), k.u32(off::RECIRC_ID), k.u16(off::ETH_TYPE)), (7, 9, 0x800));
        assert_eq!((k.get(off::ETH_DST), k.get(off::ETH_SRC)), ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]));
        assert_eq!((k.u32(off::IPV4_SRC), k.u32(off::IPV4_DST)), (0x0a00_0001, 0x0a00_0002));
        assert_eq!((k.u16(off::TP_SRC), k.u16(off::TP_DST), k.u16(off::TCP_FLAGS)), (0x1234, 80, 0x12));
        assert_eq!(k.get(off::IP_PROTO), [6, 0x10, 0x40, 0]);
        assert_eq!((l.payload, l.l4, l.l3), (14, 34, L3::Ipv4));
    }

    #[test]
    fn two_tags_then_arp() {
        let (k, l) = key_of(
            "ffffffffffff 020000000001 88a8 2064 8100 0065 0806 0001080006040001 020000000001 0a000001 000000000000 0a000002",
        );
        assert_eq!((k.u16(off::VLAN0_TCI), k.u16(off::VLAN0_TPID)), (0x3064, 0x88a8));
        assert_eq!((k.u16(off::VLAN1_TCI), k.u16(off::VLAN1_TPID)), (0x1065, 0x8100));
        assert_eq!(
            (k.u16(off::TP_SRC), k.u32(off::IPV4_DST), k.get(off::ARP_SHA)),
            (1, 0x0a00_0002, [2, 0, 0, 0, 0, 1])
        );
        assert_eq!((l.l3, l.payload, l.n_vlan), (L3::Arp, 22, 2));
    }

    #[test]
    fn mpls_and_pbb_end_the_walk() {
        let (k, l) = key_of("020000000002020000000001 8847 00010040 00020140 4500");
        assert_eq!(
            (k.u32(off::MPLS_LSE), k.u32(off::MPLS_LSE + 4), k.u32(off::MPLS_LSE + 8)),
            (0x10040, 0x20140, 0)
        );
        assert_eq!((l.l3, k.u32(off::IPV4_SRC)), (L3::Mpls, 0));
        let (k, l) = key_of("020000000002020000000001 88e7 08123456 020000000003020000000004 0800 4500");
        assert_eq!((k.byte(off::PBB_UCA), k.u32(off::PBB_ISID), l.l3), (1, 0x123456, L3::Pbb));
    }

    #[test]
    fn ipv6_extension_headers() {
        let base = "020000000002020000000001 86dd 6ff12345 0028";
        let addr = "40 20010db8000000000000000000000001 20010db8000000000000000000000002";
        let hop = format!("{base} 00{addr} 2b00000000000000 1100000000000000 0035003500080000");
        let (k, _) = key_of(&hop);
        assert_eq!(k.u16(off::IPV6_EXTHDR), exthdr::HOP | exthdr::ROUTER);
        assert_eq!((k.byte(off::IP_PROTO), k.u16(off::TP_SRC), k.byte(off::IP_TOS)), (17, 53, 0xff));
        assert_eq!(k.u32(off::IPV6_FLABEL), 0x12345);
        let odd = format!("{base} 2b{addr} 0000000000000000 0000000000000000 3b00000000000000");
        let (k, _) = key_of(&odd);
        assert_eq!(
            k.u16(off::IPV6_EXTHDR),
            exthdr::HOP | exthdr::ROUTER | exthdr::UNSEQ | exthdr::UNREP | exthdr::NONEXT
        );
        let frag = format!("{base} 2c{addr} 1100000800000001 0035003500080000");
        let (k, l) = key_of(&frag);
        assert_eq!((k.byte(off::IP_FRAG), k.byte(off::IP_PROTO), k.u16(off::TP_SRC), l.l4), (3, 17, 0, 0));
    }

    #[test]
    fn neighbour_solicitation() {
        let (k, _) = key_of("3333ff000002 020000000001 86dd 60000000 0020 3aff 20010db8000000000000000000000001 20010db8000000000000000000000002 87001234 00000000 20010db8000000000000000000000002 0101020000000001");
        assert_eq!((k.u16(off::TP_SRC), k.u16(off::TP_DST)), (135, 0));
        assert_eq!(k.byte(off::ND_TARGET + 15), 2);
        assert_eq!(k.get(off::ARP_SHA), [2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn snap_llc_and_short_frames() {
        let (k, l) = key_of("020000000002020000000001 0020 aaaa03000000 0800 45");
        assert_eq!((k.u16(off::ETH_TYPE), l.payload, l.l3), (0x800, 22, L3::Other));
        let (k, _) = key_of("020000000002020000000001 0020 424203000000 0800 45");
        assert_eq!(k.u16(off::ETH_TYPE), 0x5ff);
        let (k, l) = key_of("0200000000020200000000");
        assert!(l.no_type && k.get(off::ETH_DST) == [0u8; 6]);
    }

    #[test]
    fn every_prefix_of_every_frame_is_safe() {
        let frames = [
            TCP4,
            "ffffffffffff 020000000001 88a8 2064 8100 0065 0806 0001080006040001 020000000001 0a000001 000000000000 0a000002",
            "3333ff000002 020000000001 86dd 60000000 0020 3aff 20010db8000000000000000000000001 20010db8000000000000000000000002 87001234 00000000 20010db8000000000000000000000002 0101020000000001",
            "020000000002020000000001 8847 00010040 00020140 4500",
        ];
        let mut k = FlowKey::ZERO;
        for f in frames {
            let f = hex(f);
            for n in 0..=f.len() {
                let l = extract(&f[..n], 1, 0, &mut k);
                assert!(usize::from(l.payload) <= n.max(14) && usize::from(l.l4) <= n);
            }
        }
    }

    /// The vector kernel against the scalar one, on frames near the common shapes.
    #[test]
    fn all_kernels_extract_the_same() {
        fn prop(mut tail: Vec<u8>, tag: u8, proto: u8, flip: (u8, u8), cut: u8) -> bool {
            let mut f = hex("020000000002020000000001");
            match tag % 4 {
                0 => f.extend([0x81, 0, 0x20, 5]),
                1 => f.extend([0x88, 0xa8, 0xff, 5]),
                _ => {}
            }
            f.extend([
                8,
                0,
                0x45,
                7,
                0,
                60,
                1,
                2,
                0x40,
                0,
                64,
                [6, 17, 1, 132][usize::from(proto) % 4],
                0,
                0,
            ]);
            tail.resize(60, proto);
            f.extend(tail);
            let at = usize::from(flip.0) % f.len();
            if flip.1.is_multiple_of(3) {
                f[at] ^= flip.1;
            }
            f.truncate(f.len() - usize::from(cut) % 60);
            let mut want = Keys::default();
            let mut wl = [Layout::default(); BATCH_SIZE];
            let mut all = Seen::NOTHING;
            // Its neighbours have other shapes; a key before left its upper lanes behind.
            let odd = hex("3333ff000002 020000000001 86dd 60000000 0020 3aff 20010db8000000000000000000000001 20010db8000000000000000000000002 87001234 00000000 20010db8000000000000000000000002 0101020000000001");
            let packets: Vec<Packet> =
                [&f, &hex(TCP4), &odd, &f, &odd, &f].iter().map(|f| Packet::from_bytes(f)).collect();
            for (i, p) in packets.iter().enumerate() {
                wl[i] = want.extract(i, p, 0x0102_0304, 0x0506_0708, &mut all);
            }
            let run = |packets: &[Packet], keys: &mut Keys| {
                let n = packets.len();
                let agree = |keys: &Keys, l: &Layouts| {
                    keys[..n] == want[..n] && (0..n).all(|i| l.of(i, keys) == wl[i])
                };
                let mut layouts = Layouts::default();
                keys.clear_upper();
                let scalar = extract_batch_scalar(packets, 0x0102_0304, 0x0506_0708, keys, &mut layouts);
                let mut ok = agree(keys, &layouts);
                if crate::isa::best() == crate::isa::Isa::Avx512 {
                    let mut layouts = Layouts::default();
                    keys.clear_upper();
                    // SAFETY: checked above.
                    #[allow(unsafe_code)]
                    let seen = unsafe {
                        extract_batch_avx512(packets, 0x0102_0304, 0x0506_0708, keys, &mut layouts)
                    };
                    ok &= agree(keys, &layouts)
                        && (seen.any, seen.all, seen.plain) == (scalar.any, scalar.all, scalar.plain);
                }
                ok.then_some(scalar)
            };
            let mut keys = Keys::default();
            let (Some(six), Some(one)) = (run(&packets, &mut keys), run(&packets[..1], &mut keys)) else {
                return false;
            };
            let mut mask = [0; 8];
            mask[3] = !0;
            (six.any, six.all, six.plain) == (all.any, all.all, all.plain)
                && one.agree(&[!0; 8]) == (want.upper & 1 == 0)
                && (!six.agree(&mask) || want[0].0[3] == want[1].0[3])
                && one.tcp_flags() == want[0].u16(off::TCP_FLAGS)
        }
        quickcheck::QuickCheck::new()
            .tests(20_000)
            .quickcheck(prop as fn(Vec<u8>, u8, u8, (u8, u8), u8) -> bool);
    }

    #[test]
    fn random_bytes_are_safe() {
        fn prop(mut bytes: Vec<u8>, ty: u8, ver: u8, proto: u8) -> bool {
            let types = [0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x88e7, 0x0010];
            if bytes.len() > 20 {
                bytes[12..14].copy_from_slice(&types[usize::from(ty) % 8].to_be_bytes());
                bytes[14] = if ver & 1 == 0 { 0x45 } else { 0x60 };
                bytes[20] = [0, 43, 44, 51, 60, 58, 6, 17][usize::from(proto) % 8];
            }
            let mut k = FlowKey::ZERO;
            let l = extract(&bytes, 1, 0, &mut k);
            usize::from(l.l4) <= bytes.len()
        }
        quickcheck::QuickCheck::new().tests(20_000).quickcheck(prop as fn(Vec<u8>, u8, u8, u8) -> bool);
    }
}
