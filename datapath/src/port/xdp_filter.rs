//! Which frames an `afxdp` port takes: a filter in OpenFlow's words, compiled to eBPF that the kernel runs before its own stack.
//!
//! `filter=udp+tp_dst=4789|arp`: alternatives between `|`, each a conjunction of words between `+` (or spaces, or `&`). Words: `arp ip ipv6 tcp udp sctp
//! icmp tcp6 udp6 sctp6 icmp6`, `dl_type= dl_vlan= dl_src= dl_dst= nw_proto= nw_src=A[/N] nw_dst=A[/N] ipv6_src=A[/N] ipv6_dst=A[/N] tp_src= tp_dst=`.
//! One VLAN tag is looked behind. Later fragments have no ports. What does not match goes to the kernel as if we were not there.
//!
//! The program (registers: r6 context, r2 data, r3 data end, r5 Ethertype, r8 network header, r9 VLAN id or -1):
//! ```text
//! prologue: read Ethertype, look behind one tag
//! alternative 1: each test jumps to alternative 2 when it fails; after the last: take
//! ...
//! pass:  return XDP_PASS
//! take:  return bpf_redirect_map(sockets, receive queue, XDP_PASS)
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

/// One test of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    EthType(u16),
    Vlan(u16),
    /// At the frame's start: offset, bytes.
    Mac(i16, [u8; 6]),
    Proto(u8),
    /// Offset in the network header, big-endian word, mask.
    Word(i16, u32, u32),
    /// Offset in the transport header, value.
    Port(i16, u16),
}

/// A compiled filter's source: alternatives of conjunctions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    any_of: Vec<Vec<Test>>,
}

/// One eBPF instruction as the kernel takes it: `opcode:8 regs:8 (src:4 dst:4) offset:16 imm:32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// `src << 4 | dst`.
    pub regs: u8,
    /// Jump or memory offset.
    pub off: i16,
    /// Constant.
    pub imm: i32,
}

const LD_IMM64: u8 = 0x18;
const LDX_B: u8 = 0x71;
const LDX_H: u8 = 0x69;
const LDX_W: u8 = 0x61;
const MOV64_REG: u8 = 0xbf;
const MOV64_IMM: u8 = 0xb7;
const ADD64_IMM: u8 = 0x07;
const ADD64_REG: u8 = 0x0f;
const AND64_IMM: u8 = 0x57;
const LSH64_IMM: u8 = 0x67;
const BE: u8 = 0xdc;
const JEQ_IMM: u8 = 0x15;
const JNE_IMM: u8 = 0x55;
const JGT_REG: u8 = 0x2d;
const JNE32_REG: u8 = 0x5e;
const MOV32_IMM: u8 = 0xb4;
const JA: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const PSEUDO_MAP_FD: u8 = 1;
const REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;

impl Filter {
    /// Reads a filter; an empty text takes every frame.
    ///
    /// # Errors
    /// The word at fault and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let any_of = text.split('|').map(conjunction).collect::<Result<Vec<_>, _>>()?;
        if any_of.len() > 32 {
            return Err("a filter has at most 32 alternatives".into());
        }
        Ok(Self { any_of })
    }

    /// The program, for a map of sockets with this descriptor.
    pub fn compile(&self, map_fd: i32) -> Vec<Insn> {
        let mut a = Asm::default();
        a.op(MOV64_REG, 6, 1, 0, 0);
        if !self.any_of.is_empty() {
            a.op(LDX_W, 2, 6, 0, 0); // data
            a.op(LDX_W, 3, 6, 4, 0); // data_end
            a.need(2, 18, "pass"); // a frame of less than 18 bytes is the kernel's
            a.op(LDX_H, 5, 2, 12, 0);
            a.op(BE, 5, 0, 0, 16);
            a.op(MOV64_IMM, 9, 0, 0, -1);
            a.op(MOV64_REG, 8, 2, 0, 0);
            a.op(ADD64_IMM, 8, 0, 0, 14);
            a.jump(JEQ_IMM, 5, 0, 0x8100, "tagged");
            a.jump(JNE_IMM, 5, 0, 0x88a8, "untagged");
            a.label("tagged");
            a.op(LDX_H, 9, 2, 14, 0);
            a.op(BE, 9, 0, 0, 16);
            a.op(AND64_IMM, 9, 0, 0, 0xfff);
            a.op(LDX_H, 5, 2, 16, 0);
            a.op(BE, 5, 0, 0, 16);
            a.op(ADD64_IMM, 8, 0, 0, 4);
            a.label("untagged");
            for (i, all_of) in self.any_of.iter().enumerate() {
                a.alternative(all_of, &format!("alternative {}", i + 1));
                a.jump(JA, 0, 0, 0, "take");
                a.label(&format!("alternative {}", i + 1));
            }
            a.label("pass");
            a.op(MOV64_IMM, 0, 0, 0, XDP_PASS);
            a.op(EXIT, 0, 0, 0, 0);
            a.label("take");
        }
        a.op(LDX_W, 2, 6, 16, 0); // rx_queue_index
        a.op(LD_IMM64, 1, PSEUDO_MAP_FD, 0, map_fd);
        a.op(0, 0, 0, 0, 0);
        a.op(MOV64_IMM, 3, 0, 0, XDP_PASS); // no socket for this queue: the kernel's
        a.op(CALL, 0, 0, 0, REDIRECT_MAP);
        a.op(EXIT, 0, 0, 0, 0);
        a.finish()
    }
}

