//! Frames from the datapath's words, and whether a frame's checksums are right.

use datapath::flow_key::{off, FlowKey, MPLS_DEPTH};

fn sum(mut acc: u32, b: &[u8]) -> u32 {
    for c in b.chunks(2) {
        acc += u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)]));
    }
    acc
}
fn fold(mut s: u32) -> u16 {
    while s >> 16 != 0 {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// RFC 3309's CRC32c, bit by bit.
fn crc32c(b: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for x in b {
        crc ^= u32::from(*x);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Where the L4 checksum stands, by protocol.
fn l4_at(proto: u8) -> Option<usize> {
    match proto {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        132 => Some(8),
        _ => None,
    }
}

/// Sum of the pseudo header of RFC 768, RFC 8200; nothing for ICMP.
fn pseudo(ip: &[u8], proto: u8, len: usize) -> u32 {
    if proto == 1 || proto == 132 {
        return 0;
    }
    let addresses = if ip[0] >> 4 == 4 { &ip[12..20] } else { &ip[8..40] };
    sum(u32::from(proto) + len as u32, addresses)
}

/// Writes the checksums of an IP packet (whole ones: fragments keep what they have).
fn fill(ip: &mut [u8], l4: usize, proto: u8) {
    if ip[0] >> 4 == 4 {
        ip[10..12].fill(0);
        let c = !fold(sum(0, &ip[..20]));
        ip[10..12].copy_from_slice(&c.to_be_bytes());
    }
    let (head, body) = ip.split_at_mut(l4);
    let Some(at) = l4_at(proto).filter(|at| body.len() >= at + 2) else { return };
    if proto == 132 {
        body[8..12].fill(0);
        let c = crc32c(body);
        body[8..12].copy_from_slice(&c.to_le_bytes());
        return;
    }
    body[at..at + 2].fill(0);
    let c = !fold(sum(pseudo(head, proto, body.len()), body));
    let c = if c == 0 && proto == 17 { 0xffff } else { c };
    body[at..at + 2].copy_from_slice(&c.to_be_bytes());
}

/// A frame of at least `len` bytes whose key is `k`.
pub fn compose(k: &FlowKey, len: usize) -> Vec<u8> {
    let b = k.bytes();
    let mut f = b[off::ETH_DST..off::ETH_DST + 12].to_vec();
    for (tci, tpid) in [(off::VLAN0_TCI, off::VLAN0_TPID), (off::VLAN1_TCI, off::VLAN1_TPID)] {
        if k.u16(tci) & 0x1000 != 0 {
            let tpid = if k.u16(tpid) == 0 { 0x8100 } else { k.u16(tpid) };
            f.extend(tpid.to_be_bytes());
            f.extend((k.u16(tci) & 0xefff).to_be_bytes());
        }
    }
    let eth_type = k.u16(off::ETH_TYPE);
    f.extend(eth_type.to_be_bytes());
    let start = f.len();
    match eth_type {
        0x8847 | 0x8848 => {
            for n in 0..MPLS_DEPTH {
                let lse = k.u32(off::MPLS_LSE + 4 * n);
                f.extend(lse.to_be_bytes());
                if lse & 0x100 != 0 {
                    break;
                }
            }
        }
        0x0806 => {
            f.extend([0, 1, 8, 0, 6, 4]);
            f.extend(&b[off::TP_SRC..off::TP_SRC + 2]);
            f.extend(&b[off::ARP_SHA..off::ARP_SHA + 6]);
            f.extend(&b[off::IPV4_SRC..off::IPV4_SRC + 4]);
            f.extend(&b[off::ARP_THA..off::ARP_THA + 6]);
            f.extend(&b[off::IPV4_DST..off::IPV4_DST + 4]);
        }
        0x0800 => {
            let frag: u16 = match b[off::IP_FRAG] {
                1 => 0x2000,
                3 => 0x2010,
                _ => 0,
            };
            f.extend([0x45, b[off::IP_TOS], 0, 0, 0x12, 0x34]);
            f.extend(frag.to_be_bytes());
            f.extend([b[off::IP_TTL], b[off::IP_PROTO], 0, 0]);
            f.extend(&b[off::IPV4_SRC..off::IPV4_SRC + 8]);
            l4(k, &mut f);
        }
        0x86dd => {
            let flow = 0x6000_0000 | u32::from(b[off::IP_TOS]) << 20 | k.u32(off::IPV6_FLABEL);
            f.extend(flow.to_be_bytes());
            let frag = b[off::IP_FRAG];
            f.extend([0, 0, if frag != 0 { 44 } else { b[off::IP_PROTO] }, b[off::IP_TTL]]);
            f.extend(&b[off::IPV6_SRC..off::IPV6_SRC + 32]);
            if frag != 0 {
                f.extend([b[off::IP_PROTO], 0, 0, if frag == 1 { 1 } else { 0x41 }, 0, 0, 0, 7]);
            }
            l4(k, &mut f);
        }
        _ => {}
    }
    while f.len() < len {
        f.push(0);
    }
    let total = f.len() - start;
    match eth_type {
        0x0800 => {
            f[start + 2..start + 4].copy_from_slice(&(total as u16).to_be_bytes());
            udp_len(&mut f, start + 20, b[off::IP_PROTO]);
            let proto = if b[off::IP_FRAG] != 0 { 0 } else { b[off::IP_PROTO] };
            fill(&mut f[start..], 20, proto);
        }
        0x86dd => {
            f[start + 4..start + 6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            udp_len(&mut f, start + 40, b[off::IP_PROTO]);
            let proto = if b[off::IP_FRAG] != 0 { 0 } else { b[off::IP_PROTO] };
            fill(&mut f[start..], 40, proto);
        }
        _ => {}
    }
    f
}

fn udp_len(f: &mut [u8], at: usize, proto: u8) {
    let n = f.len() - at.min(f.len());
    if proto == 17 && n >= 8 {
        f[at + 4..at + 6].copy_from_slice(&(n as u16).to_be_bytes());
    }
}

fn l4(k: &FlowKey, f: &mut Vec<u8>) {
    let b = k.bytes();
    if b[off::IP_FRAG] == 3 {
        return f.extend([0xdd; 8]);
    }
    let ports = &b[off::TP_SRC..off::TP_SRC + 4];
    match b[off::IP_PROTO] {
        6 => {
            f.extend(ports);
            f.extend([0, 0, 0, 1, 0, 0, 0, 0]);
            let flags = k.u16(off::TCP_FLAGS);
            f.extend((0x5000 | flags).to_be_bytes());
            f.extend([0x20, 0, 0, 0, 0, 0]);
        }
        17 => {
            f.extend(ports);
            f.extend([0; 4]);
        }
        132 => {
            f.extend(ports);
            f.extend([0; 8]);
        }
        1 => f.extend([b[off::TP_SRC + 1], b[off::TP_DST + 1], 0, 0, 0, 1, 0, 1]),
        58 => {
            f.extend([b[off::TP_SRC + 1], b[off::TP_DST + 1], 0, 0, 0, 0, 0, 0]);
            if matches!(b[off::TP_SRC + 1], 135 | 136) {
                f.extend(&b[off::ND_TARGET..off::ND_TARGET + 16]);
                for (at, kind) in [(off::ARP_SHA, 1), (off::ARP_THA, 2)] {
                    if b[at..at + 6] != [0; 6] {
                        f.extend([kind, 1]);
                        f.extend(&b[at..at + 6]);
                    }
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with the checksums of a frame: `ok`, `none` (nothing to check), or names.
pub fn checksums(f: &[u8]) -> &'static str {
    let (mut at, mut kind) = (14, u16::from_be_bytes([f[12], f[13]]));
    loop {
        match kind {
            0x8100 | 0x88a8 if f.len() >= at + 4 => {
                kind = u16::from_be_bytes([f[at + 2], f[at + 3]]);
                at += 4;
            }
            0x88e7 if f.len() >= at + 18 => {
                kind = u16::from_be_bytes([f[at + 16], f[at + 17]]);
                at += 18;
            }
            0x8847 | 0x8848 if f.len() > at + 4 => {
                let bottom = f[at + 2] & 1 != 0;
                at += 4;
                if bottom {
                    kind = match f[at] >> 4 {
                        4 => 0x0800,
                        6 => 0x86dd,
                        _ => 0,
                    };
                }
            }
            _ => break,
        }
    }
    let ip = &f[at.min(f.len())..];
    match kind {
        0x0800 if ip.len() >= 20 => {
            if fold(sum(0, &ip[..20])) != 0xffff {
                return "BAD IPv4";
            }
            let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
                return "fragment";
            }
            l4_sum(ip, &ip[20.min(total)..total.min(ip.len())], ip[9])
        }
        0x86dd if ip.len() >= 40 => {
            let (mut next, mut at) = (ip[6], 40);
            while matches!(next, 0 | 43 | 60) && ip.len() > at + 8 {
                (next, at) = (ip[at], at + 8 + 8 * usize::from(ip[at + 1]));
            }
            if next == 44 {
                return "fragment";
            }
            let end = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            l4_sum(ip, &ip[at.min(ip.len())..end.min(ip.len())], next)
        }
        _ => "none",
    }
}

fn l4_sum(ip: &[u8], l4: &[u8], proto: u8) -> &'static str {
    let Some(at) = l4_at(proto).filter(|at| l4.len() >= at + 2) else { return "none" };
    if proto == 132 {
        let mut copy = l4.to_vec();
        copy[8..12].fill(0);
        return if crc32c(&copy).to_le_bytes() == l4[8..12] { "ok" } else { "BAD SCTP" };
    }
    if proto == 17 && l4[6..8] == [0, 0] {
        return "zero";
    }
    let _ = at;
    if fold(sum(pseudo(ip, proto, l4.len()), l4)) == 0xffff {
        "ok"
    } else {
        "BAD L4"
    }
}
