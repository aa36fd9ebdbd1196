//! OpenFlow out of a packet capture: pcap and pcapng files, Ethernet and other link layers, IPv4 and IPv6, and TCP put
//! back into order, each direction of a connection by itself.
//!
//! A message's time is that of the segment that completed it. What was lost is said and skipped; after a gap or bytes that
//! are no OpenFlow, reading goes on at the next segment that begins like a message.

use openflow::header::{Header, HEADER_LEN};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// The usual ports of OpenFlow.
pub const PORTS: &[u16] = &[6653, 6633];

/// Bytes out of order kept per direction, before what is missing counts as lost.
const MAX_HELD: usize = 1 << 20;

/// One thing found in a capture.
#[derive(Debug)]
pub struct Found {
    /// Seconds since 1970.
    pub time: f64,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// What.
    pub what: What,
}

/// What was found.
#[derive(Debug)]
pub enum What {
    /// A whole message.
    Message(Vec<u8>),
    /// So many bytes are missing, or are no OpenFlow.
    Lost(usize),
}

/// Goes through a capture file and gives every OpenFlow message in it to `sink`, in the order they were completed.
///
/// # Errors
/// One line, if the file is no capture we know.
pub fn messages(file: &[u8], ports: &[u16], sink: &mut dyn FnMut(Found)) -> Result<(), String> {
    let mut flows = Flows { ports, streams: HashMap::new() };
    packets(file, &mut |time, link, data| {
        if let Some(s) = segment(link, data) {
            flows.segment(time, &s, sink);
        }
    })?;
    flows.finish(sink);
    Ok(())
}

/// `HH:MM:SS.microseconds`, UTC.
pub fn clock(time: f64) -> String {
    let micros = (time.max(0.0) * 1e6) as u64;
    let (s, us) = (micros / 1_000_000 % 86_400, micros % 1_000_000);
    format!("{:02}:{:02}:{:02}.{us:06}", s / 3600, s / 60 % 60, s % 60)
}

/// Reads integers of a file in its byte order.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, b: &[u8], at: usize) -> Option<u16> {
        let a: [u8; 2] = b.get(at..at + 2)?.try_into().ok()?;
        Some(if self.big { u16::from_be_bytes(a) } else { u16::from_le_bytes(a) })
    }
    fn u32(self, b: &[u8], at: usize) -> Option<u32> {
        let a: [u8; 4] = b.get(at..at + 4)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(a) } else { u32::from_le_bytes(a) })
    }
}

type PacketSink<'a> = dyn FnMut(f64, u32, &[u8]) + 'a;

fn packets(file: &[u8], sink: &mut PacketSink<'_>) -> Result<(), String> {
    let magic: [u8; 4] = file
        .get(..4)
        .and_then(|m| m.try_into().ok())
        .ok_or_else(|| format!("a capture of {} bytes is too short to be one", file.len()))?;
    match magic {
        [0xa1, 0xb2, 0xc3, 0xd4] => pcap(file, Order { big: true }, 1e-6, sink),
        [0xd4, 0xc3, 0xb2, 0xa1] => pcap(file, Order { big: false }, 1e-6, sink),
        [0xa1, 0xb2, 0x3c, 0x4d] => pcap(file, Order { big: true }, 1e-9, sink),
        [0x4d, 0x3c, 0xb2, 0xa1] => pcap(file, Order { big: false }, 1e-9, sink),
        [0x0a, 0x0d, 0x0d, 0x0a] => pcapng(file, sink),
        m => Err(format!(
            "neither pcap nor pcapng: the file begins with {:02x}{:02x}{:02x}{:02x}",
            m[0], m[1], m[2], m[3]
        )),
    }
}

fn pcap(file: &[u8], order: Order, unit: f64, sink: &mut PacketSink<'_>) -> Result<(), String> {
    let link = order.u32(file, 20).ok_or("a pcap file ends within its header")? & 0xffff;
    let mut at = 24;
    while let (Some(sec), Some(frac), Some(len)) =
        (order.u32(file, at), order.u32(file, at + 4), order.u32(file, at + 8))
    {
        let Some(data) = file.get(at + 16..).and_then(|r| r.get(..len as usize)) else { break };
        sink(f64::from(sec) + f64::from(frac) * unit, link, data);
        at += 16 + len as usize;
    }
    Ok(())
}

