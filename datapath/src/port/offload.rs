//! Work that a device would do, done by us: completing partial checksums and cutting super-frames into segments.
//!
//! A Linux interface hands over frames whose checksum is unfinished (the field holds the un-inverted sum of the
//! pseudo-header) or that are up to 64 KiB long and meant to be cut on the way out (TSO, USO). Between two ports that know the
//! virtio-net header they pass as they are; everywhere else [`complete_checksum`] and [`segment`] make ordinary frames of
//! them. Pure functions over bytes; a header that makes no sense is refused, never trusted.

use crate::packet::{GsoType, Offload};

/// Why a super-frame could not be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the super-frame's headers do not say where its payload starts")]
pub struct BadSuperFrame;

/// One's complement sum of 16-bit big-endian words, un-inverted, added to `start`; an odd last byte counts as its high half.
#[inline]
pub fn sum(bytes: &[u8], start: u64) -> u64 {
    // Sums 32-bit little-endian words: one's complement addition does not care, up to a byte swap of the folded result.
    let mut s = 0u64;
    let mut c = bytes.chunks_exact(8);
    for w in &mut c {
        s += u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))
            + u64::from(u32::from_ne_bytes([w[4], w[5], w[6], w[7]]));
    }
    let mut last = [0u8; 8];
    last[..c.remainder().len()].copy_from_slice(c.remainder());
    s += u64::from(u32::from_ne_bytes([last[0], last[1], last[2], last[3]]))
        + u64::from(u32::from_ne_bytes([last[4], last[5], last[6], last[7]]));
    u64::from(u16::from_be_bytes(fold(s).to_ne_bytes())) + start
}

