//! One line about a packet, for packet-ins and packet-outs: `tcp,vlan_tci=0x0000,dl_src=...,tp_dst=80,tcp_flags=syn`.
//!
//! A reading of the first headers only, by whoever looks at a log: nothing is checked but lengths.

use super::lex::push_bytes;
use super::value::push_value;
use super::NoNames;
use crate::field::Field;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Cuts `N` bytes off the front.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(head)
}

fn be16(b: &[u8]) -> u16 {
    u16::from_be_bytes([b[0], b[1]])
}

fn mac(out: &mut String, name: &str, b: &[u8]) {
    let _ = write!(out, "{name}=");
    push_bytes(out, b, ":");
    out.push(',');
}

/// Appends the line, without a line end.
pub fn write_packet(out: &mut String, frame: &[u8]) {
    let mut rest = frame;
    let Some(eth) = take::<12>(&mut rest) else {
        let _ = write!(out, "packet of {} bytes, too short for Ethernet", frame.len());
        return;
    };
    let mut tags = String::new();
    let mut n_tags = 0;
    let mut eth_type = take::<2>(&mut rest).map_or(0, |t| be16(t));
    while matches!(eth_type, 0x8100 | 0x88a8) && n_tags < 2 {
        let Some(t) = take::<4>(&mut rest) else { break };
        let (tci, suffix) = (be16(&t[..2]), if n_tags == 0 { "" } else { "1" });
        let _ = write!(tags, "dl_vlan{suffix}={},dl_vlan_pcp{suffix}={},", tci & 0xfff, tci >> 13);
        eth_type = be16(&t[2..]);
        n_tags += 1;
    }
    match n_tags {
        0 => tags.push_str("vlan_tci=0x0000,"),
        1 => tags.push_str("vlan_tci1=0x0000,"),
        _ => {}
    }
    mac(&mut tags, "dl_src", &eth[6..]);
    mac(&mut tags, "dl_dst", &eth[..6]);
    let mut tail = String::new();
    let keyword = match eth_type {
        0x0800 => ipv4(&mut tags, &mut tail, rest),
        0x86dd => ipv6(&mut tags, &mut tail, rest),
        0x0806 | 0x8035 => {
            arp(&mut tags, rest);
            Some(if eth_type == 0x0806 { "arp" } else { "rarp" })
        }
        0x8847 | 0x8848 => {
            mpls(&mut tags, rest);
            Some(if eth_type == 0x8847 { "mpls" } else { "mplsm" })
        }
        // Below 0x600 it is a length: LLC, which has no Ethernet type.
        t => {
            let _ = write!(tags, "dl_type=0x{:04x},", if t < 0x600 { 0x5ff } else { t });
            None
        }
    };
    if let Some(k) = keyword {
        out.push_str(k);
        out.push(',');
    }
    tags.pop();
    out.push_str(&tags);
    out.push_str(&tail);
}

fn tos_ttl(out: &mut String, tos: u8, ttl: u8, frag: &str) {
    let _ = write!(out, "nw_tos={},nw_ecn={},nw_ttl={ttl},nw_frag={frag},", tos & 0xfc, tos & 3);
}

fn ipv4(out: &mut String, tail: &mut String, bytes: &[u8]) -> Option<&'static str> {
    let header = usize::from(bytes.first().copied().unwrap_or(0) & 15) * 4;
    if bytes.len() < 20 || header < 20 || bytes.len() < header {
        out.push_str("nw_src=0.0.0.0,nw_dst=0.0.0.0,nw_proto=0,nw_tos=0,nw_ecn=0,nw_ttl=0,nw_frag=no,");
        return Some("ip");
    }
    let addr = |i: usize| Ipv4Addr::new(bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]);
    let _ = write!(out, "nw_src={},nw_dst={},", addr(12), addr(16));
    let frag_bits = be16(&bytes[6..8]);
    let frag = match (frag_bits & 0x1fff, frag_bits & 0x2000) {
        (0, 0) => "no",
        (0, _) => "first",
        _ => "later",
    };
    let proto = bytes[9];
    let keyword = match proto {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        132 => "sctp",
        _ => {
            let _ = write!(out, "nw_proto={proto},");
            "ip"
        }
    };
    tos_ttl(out, bytes[1], bytes[8], frag);
    l4(out, tail, proto, if frag == "later" { &[] } else { &bytes[header..] }, false);
    Some(keyword)
}

