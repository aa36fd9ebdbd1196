//! mbufs as packets: a received mbuf becomes a [`Packet`] without a copy, and such a packet goes out as the same mbuf. The first
//! of the two places (with `port::dpdk`) where both worlds' fields meet.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use dpdk_sys as sys;
use sys::rte_mbuf;

use crate::packet::{Head, Offload, Packet};

const RX_L4_CKSUM_GOOD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64;
const RX_L4_CKSUM_MASK: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_MASK as u64;
/// Flags that say whose buffer it is: all that is kept of what a driver set.
const KEEP: u64 = RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
const RTE_MBUF_F_EXTERNAL: u64 = 1 << 61;
const RTE_MBUF_F_INDIRECT: u64 = 1 << 62;

// A packet's head is the mbuf's first line.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Head, flags) == offset_of!(rte_mbuf, ol_flags));
    assert!(offset_of!(Head, offload) == offset_of!(rte_mbuf, vlan_tci));
    assert!(Head::OFFSETS[0] == offset_of!(rte_mbuf, buf_addr));
    assert!(Head::OFFSETS[1] == offset_of!(rte_mbuf, data_off));
    assert!(Head::OFFSETS[2] == offset_of!(rte_mbuf, nb_segs));
    assert!(Head::OFFSETS[3] == offset_of!(rte_mbuf, pkt_len));
    assert!(Head::OFFSETS[4] == offset_of!(rte_mbuf, data_len));
    assert!(Head::OFFSETS[5] == offset_of!(rte_mbuf, buf_len));
    assert!(Head::OFFSETS[6] == offset_of!(rte_mbuf, pool));
    assert!(std::mem::align_of::<Head>() == std::mem::align_of::<rte_mbuf>());
};

/// # Safety
/// - `head` is an mbuf that nobody else uses.
pub(crate) unsafe fn free(head: NonNull<Head>) {
    // SAFETY: by contract an mbuf of ours.
    unsafe { sys::ofs_mbuf_free(head.as_ptr().cast()) }
}

/// Makes a received mbuf's first line a packet's head. Its bytes, and 0 if it has one segment.
///
/// # Safety
/// - `m` is a live mbuf that the caller owns.
#[inline(always)]
pub unsafe fn adopt(m: NonNull<rte_mbuf>) -> (u32, u16) {
    // SAFETY: by contract; the layouts agree, as asserted above.
    unsafe { Head::adopt(m.cast(), RX_L4_CKSUM_MASK, RX_L4_CKSUM_GOOD, KEEP) }
}

/// A packet of a received mbuf of one segment.
///
/// # Safety
/// - `m` is a live mbuf that the caller owns, with one segment.
#[inline(always)]
pub unsafe fn from_mbuf(m: NonNull<rte_mbuf>) -> Packet {
    // SAFETY: a live mbuf: its data lies in `buf_addr .. buf_addr + buf_len`, memory that DPDK mapped (so initialised) and that belongs to this
    // mbuf alone until it is freed, which may be done on any thread.
    unsafe {
        adopt(m);
        Packet::from_raw(m.cast())
    }
}

/// A packet of a chain of mbufs: joined in its first buffer if that has the room, else copied to the heap. None (and the mbuf freed) if it
/// is longer than any packet of ours.
///
/// # Safety
/// - `m` is a live mbuf chain that the caller owns.
#[cold]
pub unsafe fn from_chain(m: NonNull<rte_mbuf>) -> Option<Packet> {
    // SAFETY: by contract ours; each segment's data lies inside its own buffer.
    unsafe {
        if sys::ofs_mbuf_linearize(m.as_ptr()) == 0 {
            return Some(from_mbuf(m));
        }
        let len = m.as_ref().pkt_len as usize;
        let mut out = (len <= crate::packet::MAX_FRAME).then(|| Packet::alloc(len));
        if let Some(p) = &mut out {
            p.set_len(len);
            let mut rest = p.data_mut();
            let mut seg = m.as_ptr();
            while !seg.is_null() && !rest.is_empty() {
                let s = &*seg;
                let bytes = std::slice::from_raw_parts(
                    s.buf_addr.add(usize::from(s.data_off)),
                    usize::from(s.data_len),
                );
                let n = bytes.len().min(rest.len());
                rest[..n].copy_from_slice(&bytes[..n]);
                rest = &mut rest[n..];
                seg = s.next;
            }
        }
        sys::ofs_mbuf_free(m.as_ptr());
        out
    }
}

const TX_TCP_CKSUM: u64 = sys::RTE_MBUF_F_TX_TCP_CKSUM;
const TX_UDP_CKSUM: u64 = sys::RTE_MBUF_F_TX_UDP_CKSUM;
const TX_IPV4: u64 = sys::RTE_MBUF_F_TX_IPV4;
const TX_IPV6: u64 = sys::RTE_MBUF_F_TX_IPV6;

/// What to tell a device so that it completes the checksum that `o` says is owed: `ol_flags`, and `tx_offload` (`l2_len:7 l3_len:9`). None if the
/// frame is not plain TCP or UDP over IP: then it is completed in software.
pub fn checksum_request(f: &[u8], o: &Offload) -> Option<(u64, u64)> {
    let half = |at: usize| Some(u16::from_be_bytes([*f.get(at)?, *f.get(at + 1)?]));
    let (mut l2, mut eth_type) = (14, half(12)?);
    while matches!(eth_type, 0x8100 | 0x88a8) && l2 < 22 {
        eth_type = half(l2 + 2)?;
        l2 += 4;
    }
    let family = match (eth_type, *f.get(l2)? >> 4) {
        (0x0800, 4) => TX_IPV4,
        (0x86dd, 6) => TX_IPV6,
        _ => return None,
    };
    let l4 = match o.csum_offset {
        16 => TX_TCP_CKSUM,
        6 => TX_UDP_CKSUM,
        _ => return None,
    };
    let l3_len = usize::from(o.csum_start).checked_sub(l2).filter(|n| (20..512).contains(n))?;
    Some((family | l4, l2 as u64 | (l3_len as u64) << 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_asked_only_for_what_it_understands() {
        let mut f = [0u8; 80];
        (f[12], f[13], f[14]) = (8, 0, 0x45);
        let o = |csum_start, csum_offset| Offload { csum_start, csum_offset, ..Offload::default() };
        assert_eq!(checksum_request(&f, &o(34, 16)), Some((TX_IPV4 | TX_TCP_CKSUM, 14 | 20 << 7)));
        assert_eq!(checksum_request(&f, &o(34, 2)), None, "ICMP");
        assert_eq!(checksum_request(&f, &o(20, 6)), None, "starts inside the IP header");
        assert_eq!(checksum_request(&f[..13], &o(34, 6)), None);
        f.copy_within(12..40, 16);
        (f[12], f[13]) = (0x81, 0);
        assert_eq!(checksum_request(&f, &o(38, 6)), Some((TX_IPV4 | TX_UDP_CKSUM, 18 | 20 << 7)));
        (f[16], f[17]) = (0x88, 0x47);
        assert_eq!(checksum_request(&f, &o(38, 6)), None, "MPLS");
    }
}
