//! `FlowKey`: what the caches and the tables know of a packet, as three fixed 64-byte lanes; `FlowMask` says which bits count.
//!
//! Every field stands big-endian (network order) at a fixed byte offset, so a field is `(offset, bits)` and a masked compare
//! is a handful of 64-byte loads. Lane 0 decides nearly all traffic (Ethernet, VLAN, IPv4, ports); lane 1 is IPv6, ARP and
//! neighbour discovery; lane 2 MPLS, PBB, tunnel and connection state. A field that a packet does not have is zero.
//!
//! ```text
//! lane 0   0 in_port:4    4 recirc_id:4   8 eth_dst:6   14 eth_src:6   20 eth_type:2   22 vlan0_tci:2
//!         24 ipv4_src:4  28 ipv4_dst:4   32 tp_src:2   34 tp_dst:2    36 ip_proto:1   37 ip_tos:1  38 ip_ttl:1  39 ip_frag:1
//!         40 tcp_flags:2 42 vlan0_tpid:2 44 vlan1_tci:2 46 vlan1_tpid:2 48 tunnel_id:8 56 pkt_mark:4 60 spare:4
//! lane 1  64 ipv6_src:16 80 ipv6_dst:16  96 nd_target:16 112 arp_sha:6 118 arp_tha:6 124 ipv6_flabel:4
//! lane 2 128 mpls_lse:4x4 144 ipv6_exthdr:2 146 pbb_uca:1 147 pad:1 148 pbb_isid:4 152 dp_hash:4 156 tun_src:4 160 tun_dst:4
//!        164 ct_state:4 168 ct_mark:4 172 ct_zone:2 174 pad:2 176 ct_label:16
//! ```
//! Conventions: `eth_type` is the type after the VLAN tags (802.2 LLC without SNAP: 0x05ff); `vlan*_tci` has 0x1000 set where a tag is present;
//! ICMP type and code are `tp_src` and `tp_dst`; ARP's op is `tp_src`, its protocol addresses `ipv4_src`/`ipv4_dst`, and ND's link
//! addresses `arp_sha` (sll) and `arp_tha` (tll); `ip_frag` is 0 whole, 1 first fragment, 3 later fragment (then no ports);
//! MPLS label stack entries are `label:20 tc:3 bos:1 ttl:8`, outermost first.

/// Bytes of a key.
pub const KEY_BYTES: usize = 192;
/// 64-byte lanes of a key.
pub const LANES: usize = 3;

/// Field offsets in bytes.
#[allow(missing_docs)]
pub mod off {
    pub const IN_PORT: usize = 0;
    pub const RECIRC_ID: usize = 4;
    pub const ETH_DST: usize = 8;
    pub const ETH_SRC: usize = 14;
    pub const ETH_TYPE: usize = 20;
    pub const VLAN0_TCI: usize = 22;
    pub const IPV4_SRC: usize = 24;
    pub const IPV4_DST: usize = 28;
    pub const TP_SRC: usize = 32;
    pub const TP_DST: usize = 34;
    pub const IP_PROTO: usize = 36;
    pub const IP_TOS: usize = 37;
    pub const IP_TTL: usize = 38;
    pub const IP_FRAG: usize = 39;
    pub const TCP_FLAGS: usize = 40;
    pub const VLAN0_TPID: usize = 42;
    pub const VLAN1_TCI: usize = 44;
    pub const VLAN1_TPID: usize = 46;
    pub const TUNNEL_ID: usize = 48;
    pub const PKT_MARK: usize = 56;
    pub const IPV6_SRC: usize = 64;
    pub const IPV6_DST: usize = 80;
    pub const ND_TARGET: usize = 96;
    pub const ARP_SHA: usize = 112;
    pub const ARP_THA: usize = 118;
    pub const IPV6_FLABEL: usize = 124;
    pub const MPLS_LSE: usize = 128;
    pub const IPV6_EXTHDR: usize = 144;
    pub const PBB_UCA: usize = 146;
    pub const PBB_ISID: usize = 148;
    pub const DP_HASH: usize = 152;
    pub const TUN_SRC: usize = 156;
    pub const TUN_DST: usize = 160;
    pub const CT_STATE: usize = 164;
    pub const CT_MARK: usize = 168;
    pub const CT_ZONE: usize = 172;
    pub const CT_LABEL: usize = 176;
}