#[derive(Default)]
struct Asm {
    code: Vec<Insn>,
    labels: std::collections::HashMap<String, usize>,
    jumps: Vec<(usize, String)>,
}

impl Asm {
    fn op(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.code.push(Insn { code, regs: src << 4 | dst, off, imm });
    }

    fn jump(&mut self, code: u8, dst: u8, src: u8, imm: i32, to: &str) {
        self.jumps.push((self.code.len(), to.to_owned()));
        self.op(code, dst, src, 0, imm);
    }

    fn label(&mut self, name: &str) {
        self.labels.insert(name.to_owned(), self.code.len());
    }

    /// Jumps unless `bytes` from register `base` on lie inside the frame.
    fn need(&mut self, base: u8, bytes: i32, otherwise: &str) {
        self.op(MOV64_REG, 4, base, 0, 0);
        self.op(ADD64_IMM, 4, 0, 0, bytes);
        self.jump(JGT_REG, 4, 3, 0, otherwise);
    }

    fn alternative(&mut self, all_of: &[Test], next: &str) {
        for t in all_of {
            match t {
                Test::EthType(v) => self.jump(JNE_IMM, 5, 0, i32::from(*v), next),
                Test::Vlan(v) => self.jump(JNE_IMM, 9, 0, i32::from(*v), next),
                Test::Mac(at, mac) => {
                    for (i, pair) in mac.chunks(2).enumerate() {
                        self.op(LDX_H, 1, 2, at + 2 * i as i16, 0);
                        self.op(BE, 1, 0, 0, 16);
                        self.jump(JNE_IMM, 1, 0, i32::from(u16::from_be_bytes([pair[0], pair[1]])), next);
                    }
                }
                Test::Proto(v) => {
                    // IPv4 has it at 9, IPv6 (as next header) at 6; the Ethertype decides at run time.
                    let (v6, done) = (
                        format!("{next} proto6 {}", self.code.len()),
                        format!("{next} proto {}", self.code.len()),
                    );
                    self.need(8, 20, next);
                    self.jump(JEQ_IMM, 5, 0, 0x86dd, &v6);
                    self.jump(JNE_IMM, 5, 0, 0x0800, next);
                    self.op(LDX_B, 1, 8, 9, 0);
                    self.jump(JA, 0, 0, 0, &done);
                    self.label(&v6);
                    self.op(LDX_B, 1, 8, 6, 0);
                    self.label(&done);
                    self.jump(JNE_IMM, 1, 0, i32::from(*v), next);
                }
                Test::Word(at, value, mask) => {
                    self.need(8, i32::from(*at) + 4, next);
                    self.op(LDX_W, 1, 8, *at, 0);
                    self.op(BE, 1, 0, 0, 32);
                    self.op(AND64_IMM, 1, 0, 0, *mask as i32);
                    // Compared as 32 bits: a 64-bit immediate would be sign-extended.
                    self.op(MOV32_IMM, 4, 0, 0, (value & mask) as i32);
                    self.jump(JNE32_REG, 1, 4, 0, next);
                }
                Test::Port(at, value) => {
                    let (v6, done) = (
                        format!("{next} port6 {}", self.code.len()),
                        format!("{next} port {}", self.code.len()),
                    );
                    self.need(8, 20, next);
                    self.jump(JEQ_IMM, 5, 0, 0x86dd, &v6);
                    self.jump(JNE_IMM, 5, 0, 0x0800, next);
                    self.op(LDX_H, 1, 8, 6, 0);
                    self.op(BE, 1, 0, 0, 16);
                    self.op(AND64_IMM, 1, 0, 0, 0x1fff);
                    self.jump(JNE_IMM, 1, 0, 0, next);
                    self.op(LDX_B, 1, 8, 0, 0);
                    self.op(AND64_IMM, 1, 0, 0, 15);
                    self.op(LSH64_IMM, 1, 0, 0, 2);
                    self.op(MOV64_REG, 7, 8, 0, 0);
                    self.op(ADD64_REG, 7, 1, 0, 0);
                    self.jump(JA, 0, 0, 0, &done);
                    self.label(&v6);
                    self.op(MOV64_REG, 7, 8, 0, 0);
                    self.op(ADD64_IMM, 7, 0, 0, 40);
                    self.label(&done);
                    self.need(7, 4, next);
                    self.op(LDX_H, 1, 7, *at, 0);
                    self.op(BE, 1, 0, 0, 16);
                    self.jump(JNE_IMM, 1, 0, i32::from(*value), next);
                }
            }
        }
    }