fn ipv6(out: &mut String, tail: &mut String, bytes: &[u8]) -> Option<&'static str> {
    if bytes.len() < 40 {
        out.push_str(
            "ipv6_src=::,ipv6_dst=::,ipv6_label=0x00000,nw_proto=0,nw_tos=0,nw_ecn=0,nw_ttl=0,nw_frag=no,",
        );
        return Some("ipv6");
    }
    let word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let addr = |i: usize| {
        <[u8; 16]>::try_from(&bytes[i..i + 16]).map(Ipv6Addr::from).unwrap_or(Ipv6Addr::UNSPECIFIED)
    };
    let _ = write!(out, "ipv6_src={},ipv6_dst={},ipv6_label=0x{:05x},", addr(8), addr(24), word & 0xf_ffff);
    let (mut proto, mut rest, mut frag) = (bytes[6], &bytes[40..], "no");
    loop {
        match proto {
            0 | 43 | 60 if rest.len() >= 8 => {
                let n = (usize::from(rest[1]) + 1) * 8;
                proto = rest[0];
                rest = rest.get(n..).unwrap_or(&[]);
            }
            44 if rest.len() >= 8 => {
                frag = if be16(&rest[2..4]) & 0xfff8 != 0 { "later" } else { "first" };
                proto = rest[0];
                rest = &rest[8..];
            }
            _ => break,
        }
        if frag == "later" {
            break;
        }
    }
    let keyword = match proto {
        6 => "tcp6",
        17 => "udp6",
        58 => "icmp6",
        132 => "sctp6",
        _ => {
            let _ = write!(out, "nw_proto={proto},");
            "ipv6"
        }
    };
    tos_ttl(out, (word >> 20) as u8, bytes[7], frag);
    l4(out, tail, proto, if frag == "later" { &[] } else { rest }, true);
    Some(keyword)
}

fn l4(out: &mut String, tail: &mut String, proto: u8, b: &[u8], v6: bool) {
    let ports = |out: &mut String| {
        let (s, d) = if b.len() >= 4 { (be16(b), be16(&b[2..])) } else { (0, 0) };
        let _ = write!(out, "tp_src={s},tp_dst={d},");
    };
    match proto {
        6 => {
            ports(out);
            out.push_str("tcp_flags=");
            let flags = if b.len() >= 20 { be16(&b[12..14]) & 0xfff } else { 0 };
            push_value(out, Field::TcpFlags.def(), flags.into(), None, &NoNames);
            out.push(',');
            if b.len() >= 20 {
                let _ = write!(tail, " tcp_csum:{:x}", be16(&b[16..]));
            }
        }
        17 => {
            ports(out);
            if b.len() >= 8 {
                let _ = write!(tail, " udp_csum:{:x}", be16(&b[6..]));
            }
        }
        132 => {
            ports(out);
            if b.len() >= 12 {
                let _ = write!(tail, " sctp_csum:{:x}", u32::from_be_bytes([b[8], b[9], b[10], b[11]]));
            }
        }
        1 if !v6 => {
            let (t, c) = if b.len() >= 2 { (b[0], b[1]) } else { (0, 0) };
            let _ = write!(out, "icmp_type={t},icmp_code={c},");
            if b.len() >= 4 {
                let _ = write!(tail, " icmp_csum:{:x}", be16(&b[2..]));
            }
        }
        58 if v6 => {
            let (t, c) = if b.len() >= 2 { (b[0], b[1]) } else { (0, 0) };
            let _ = write!(out, "icmp_type={t},icmp_code={c},");
            if matches!(t, 135 | 136) && c == 0 && b.len() >= 24 {
                if let Ok(a) = <[u8; 16]>::try_from(&b[8..24]) {
                    let _ = write!(out, "nd_target={},", Ipv6Addr::from(a));
                }
                let (mut sll, mut tll) = ([0u8; 6], [0u8; 6]);
                let mut rest = &b[24..];
                while rest.len() >= 8 && rest[1] != 0 {
                    match rest[0] {
                        1 => sll.copy_from_slice(&rest[2..8]),
                        2 => tll.copy_from_slice(&rest[2..8]),
                        _ => {}
                    }
                    rest = rest.get(usize::from(rest[1]) * 8..).unwrap_or(&[]);
                }
                mac(out, "nd_sll", &sll);
                mac(out, "nd_tll", &tll);
            }
            if b.len() >= 4 {
                let _ = write!(tail, " icmp6_csum:{:x}", be16(&b[2..]));
            }
        }
        _ => {}
    }
}

fn arp(out: &mut String, b: &[u8]) {
    let known = b.len() >= 28 && b[..6] == [0, 1, 8, 0, 6, 4];
    let zero = [0u8; 28];
    let b = if known { b } else { &zero };
    let addr = |i: usize| Ipv4Addr::new(b[i], b[i + 1], b[i + 2], b[i + 3]);
    let _ = write!(out, "arp_spa={},arp_tpa={},arp_op={},", addr(14), addr(24), be16(&b[6..]));
    mac(out, "arp_sha", &b[8..14]);
    mac(out, "arp_tha", &b[18..24]);
}

fn mpls(out: &mut String, mut b: &[u8]) {
    let mut i = 0;
    while let (Some(l), true) = (take::<4>(&mut b), i < 3) {
        let lse = u32::from_be_bytes(*l);
        if i == 0 {
            let (label, tc, bos, ttl) = (lse >> 12, lse >> 9 & 7, lse >> 8 & 1, lse & 0xff);
            let _ = write!(out, "mpls_label={label},mpls_tc={tc},mpls_ttl={ttl},mpls_bos={bos},");
        } else {
            let _ = write!(out, "mpls_lse{i}={lse},");
        }
        i += 1;
        if lse & 0x100 != 0 {
            return;
        }
    }
}