/// MPLS label stack entries a key holds.
pub const MPLS_DEPTH: usize = 4;

/// A packet's fields (see the module's layout).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct FlowKey(pub [u64; KEY_BYTES / 8]);

/// Which bits of a [`FlowKey`] count: same layout, 1 = counts.
pub type FlowMask = FlowKey;

const _: () = assert!(std::mem::size_of::<FlowKey>() == KEY_BYTES && std::mem::align_of::<FlowKey>() == 64);

impl Default for FlowKey {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FlowKey {
    /// All zero.
    pub const ZERO: Self = Self([0; KEY_BYTES / 8]);

    /// The key as bytes, in the layout of the module's head.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        // SAFETY: 24 u64 are 192 initialised bytes; u8 has no alignment to keep. The compiler does not join byte-wise shifts into loads here.
        unsafe { &*(&raw const self.0).cast() }
    }

    /// The key as bytes, to write.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bytes_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        // SAFETY: as in `bytes`; any bytes are valid u64s, and `&mut self` makes it exclusive.
        unsafe { &mut *(&raw mut self.0).cast() }
    }

    /// The bytes at `at..at + N`, as on the wire. `at + N <= KEY_BYTES`.
    #[inline]
    pub fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes()[at..at + N]);
        out
    }

    /// Stores bytes at `at`.
    #[inline]
    pub fn set<const N: usize>(&mut self, at: usize, v: [u8; N]) {
        self.bytes_mut()[at..at + N].copy_from_slice(&v);
    }

    /// One byte.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.bytes()[at]
    }

    /// Stores one byte.
    #[inline]
    pub fn set_byte(&mut self, at: usize, v: u8) {
        self.bytes_mut()[at] = v;
    }

    /// Lane `n` (0 to 2).
    #[inline]
    pub fn lane(&self, n: usize) -> &[u64; 8] {
        self.0[n * 8..n * 8 + 8].first_chunk().expect("three lanes of eight words")
    }

    /// Lane `n`, to write.
    #[inline]
    pub(crate) fn lane_mut(&mut self, n: usize) -> &mut [u64; 8] {
        self.0[n * 8..n * 8 + 8].first_chunk_mut().expect("three lanes of eight words")
    }

    /// Which lanes have any bit: bit n for lane n.
    #[inline]
    pub fn lanes_used(&self) -> u8 {
        (0..LANES).fold(0, |m, n| m | (u8::from(self.lane(n).iter().any(|w| *w != 0)) << n))
    }

    /// A big-endian 16-bit field.
    #[inline]
    pub fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.get(at))
    }

    /// A big-endian 32-bit field.
    #[inline]
    pub fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.get(at))
    }

    /// The datapath port the packet came in by.
    pub fn in_port(&self) -> u32 {
        self.u32(off::IN_PORT)
    }

    /// `self & mask`, word by word.
    #[inline]
    pub fn masked(&self, mask: &FlowMask) -> FlowKey {
        let mut out = FlowKey::ZERO;
        for i in 0..out.0.len() {
            out.0[i] = self.0[i] & mask.0[i];
        }
        out
    }

    /// Whether `self` and `other` agree on every bit of `mask`.
    #[inline]
    pub fn matches(&self, other: &FlowKey, mask: &FlowMask) -> bool {
        (0..self.0.len()).fold(0, |d, i| d | ((self.0[i] ^ other.0[i]) & mask.0[i])) == 0
    }

    /// Sets every bit that `other` has (for masks).
    #[inline]
    pub fn or_assign(&mut self, other: &FlowMask) {
        for i in 0..self.0.len() {
            self.0[i] |= other.0[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_network_order() {
        let mut k = FlowKey::ZERO;
        k.set(off::ETH_TYPE, 0x0800u16.to_be_bytes());
        assert_eq!((k.byte(20), k.byte(21), k.u16(off::ETH_TYPE)), (8, 0, 0x0800));
        let mut m = FlowMask::ZERO;
        m.set(off::ETH_TYPE, [0xff, 0]);
        let mut other = k;
        other.set_byte(21, 6);
        assert!(k.matches(&other, &m) && k.masked(&m) == other.masked(&m) && k != other);
    }
}