fn pcapng(file: &[u8], sink: &mut PacketSink<'_>) -> Result<(), String> {
    let mut order = Order { big: false };
    // Link type and seconds per unit of time of each interface of the section.
    let mut interfaces: Vec<(u32, f64)> = Vec::new();
    let mut at = 0;
    loop {
        let section = file.get(at..at + 4) == Some(&[0x0a, 0x0d, 0x0d, 0x0a]);
        if section {
            order.big = file.get(at + 8..at + 12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
            interfaces.clear();
        }
        let (Some(kind), Some(len)) = (order.u32(file, at), order.u32(file, at + 4)) else { return Ok(()) };
        let len = len as usize;
        let Some(block) = file.get(at..at.saturating_add(len)).filter(|b| b.len() >= 12) else {
            return Ok(());
        };
        let body = &block[8..len - 4];
        match kind {
            1 => {
                let link = order.u16(body, 0).unwrap_or(1);
                interfaces.push((link.into(), time_unit(order, body)));
            }
            6 => {
                let of = order.u32(body, 0).unwrap_or(0) as usize;
                let (link, unit) = interfaces.get(of).copied().unwrap_or((1, 1e-6));
                let (hi, lo) = (order.u32(body, 4).unwrap_or(0), order.u32(body, 8).unwrap_or(0));
                let n = order.u32(body, 12).unwrap_or(0) as usize;
                if let Some(data) = body.get(20..).and_then(|r| r.get(..n)) {
                    sink((u64::from(hi) << 32 | u64::from(lo)) as f64 * unit, link, data);
                }
            }
            3 => {
                let (link, _) = interfaces.first().copied().unwrap_or((1, 1e-6));
                let n = order.u32(body, 0).unwrap_or(0) as usize;
                let rest = body.get(4..).unwrap_or(&[]);
                sink(0.0, link, &rest[..n.min(rest.len())]);
            }
            _ => {}
        }
        at += len.next_multiple_of(4);
    }
}

/// Seconds per unit of an interface's timestamps: option 9 (`if_tsresol`), else microseconds.
fn time_unit(order: Order, body: &[u8]) -> f64 {
    let mut at = 8;
    while let (Some(code), Some(len)) = (order.u16(body, at), order.u16(body, at + 2)) {
        if code == 0 {
            break;
        }
        if code == 9 {
            if let Some(r) = body.get(at + 4) {
                let n = i32::from(r & 0x7f);
                return if r & 0x80 != 0 { 2f64.powi(-n) } else { 10f64.powi(-n) };
            }
        }
        at += 4 + usize::from(len).next_multiple_of(4);
    }
    1e-6
}

/// One TCP segment.
struct Segment<'a> {
    from: SocketAddr,
    to: SocketAddr,
    seq: u32,
    syn: bool,
    data: &'a [u8],
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Order { big: true }.u16(b, at)
}