    fn finish(mut self) -> Vec<Insn> {
        for (at, to) in &self.jumps {
            // Every label that `compile` jumps to is set by `compile`.
            self.code[*at].off = (self.labels[to] as i64 - *at as i64 - 1) as i16;
        }
        self.code
    }
}

fn conjunction(text: &str) -> Result<Vec<Test>, String> {
    let mut tests = Vec::new();
    let add = |tests: &mut Vec<Test>, t: Test| {
        if !tests.contains(&t) {
            tests.push(t);
        }
    };
    let mut words = 0;
    for w in text.split(['+', '&', ' ', ',']).filter(|w| !w.is_empty()) {
        words += 1;
        let (key, value) = w.split_once('=').map_or((w, None), |(k, v)| (k, Some(v)));
        let number = |max: u64| -> Result<u64, String> {
            let v = value.unwrap_or_default();
            let n = v.strip_prefix("0x").map_or_else(|| v.parse().ok(), |h| u64::from_str_radix(h, 16).ok());
            n.filter(|n| *n <= max).ok_or_else(|| format!("filter: {w}: a number up to {max} must follow"))
        };
        if value.is_none() {
            let (eth, proto) = match key {
                "arp" => (0x0806, None),
                "ip" => (0x0800, None),
                "ipv6" => (0x86dd, None),
                "tcp" => (0x0800, Some(6)),
                "udp" => (0x0800, Some(17)),
                "sctp" => (0x0800, Some(132)),
                "icmp" => (0x0800, Some(1)),
                "tcp6" => (0x86dd, Some(6)),
                "udp6" => (0x86dd, Some(17)),
                "sctp6" => (0x86dd, Some(132)),
                "icmp6" => (0x86dd, Some(58)),
                _ => return Err(format!("filter: {w}: no such word; there are arp, ip, ipv6, tcp, udp, sctp, icmp (with 6 for IPv6) and dl_type= dl_vlan= dl_src= dl_dst= nw_proto= nw_src= nw_dst= ipv6_src= ipv6_dst= tp_src= tp_dst=")),
            };
            add(&mut tests, Test::EthType(eth));
            if let Some(p) = proto {
                add(&mut tests, Test::Proto(p));
            }
            continue;
        }
        match key {
            "dl_type" | "eth_type" => add(&mut tests, Test::EthType(number(0xffff)? as u16)),
            "dl_vlan" | "vlan_vid" => add(&mut tests, Test::Vlan(number(0xfff)? as u16)),
            "dl_dst" | "eth_dst" | "dl_src" | "eth_src" => {
                let mac = super::tap::parse_mac(value.unwrap_or_default()).ok_or_else(|| format!("filter: {w}: an address as 02:00:00:00:00:01 must follow"))?;
                add(&mut tests, Test::Mac(if key.ends_with("dst") { 0 } else { 6 }, mac));
            }
            "nw_proto" | "ip_proto" => add(&mut tests, Test::Proto(number(0xff)? as u8)),
            "nw_src" | "ip_src" | "nw_dst" | "ip_dst" => {
                let (a, n) = prefix(w, value, 32)?;
                let a: Ipv4Addr = a.parse().map_err(|_| format!("filter: {w}: an IPv4 address must follow"))?;
                let mask = u32::MAX.checked_shl(32 - n).unwrap_or(0);
                add(&mut tests, Test::EthType(0x0800));
                add(&mut tests, Test::Word(if key.ends_with("src") { 12 } else { 16 }, u32::from(a), mask));
            }
            "ipv6_src" | "ipv6_dst" => {
                let (a, n) = prefix(w, value, 128)?;
                let a: Ipv6Addr = a.parse().map_err(|_| format!("filter: {w}: an IPv6 address must follow"))?;
                let mask = u128::MAX.checked_shl(128 - n).unwrap_or(0);
                add(&mut tests, Test::EthType(0x86dd));
                let at = if key.ends_with("src") { 8 } else { 24 };
                for i in 0..4 {
                    let part = |v: u128| (v >> (96 - 32 * i)) as u32;
                    if part(mask) != 0 {
                        add(&mut tests, Test::Word(at + 4 * i as i16, part(u128::from(a)), part(mask)));
                    }
                }
            }
            "tp_src" | "tcp_src" | "udp_src" => add(&mut tests, Test::Port(0, number(0xffff)? as u16)),
            "tp_dst" | "tcp_dst" | "udp_dst" => add(&mut tests, Test::Port(2, number(0xffff)? as u16)),
            _ => return Err(format!("filter: {w}: no such field; there are dl_type, dl_vlan, dl_src, dl_dst, nw_proto, nw_src, nw_dst, ipv6_src, ipv6_dst, tp_src and tp_dst")),
        }
    }
    if words == 0 {
        return Err("filter: an alternative is empty".into());
    }
    Ok(tests)
}