/// Folds to 16 bits.
#[inline]
pub fn fold(mut s: u64) -> u16 {
    while s >> 16 != 0 {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// Completes the checksum that starts at `csum_start`. False (and nothing changed) if it does not lie inside the frame.
pub fn complete_checksum(frame: &mut [u8], csum_start: u16, csum_offset: u16) -> bool {
    let (start, at) = (usize::from(csum_start), usize::from(csum_start) + usize::from(csum_offset));
    if at + 2 > frame.len() {
        return false;
    }
    // The field's content (the pseudo-header) is part of the sum. Zero is written as its equal 0xffff: UDP reads 0 as "none".
    let c = match !fold(sum(&frame[start..], 0)) {
        0 => 0xffff,
        c => c,
    };
    frame[at..at + 2].copy_from_slice(&c.to_be_bytes());
    true
}

/// Where the headers of a super-frame stand.
struct Layout {
    l3: usize,
    l4: usize,
    payload: usize,
    ipv6: bool,
    tcp: bool,
}

fn layout(f: &[u8], p: &Offload) -> Option<Layout> {
    let be = |at: usize| Some(u16::from_be_bytes([*f.get(at)?, *f.get(at + 1)?]));
    let mut l3 = 14;
    let mut eth_type = be(12)?;
    while matches!(eth_type, 0x8100 | 0x88a8) && l3 < 30 {
        eth_type = be(l3 + 2)?;
        l3 += 4;
    }
    while matches!(eth_type, 0x8847 | 0x8848) {
        let bos = *f.get(l3 + 2)? & 1 != 0;
        l3 += 4;
        if bos {
            eth_type = if *f.get(l3)? >> 4 == 6 { 0x86dd } else { 0x0800 };
        }
    }
    let ipv6 = match (eth_type, *f.get(l3)? >> 4) {
        (0x0800, 4) => false,
        (0x86dd, 6) => true,
        _ => return None,
    };
    // The checksum's start is the transport header; so IPv6 extension headers need no walk.
    let l4 = match usize::from(p.csum_start) {
        0 if !ipv6 => l3 + usize::from(f[l3] & 15) * 4,
        0 => l3 + 40,
        at => at,
    };
    let tcp = p.gso_type != GsoType::UdpL4;
    let payload = if tcp { l4 + usize::from(*f.get(l4 + 12)? >> 4) * 4 } else { l4 + 8 };
    let (l3_min, l4_min) = (if ipv6 { 40 } else { 20 }, if tcp { 20 } else { 8 });
    (l4 >= l3 + l3_min && payload >= l4 + l4_min && payload < f.len()).then_some(Layout {
        l3,
        l4,
        payload,
        ipv6,
        tcp,
    })
}

/// Cuts a super-frame: `each` gets complete frames, with correct lengths, ids, sequence numbers, flags and checksums.
/// `frame.len() <= 65_535 + 14 + tags`. `scratch` is reused between calls.
///
/// # Errors
/// [`BadSuperFrame`] if the headers make no sense.
pub fn segment(
    frame: &[u8],
    p: &Offload,
    scratch: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, BadSuperFrame> {
    let lay = layout(frame, p).ok_or(BadSuperFrame)?;
    let size = usize::from(p.gso_size);
    if size == 0 {
        return Err(BadSuperFrame);
    }
    let payload = &frame[lay.payload..];
    let pieces = payload.len().div_ceil(size);
    let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    for (i, part) in payload.chunks(size).enumerate() {
        scratch.clear();
        scratch.extend_from_slice(&frame[..lay.payload]);
        scratch.extend_from_slice(part);
        let f = &mut scratch[..];
        let l4_len = f.len() - lay.l4;
        if lay.ipv6 {
            let n = (f.len() - lay.l3 - 40) as u16;
            f[lay.l3 + 4..lay.l3 + 6].copy_from_slice(&n.to_be_bytes());
        } else {
            let n = (f.len() - lay.l3) as u16;
            f[lay.l3 + 2..lay.l3 + 4].copy_from_slice(&n.to_be_bytes());
            let id = half(lay.l3 + 4).wrapping_add(i as u16);
            f[lay.l3 + 4..lay.l3 + 6].copy_from_slice(&id.to_be_bytes());
            f[lay.l3 + 10..lay.l3 + 12].fill(0);
            // The header ends where its own length says, not where the transport header is said to start.
            let end = (lay.l3 + usize::from(f[lay.l3] & 15) * 4).clamp(lay.l3 + 20, lay.l4);
            let c = !fold(sum(&f[lay.l3..end], 0));
            f[lay.l3 + 10..lay.l3 + 12].copy_from_slice(&c.to_be_bytes());
        }
        let csum_at = if lay.tcp {
            let seq = word(lay.l4 + 4).wrapping_add((i * size) as u32);
            f[lay.l4 + 4..lay.l4 + 8].copy_from_slice(&seq.to_be_bytes());
            if i + 1 < pieces {
                f[lay.l4 + 13] &= !0x09; // FIN and PSH belong to the last piece
            }
            if i > 0 {
                f[lay.l4 + 13] &= !0x80; // CWR to the first
            }
            16
        } else {
            f[lay.l4 + 4..lay.l4 + 6].copy_from_slice(&(l4_len as u16).to_be_bytes());
            6
        };
        f[lay.l4 + csum_at..lay.l4 + csum_at + 2].fill(0);
        let addrs = if lay.ipv6 { &f[lay.l3 + 8..lay.l3 + 40] } else { &f[lay.l3 + 12..lay.l3 + 20] };
        let pseudo = sum(addrs, if lay.tcp { 6 } else { 17 } + l4_len as u64);
        let c = match !fold(sum(&f[lay.l4..], pseudo)) {
            0 => 0xffff,
            c => c,
        };
        f[lay.l4 + csum_at..lay.l4 + csum_at + 2].copy_from_slice(&c.to_be_bytes());
        each(f);
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference_sum(b: &[u8]) -> u16 {
        let mut s = 0u32;
        for c in b.chunks(2) {
            s += u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]));
        }
        while s >> 16 != 0 {
            s = (s & 0xffff) + (s >> 16);
        }
        s as u16
    }

    #[test]
    fn sums_like_the_schoolbook() {
        fn same(b: Vec<u8>) -> bool {
            fold(sum(&b, 0)) == reference_sum(&b)
        }
        quickcheck::quickcheck(same as fn(Vec<u8>) -> bool);
    }

    /// A TCP or UDP frame with `n` bytes of payload; the checksum field holds the pseudo-header's sum.
    fn frame(ipv6: bool, tcp: bool, vlan: bool, n: usize) -> (Vec<u8>, Offload) {
        let mut f = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if vlan {
            f.extend_from_slice(&[0x81, 0, 0x20, 5]);
        }
        let l4_len = n + if tcp { 32 } else { 8 };
        let proto = if tcp { 6 } else { 17 };
        f.extend_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[8, 0] });
        let l3 = f.len();
        if ipv6 {
            f.extend_from_slice(&[0x60, 0, 0, 0]);
            f.extend_from_slice(&(l4_len as u16).to_be_bytes());
            f.extend_from_slice(&[proto, 64]);
            f.extend((0..32).map(|i| i * 7));
        } else {
            f.extend_from_slice(&[0x45, 0]);
            f.extend_from_slice(&((l4_len + 20) as u16).to_be_bytes());
            f.extend_from_slice(&[0xff, 0xff, 0x40, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
            let c = !reference_sum(&f[l3..]);
            f[l3 + 10..l3 + 12].copy_from_slice(&c.to_be_bytes());
        }
        let l4 = f.len();
        f.extend_from_slice(&[0x12, 0x34, 0, 80]);
        if tcp {
            f.extend_from_slice(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x80, 0x99, 1, 0, 0, 0, 0, 0]);
            f.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        } else {
            f.extend_from_slice(&(l4_len as u16).to_be_bytes());
            f.extend_from_slice(&[0, 0]);
        }
        f.extend((0..n).map(|i| (i * 31 + 5) as u8));
        let addrs = if ipv6 { &f[l3 + 8..l3 + 40] } else { &f[l3 + 12..l3 + 20] };
        let pseudo = fold(sum(addrs, u64::from(proto) + l4_len as u64));
        let at = if tcp { 16 } else { 6 };
        f[l4 + at..l4 + at + 2].copy_from_slice(&pseudo.to_be_bytes());
        let gso_type = match (tcp, ipv6) {
            (false, _) => GsoType::UdpL4,
            (_, false) => GsoType::TcpV4,
            _ => GsoType::TcpV6,
        };
        (f, Offload { csum_start: l4 as u16, csum_offset: at as u16, gso_type, ..Offload::default() })
    }

    /// Checks lengths and checksums; returns (payload, seq, flags, ip id).
    fn check(f: &[u8], ipv6: bool, tcp: bool, vlan: bool) -> (Vec<u8>, u32, u8, u16) {
        let l3 = if vlan { 18 } else { 14 };
        let l4 = l3 + if ipv6 { 40 } else { 20 };
        let l4_len = f.len() - l4;
        if ipv6 {
            assert_eq!(usize::from(u16::from_be_bytes([f[l3 + 4], f[l3 + 5]])), l4_len);
        } else {
            assert_eq!(usize::from(u16::from_be_bytes([f[l3 + 2], f[l3 + 3]])), f.len() - l3);
            assert_eq!(reference_sum(&f[l3..l4]), 0xffff);
        }
        let mut whole = if ipv6 { f[l3 + 8..l3 + 40].to_vec() } else { f[l3 + 12..l3 + 20].to_vec() };
        whole.extend_from_slice(&(l4_len as u16).to_be_bytes());
        whole.extend_from_slice(&[0, if tcp { 6 } else { 17 }]);
        whole.extend_from_slice(&f[l4..]);
        assert_eq!(reference_sum(&whole), 0xffff, "transport checksum");
        let pay = l4 + if tcp { 32 } else { 8 };
        if !tcp {
            assert_eq!(usize::from(u16::from_be_bytes([f[l4 + 4], f[l4 + 5]])), l4_len);
        }
        let seq = u32::from_be_bytes([f[l4 + 4], f[l4 + 5], f[l4 + 6], f[l4 + 7]]);
        (f[pay..].to_vec(), seq, *f.get(l4 + 13).unwrap_or(&0), u16::from_be_bytes([f[l3 + 4], f[l3 + 5]]))
    }

    #[test]
    fn completed_checksums_are_right() {
        for (v6, tcp, vlan, n) in [
            (false, true, false, 100),
            (false, false, true, 1),
            (true, true, true, 0),
            (true, false, false, 999),
        ] {
            let (mut f, p) = frame(v6, tcp, vlan, n);
            assert!(complete_checksum(&mut f, p.csum_start, p.csum_offset));
            check(&f, v6, tcp, vlan);
        }
        let mut f = vec![0u8; 60];
        assert!(!complete_checksum(&mut f, 50, 9));
        assert_eq!(f, vec![0u8; 60]);
    }

    #[test]
    fn segments_carry_the_payload_once_and_in_order() {
        for v6 in [false, true] {
            for tcp in [false, true] {
                for vlan in [false, true] {
                    let (f, mut p) = frame(v6, tcp, vlan, 3001);
                    p.gso_size = 1000;
                    let (mut got, mut seen) = (Vec::new(), Vec::new());
                    let n = segment(&f, &p, &mut Vec::new(), |s| {
                        let (pay, seq, flags, id) = check(s, v6, tcp, vlan);
                        got.extend(pay);
                        seen.push((seq, flags, id));
                    })
                    .unwrap();
                    let (head, want) = f.split_at(f.len() - 3001);
                    assert!(!head.is_empty() && got == want && n == 4);
                    if tcp {
                        assert_eq!(
                            seen.iter().map(|s| s.0).collect::<Vec<_>>(),
                            [
                                0xffff_ff00,
                                0xffff_ff00u32.wrapping_add(1000),
                                0xffff_ff00u32.wrapping_add(2000),
                                0xffff_ff00u32.wrapping_add(3000)
                            ]
                        );
                        assert_eq!(seen.iter().map(|s| s.1).collect::<Vec<_>>(), [0x90, 0x10, 0x10, 0x19]);
                    }
                    if !v6 {
                        assert_eq!(seen.iter().map(|s| s.2).collect::<Vec<_>>(), [0xffff, 0, 1, 2]);
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_headers_are_refused_without_panic() {
        let (f, mut p) = frame(false, true, true, 200);
        p.gso_size = 50;
        for cut in 0..f.len() {
            let _ = segment(&f[..cut], &p, &mut Vec::new(), |_| ());
        }
        for at in 0..f.len() {
            for v in [0, 0x0f, 0x45, 0x4f, 0xf0, 0xff] {
                let mut x = f.clone();
                x[at] = v;
                let _ = segment(&x, &p, &mut Vec::new(), |_| ());
                for start in [0u16, 1, 13, 14, 33, 34, 60, 300, 0xffff] {
                    let _ = segment(&x, &Offload { csum_start: start, ..p }, &mut Vec::new(), |_| ());
                }
            }
        }
        p.gso_size = 0;
        assert_eq!(segment(&f, &p, &mut Vec::new(), |_| ()), Err(BadSuperFrame));
    }
}