fn segment(link: u32, frame: &[u8]) -> Option<Segment<'_>> {
    let ip = match link {
        1 => {
            let mut at = 12;
            while matches!(be16(frame, at)?, 0x8100 | 0x88a8) {
                at += 4;
            }
            matches!(be16(frame, at)?, 0x0800 | 0x86dd).then(|| frame.get(at + 2..))??
        }
        // Linux cooked captures, and packets without a link layer (loopback has four bytes of address family).
        113 => frame.get(16..)?,
        276 => frame.get(20..)?,
        0 | 108 => frame.get(4..)?,
        12 | 101 | 228 | 229 => frame,
        _ => return None,
    };
    let (src, dst, tcp): (IpAddr, IpAddr, &[u8]) = match ip.first()? >> 4 {
        4 => {
            let header = usize::from(ip[0] & 15) * 4;
            let total = usize::from(be16(ip, 2)?);
            // A total length of 0 is what segmentation offload leaves in captures.
            let end = if total == 0 { ip.len() } else { total.min(ip.len()) };
            if header < 20 || *ip.get(9)? != 6 || be16(ip, 6)? & 0x3fff != 0 {
                return None;
            }
            let a = |i: usize| <[u8; 4]>::try_from(ip.get(i..i + 4)?).ok().map(IpAddr::from);
            (a(12)?, a(16)?, ip.get(header..end)?)
        }
        6 => {
            let n = usize::from(be16(ip, 4)?);
            let end = if n == 0 { ip.len() } else { (40 + n).min(ip.len()) };
            if *ip.get(6)? != 6 {
                return None;
            }
            let a = |i: usize| <[u8; 16]>::try_from(ip.get(i..i + 16)?).ok().map(IpAddr::from);
            (a(8)?, a(24)?, ip.get(40..end)?)
        }
        _ => return None,
    };
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    Some(Segment {
        from: SocketAddr::new(src, be16(tcp, 0)?),
        to: SocketAddr::new(dst, be16(tcp, 2)?),
        seq: Order { big: true }.u32(tcp, 4)?,
        syn: tcp.get(13)? & 2 != 0,
        data: tcp.get(header.max(20)..)?,
    })
}

/// One direction of a connection.
#[derive(Default)]
struct Stream {
    /// Sequence number expected next; none before the first segment.
    next: Option<u32>,
    /// Bytes in order that do not make a message yet.
    ready: Vec<u8>,
    /// Segments that came too early, by their distance from `next` when they came.
    early: BTreeMap<u32, Vec<u8>>,
    held: usize,
    lost: usize,
    time: f64,
    /// Whether this is OpenFlow: unknown until the first bytes, unless a port says so.
    openflow: Option<bool>,
}

struct Flows<'a> {
    ports: &'a [u16],
    streams: HashMap<(SocketAddr, SocketAddr), Stream>,
}

/// The bytes begin as an OpenFlow message does (as far as there are any).
fn plausible(b: &[u8]) -> bool {
    let version = b.first().is_none_or(|v| (1..=6).contains(v));
    let kind = b.get(1).is_none_or(|t| *t <= 35);
    let len = be16(b, 2).is_none_or(|l| usize::from(l) >= HEADER_LEN);
    version && kind && len
}

impl Flows<'_> {
    fn segment(&mut self, time: f64, s: &Segment<'_>, sink: &mut dyn FnMut(Found)) {
        let by_port = self.ports.contains(&s.from.port()) || self.ports.contains(&s.to.port());
        let key = (s.from, s.to);
        let stream = self.streams.entry(key).or_default();
        if s.syn {
            *stream = Stream { next: Some(s.seq.wrapping_add(1)), ..Stream::default() };
            return;
        }
        if s.data.is_empty() {
            return;
        }
        stream.time = time;
        if stream.openflow.is_none() {
            let hello = s.data.len() >= 4 && s.data[1] == 0 && plausible(s.data);
            stream.openflow = Some(by_port || hello);
        }
        if stream.openflow == Some(false) {
            return;
        }
        let next = *stream.next.get_or_insert(s.seq);
        let ahead = s.seq.wrapping_sub(next);
        if ahead == 0 {
            stream.accept(s.data);
        } else if ahead > 1 << 31 {
            // Sent before; perhaps longer this time.
            let old = next.wrapping_sub(s.seq) as usize;
            if old < s.data.len() {
                stream.accept(&s.data[old..]);
            }
        } else {
            stream.held += s.data.len();
            let kept = stream.early.entry(s.seq).or_default();
            if s.data.len() > kept.len() {
                stream.held -= kept.len();
                *kept = s.data.to_vec();
            } else {
                stream.held -= s.data.len();
            }
        }
        stream.drain();
        if stream.held > MAX_HELD {
            stream.skip_gap();
        }
        stream.cut(key, sink);
    }

    fn finish(&mut self, sink: &mut dyn FnMut(Found)) {
        let mut left: Vec<_> = self.streams.drain().filter(|(_, s)| s.openflow == Some(true)).collect();
        left.sort_by(|a, b| a.1.time.total_cmp(&b.1.time).then(a.0.cmp(&b.0)));
        for (key, mut s) in left {
            while !s.early.is_empty() {
                s.skip_gap();
                s.cut(key, sink);
            }
            s.lost += s.ready.len();
            s.ready.clear();
            s.cut(key, sink);
        }
    }
}