fn prefix<'a>(word: &str, value: Option<&'a str>, max: u32) -> Result<(&'a str, u32), String> {
    let v = value.unwrap_or_default();
    match v.split_once('/') {
        None => Ok((v, max)),
        Some((a, n)) => Ok((
            a,
            n.parse().ok().filter(|n| *n <= max).ok_or_else(|| {
                format!("filter: {word}: a prefix length up to {max} must follow the slash")
            })?,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_know_by_name() {
        for (text, says) in [
            ("ipx", "ipx: no such word"),
            ("tp_dst=70000", "a number up to 65535"),
            ("nw_src=10.0.0.0/33", "a prefix length up to 32"),
            ("nw_src=ten", "an IPv4 address"),
            ("color=red", "no such field"),
            ("arp|", "an alternative is empty"),
        ] {
            assert!(Filter::parse(text).unwrap_err().contains(says), "{text}");
        }
    }

    #[test]
    fn jumps_stay_inside_the_program() {
        for text in [
            "",
            "arp",
            "udp+tp_dst=4789|arp|ipv6_dst=2001:db8::/37+tp_src=1",
            "dl_vlan=5+dl_dst=02:00:00:00:00:01+nw_src=10.0.0.0/8",
        ] {
            let code = Filter::parse(text).unwrap().compile(3);
            for (i, insn) in code.iter().enumerate() {
                if insn.code & 7 == 5 && insn.code != CALL && insn.code != EXIT || insn.code & 7 == 6 {
                    let to = i as i64 + 1 + i64::from(insn.off);
                    assert!(to > i as i64 && to < code.len() as i64, "{text}: {i} {insn:?}");
                }
            }
            assert_eq!(code.last().map(|i| i.code), Some(EXIT));
        }
    }
}