impl Stream {
    fn accept(&mut self, data: &[u8]) {
        self.ready.extend_from_slice(data);
        self.next = self.next.map(|n| n.wrapping_add(data.len() as u32));
    }

    /// The early segment nearest to what is expected next.
    fn nearest(&self) -> Option<u32> {
        let next = self.next?;
        self.early.keys().copied().min_by_key(|s| s.wrapping_sub(next) as i32)
    }

    /// Takes early segments that fit now.
    fn drain(&mut self) {
        while let (Some(next), Some(seq)) = (self.next, self.nearest()) {
            let ahead = seq.wrapping_sub(next) as i32;
            if ahead > 0 {
                return;
            }
            let data = self.early.remove(&seq).unwrap_or_default();
            self.held -= data.len();
            if let Some(rest) = data.get(ahead.unsigned_abs() as usize..) {
                self.accept(rest);
            }
        }
    }

    /// Gives up on bytes that never came.
    fn skip_gap(&mut self) {
        if let (Some(next), Some(seq)) = (self.next, self.nearest()) {
            self.lost += self.ready.len() + seq.wrapping_sub(next) as usize;
            self.ready.clear();
            self.next = Some(seq);
            self.drain();
        }
    }

    /// Gives whole messages to `sink`.
    fn cut(&mut self, (from, to): (SocketAddr, SocketAddr), sink: &mut dyn FnMut(Found)) {
        let time = self.time;
        let mut at = 0;
        loop {
            let rest = &self.ready[at..];
            if !plausible(rest) {
                self.lost += rest.len();
                at = self.ready.len();
            }
            if self.lost > 0 {
                sink(Found { time, from, to, what: What::Lost(std::mem::take(&mut self.lost)) });
            }
            let rest = &self.ready[at..];
            let Some(len) = Header::peek(rest).map(|h| usize::from(h.length)).filter(|l| *l <= rest.len())
            else {
                break;
            };
            sink(Found { time, from, to, what: What::Message(rest[..len].to_vec()) });
            at += len;
        }
        self.ready.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pcap file of these TCP segments: time, from-port, to-port, sequence number, flags, data.
    fn pcap_of(segments: &[(u32, u16, u16, u32, u8, &[u8])]) -> Vec<u8> {
        let mut f = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0];
        for s in segments {
            let p = frame(s);
            for v in [s.0, 250_000, p.len() as u32, p.len() as u32] {
                f.extend(v.to_le_bytes());
            }
            f.extend(p);
        }
        f
    }

    fn frame((_, sport, dport, seq, flags, data): &(u32, u16, u16, u32, u8, &[u8])) -> Vec<u8> {
        let mut p = vec![0; 12];
        p.extend([8, 0, 0x45, 0]);
        p.extend(((40 + data.len()) as u16).to_be_bytes());
        p.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        p.extend(sport.to_be_bytes());
        p.extend(dport.to_be_bytes());
        p.extend(seq.to_be_bytes());
        p.extend([0, 0, 0, 0, 0x50, *flags, 0, 0, 0, 0, 0, 0]);
        p.extend(*data);
        p
    }

    fn found(file: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        messages(file, PORTS, &mut |f| {
            out.push(match f.what {
                What::Message(m) => {
                    format!("{} {}>{} type {} len {}", f.time, f.from.port(), f.to.port(), m[1], m.len())
                }
                What::Lost(n) => format!("lost {n}"),
            });
        })
        .unwrap();
        out
    }

    const HELLO: &[u8] = &[4, 0, 0, 8, 0, 0, 0, 1];
    const BARRIER: &[u8] = &[4, 20, 0, 8, 0, 0, 0, 2];
    const ECHO: &[u8] = &[4, 2, 0, 12, 0, 0, 0, 3, 1, 2, 3, 4];

    #[test]
    fn segments_are_put_back_into_order_in_each_direction() {
        let both = [ECHO, BARRIER].concat();
        let got = found(&pcap_of(&[
            (1, 40000, 6653, 99, 2, b""),
            (1, 6653, 40000, 499, 0x12, b""),
            (2, 40000, 6653, 100, 0x18, HELLO),
            (3, 6653, 40000, 500, 0x18, &HELLO[..3]),
            (4, 40000, 6653, 120, 0x18, BARRIER),
            (5, 40000, 6653, 108, 0x18, &both[..5]),
            (5, 40000, 6653, 100, 0x18, HELLO),
            (6, 40000, 6653, 113, 0x18, &both[5..12]),
            (7, 6653, 40000, 503, 0x18, &HELLO[3..]),
        ]));
        assert_eq!(
            got,
            [
                "2.25 40000>6653 type 0 len 8",
                "6.25 40000>6653 type 2 len 12",
                "6.25 40000>6653 type 20 len 8",
                "7.25 6653>40000 type 0 len 8"
            ]
        );
    }

    #[test]
    fn what_is_lost_is_said_and_skipped() {
        let got = found(&pcap_of(&[
            (1, 1, 6633, 100, 0x18, HELLO),
            (2, 1, 6633, 108, 0x18, &ECHO[..6]),
            (3, 1, 6633, 130, 0x18, BARRIER),
            (4, 1, 6633, 138, 0x18, b"\xff\xff garbage"),
        ]));
        assert_eq!(got, ["1.25 1>6633 type 0 len 8", "lost 22", "4.25 1>6633 type 20 len 8", "lost 10"]);
    }

    #[test]
    fn other_ports_count_if_they_begin_with_a_hello() {
        let got =
            found(&pcap_of(&[(1, 5000, 5001, 1, 0x18, HELLO), (1, 80, 5002, 1, 0x18, b"HTTP/1.1 200 OK")]));
        assert_eq!(got, ["1.25 5000>5001 type 0 len 8"]);
    }

    #[test]
    fn pcapng_with_nanoseconds_is_read() {
        let p = frame(&(0, 1, 6653, 1, 0x18, HELLO));
        let mut f: Vec<u8> = Vec::new();
        let block = |f: &mut Vec<u8>, kind: u32, body: &[u8]| {
            let len = (12 + body.len().next_multiple_of(4)) as u32;
            f.extend(kind.to_le_bytes());
            f.extend(len.to_le_bytes());
            f.extend(body);
            f.resize(f.len().next_multiple_of(4), 0);
            f.extend(len.to_le_bytes());
        };
        block(
            &mut f,
            0x0a0d_0d0a,
            &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        block(&mut f, 1, &[1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        let t = 2_500_000_000u64;
        let mut body = vec![0, 0, 0, 0];
        for v in [(t >> 32) as u32, t as u32, p.len() as u32, p.len() as u32] {
            body.extend(v.to_le_bytes());
        }
        body.extend(&p);
        block(&mut f, 6, &body);
        assert_eq!(found(&f), ["2.5 1>6653 type 0 len 8"]);
    }

    #[test]
    fn files_that_are_no_captures_are_refused() {
        assert!(messages(b"PK\x03\x04...", PORTS, &mut |_| {})
            .unwrap_err()
            .contains("neither pcap nor pcapng"));
        assert!(messages(b"", PORTS, &mut |_| {}).unwrap_err().contains("too short"));
        // Cut anywhere, a capture gives what it still has.
        let whole = pcap_of(&[(1, 1, 6653, 1, 0x18, HELLO), (2, 1, 6653, 9, 0x18, BARRIER)]);
        for end in 24..whole.len() {
            messages(&whole[..end], PORTS, &mut |_| {}).unwrap();
        }
        assert_eq!(clock(3723.5), "01:02:03.500000");
    }
}
