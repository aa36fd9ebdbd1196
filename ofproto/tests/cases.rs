//! Text cases: what a switch does, in words, on a clock that the case moves. `BLESS=1 cargo test -p ofproto --test cases` (`make bless`)
//! writes what it does now into the files; review the diff.
//!
//! A file is a list of steps. A step is a directive with its lines, `----`, and what the switch said, up to an empty line (`====` before it
//! and after it if it holds empty lines itself). `#` begins a comment. Each file starts with an empty bridge of four ports;
//! `switch buffers=16` and the like, as the first step, makes it another.
//!
//! | directive | lines |
//! |---|---|
//! | `add-flows` `mod-flows` `del-flows` (and `-strict`) | flows as for `ovs-ofctl` |
//! | `add-group` `mod-group` `del-group`, `add-meter` `mod-meter` `del-meter` | the same |
//! | `bundle` | messages as for `ovs-ofctl bundle`; all or none of them |
//! | `packet` | packets in the datapath's words, then perhaps `len=N`, `xN` (so many), `every=10us` |
//! | `hex` | port and bytes |
//! | `packet-out`, `port-mod PORT`, `config`, `message` | `in_port=…`; words of mod-port; `frag=drop`, `miss_send_len=N`; bytes |
//! | `patch PORT` | flows of another bridge, whose port 1 is behind this new port |
//! | `link PORT up/down`, `del-port PORT`, `controller none/configured/connected`, `queue PORT QUEUE RATES`, `table-size T=N...`, `table-mod T WORD`, `advance 11s`, `drain 2s` (in milliseconds) | |
//! | `trace` | a flow |
//! | `dump-flows`, `dump-megaflows`, `counters` (all that changed since the last time), `ask WHAT` | |

mod bed;

use bed::{frame, Bed};
use datapath::flow_key::{off, FlowKey};
use datapath::{DpAction, PortId};
use ofproto::api::TableLimit;
use ofproto::conn::{Backend, ConnId};
use openflow::msg::multipart::*;
use openflow::msg::*;
use openflow::text::{self, NoNames};
use openflow::{GroupId, MeterId, PortNo, TableId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

struct Case {
    bed: Bed,
    /// Of the last `counters`.
    before: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
}

fn duration(text: &str) -> Duration {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).expect("a unit");
    let n: f64 = text[..split].parse().expect("a number");
    let unit = match &text[split..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        other => panic!("{other}: ns, us, ms or s"),
    };
    Duration::from_nanos((n * unit) as u64)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn port(word: &str) -> PortNo {
    if word == "LOCAL" {
        PortNo::LOCAL
    } else {
        PortNo(word.parse().unwrap_or_else(|_| panic!("{word:?} is no port")))
    }
}

fn port_name(p: PortNo) -> String {
    if p == PortNo::LOCAL {
        "LOCAL".into()
    } else {
        p.0.to_string()
    }
}

/// A frame in the datapath's words.
fn describe(f: &[u8]) -> String {
    let mut k = FlowKey::ZERO;
    datapath::extract::extract(f, 0, 0, &mut k);
    let words = datapath::text::format_flow(&k, &datapath::text::full_mask(&k));
    let words = words.trim_start_matches("recirc_id(0),").trim_start_matches("in_port(0),");
    let words = words.trim_start_matches("recirc_id(0x0),").trim_start_matches("in_port(0),");
    format!("{words} len={} csum={}", f.len(), frame::checksums(f))
}

impl Case {
    fn new() -> Self {
        Self::with("")
    }
    fn with(words: &str) -> Self {
        let bed = Bed::new(4, |c| {
            for w in words.split_whitespace() {
                match w.split_once('=') {
                    Some(("aging", n)) => c.mac_aging_s = n.parse().unwrap(),
                    Some(("buffers", n)) => c.n_buffers = n.parse().unwrap(),
                    Some(("limit" | "evict", v)) => {
                        let (t, n) = v.split_once(':').expect("TABLE:ENTRIES");
                        let limit = TableLimit { flow_limit: n.parse().ok(), evict: w.starts_with("evict") };
                        c.tables.insert(t.parse().expect("a table"), limit);
                    }
                    None if w == "standalone" => c.standalone = true,
                    _ => panic!("switch {w}: unknown"),
                }
            }
        });
        let mut c = Self { bed, before: BTreeMap::new(), drops: BTreeMap::new() };
        c.counters();
        c.drops = c.drop_counts();
        c
    }

    fn drop_counts(&mut self) -> BTreeMap<String, u64> {
        self.bed.sw.drops().into_iter().collect()
    }

    /// What the controller heard, in short.
    fn heard(&self, all: &[OfMessage], asked: &[(u32, &str)], out: &mut String) {
        for m in all {
            match &m.body {
                Message::Error(e) => {
                    let line = asked.iter().find(|a| a.0 == m.xid.0).map_or("", |a| a.1);
                    let _ = writeln!(out, "error {}: {line}", text::print::error_name(e.error));
                }
                Message::PacketIn(p) => {
                    let reason = ["no_match", "action", "invalid_ttl"][usize::from(p.reason.0).min(2)];
                    let _ = write!(
                        out,
                        "packet-in {reason} table={} cookie={:#x} {}",
                        p.table_id.0,
                        p.cookie,
                        text::print_match(&p.matching)
                    );
                    if p.buffer_id != OFP_NO_BUFFER {
                        let _ = write!(out, " buffer={:#x}", p.buffer_id);
                    }
                    let _ = write!(out, " total={} data={}", p.total_len, p.data.len());
                    if p.data.len() == usize::from(p.total_len) {
                        let _ = write!(out, ": {}", describe(&p.data));
                    }
                    out.push('\n');
                }
                Message::FlowRemoved(f) => {
                    let why = [
                        "idle_timeout",
                        "hard_timeout",
                        "delete",
                        "group_delete",
                        "meter_delete",
                        "eviction",
                    ];
                    let _ = writeln!(
                        out,
                        "removed table={} priority={} {} reason={} after={}.{:03}s packets={} bytes={}",
                        f.table_id.0,
                        f.priority,
                        text::print_match(&f.matching),
                        why[usize::from(f.reason.0).min(5)],
                        f.duration_sec,
                        f.duration_nsec / 1_000_000,
                        f.packet_count,
                        f.byte_count
                    );
                }
                Message::PortStatus(p) => {
                    let what = ["add", "delete", "modify"][usize::from(p.reason.0).min(2)];
                    let _ = writeln!(
                        out,
                        "port-status {what} {} config={:#x} state={:#x}",
                        port_name(p.port.port_no),
                        p.port.config.0,
                        p.port.state.0
                    );
                }
                Message::Hello(_) | Message::BarrierReply => {}
                _ => out.push_str(&text::print::message(m, 1, &NoNames)),
            }
        }
    }

    fn say(&mut self, body: impl Into<Message>, line: &str, out: &mut String) {
        let (xid, heard) = self.bed.say(body);
        self.heard(&heard, &[(xid, line)], out);
    }

    fn bundle(&mut self, lines: &[&str], out: &mut String) {
        let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
        let control = |kind| BundleControl { bundle_id: 1, kind, flags, properties: Vec::new() };
        let mut heard = self.bed.say(control(BundleCtrlType::OPEN_REQUEST)).1;
        let mut asked = Vec::new();
        for l in lines {
            let body = text::parse_bundle_line(l, &NoNames).unwrap_or_else(|e| panic!("{l}: {e}"));
            let add = |xid: u32| {
                let message = Box::new(OfMessage::new(xid, body));
                BundleAdd { bundle_id: 1, flags, message, properties: Vec::new() }.into()
            };
            let (xid, more) = self.bed.say_numbered(add);
            asked.push((xid, *l));
            heard.extend(more);
        }
        let (xid, more) = self.bed.say(control(BundleCtrlType::COMMIT_REQUEST));
        asked.push((xid, "commit"));
        heard.extend(more);
        heard.retain(|m| !matches!(m.body, Message::BundleControl(_)));
        self.heard(&heard, &asked, out);
    }

    /// What left, what was dropped and why.
    fn went(&mut self, short: bool, out: &mut String) {
        let sent = self.bed.sent();
        if short {
            let mut n: BTreeMap<PortNo, usize> = BTreeMap::new();
            sent.iter().for_each(|(p, _)| *n.entry(*p).or_default() += 1);
            for (p, n) in n {
                let _ = writeln!(out, "port {}: {n} packets", port_name(p));
            }
        } else {
            for (p, f) in sent {
                let _ = writeln!(out, "port {}: {}", port_name(p), describe(&f));
            }
        }
        let now = self.drop_counts();
        for (reason, n) in &now {
            let new = n - self.drops.get(reason).copied().unwrap_or(0);
            match new {
                0 => {}
                1 => drop(writeln!(out, "drop: {reason}")),
                n => drop(writeln!(out, "drop: {reason} x{n}")),
            }
        }
        self.drops = now;
    }

    fn packets(&mut self, line: &str, out: &mut String) {
        let mut words = line.split_whitespace();
        let (mut key, _) =
            datapath::text::parse_flow(words.next().unwrap_or("")).unwrap_or_else(|e| panic!("{line}: {e}"));
        let in_port = PortNo(key.in_port());
        key.set(off::IN_PORT, [0; 4]);
        let (mut len, mut n, mut gap) = (60, 1u32, Duration::ZERO);
        for w in words {
            if let Some(v) = w.strip_prefix("len=") {
                len = v.parse().expect("len=N");
            } else if let Some(v) = w.strip_prefix("every=") {
                gap = duration(v);
            } else if let Some(v) = w.strip_prefix('x') {
                n = v.parse().expect("xN");
            } else {
                panic!("{w:?}: len=N, xN or every=TIME");
            }
        }
        let f = frame::compose(&key, len);
        for _ in 0..n {
            self.bed.inject(in_port, &f);
            self.bed.tick(gap.as_nanos() as u64);
        }
        let heard = self.bed.settle();
        self.went(n > 1, out);
        if n > 1 && heard.len() > 3 {
            let _ = writeln!(out, "controller: {} messages", heard.len());
        } else {
            self.heard(&heard, &[], out);
        }
    }

    fn flow_stats(&mut self, filter: &str) -> Vec<FlowStats> {
        let request = text::parse_flow_filter(filter, &NoNames).expect("a filter");
        let body = RequestBody::Flow(request);
        let (_, heard) = self.bed.say(MultipartRequest { flags: MultipartFlags::empty(), body });
        let mut all = Vec::new();
        for m in heard {
            if let Message::MultipartReply(MultipartReply { body: ReplyBody::Flow(f), .. }) = m.body {
                all.extend(f);
            }
        }
        all.sort_by_key(|f| (f.table_id.0, std::cmp::Reverse(f.priority), text::print_match(&f.matching)));
        all
    }

    fn ask(&mut self, body: RequestBody) -> Option<ReplyBody> {
        let (_, heard) = self.bed.say(MultipartRequest { flags: MultipartFlags::empty(), body });
        heard.into_iter().find_map(|m| match m.body {
            Message::MultipartReply(r) => Some(r.body),
            _ => None,
        })
    }

    /// Every counter of the switch by name.
    fn counters(&mut self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for f in self.flow_stats("") {
            let name =
                format!("flow table={} {},{}", f.table_id.0, f.priority, text::print_match(&f.matching));
            all.insert(format!("{name} packets"), f.packet_count);
            all.insert(format!("{name} bytes"), f.byte_count);
        }
        if let Some(ReplyBody::Table(t)) = self.ask(RequestBody::Table) {
            for t in t {
                all.insert(format!("table {} lookups", t.table_id.0), t.lookup_count);
                all.insert(format!("table {} matched", t.table_id.0), t.matched_count);
            }
        }
        if let Some(ReplyBody::Group(g)) =
            self.ask(RequestBody::Group(GroupStatsRequest { group_id: GroupId::ALL }))
        {
            for g in g {
                all.insert(format!("group {} packets", g.group_id.0), g.packet_count);
                for (i, b) in g.buckets.iter().enumerate() {
                    all.insert(format!("group {} bucket {i} packets", g.group_id.0), b.packet_count);
                }
            }
        }
        if let Some(ReplyBody::Meter(m)) =
            self.ask(RequestBody::Meter(MeterRequest { meter_id: MeterId::ALL }))
        {
            for m in m {
                all.insert(format!("meter {} packets", m.meter_id.0), m.packet_in_count);
                for (i, b) in m.bands.iter().enumerate() {
                    all.insert(format!("meter {} band {i} packets", m.meter_id.0), b.packet_band_count);
                }
            }
        }
        if let Some(ReplyBody::PortStats(p)) =
            self.ask(RequestBody::PortStats(PortStatsRequest { port_no: PortNo::ANY }))
        {
            for p in p {
                all.insert(format!("port {} rx", port_name(p.port_no)), p.rx_packets);
                all.insert(format!("port {} tx", port_name(p.port_no)), p.tx_packets);
            }
        }
        let request = QueueStatsRequest { port_no: PortNo::ANY, queue_id: u32::MAX };
        if let Some(ReplyBody::Queue(q)) = self.ask(RequestBody::Queue(request)) {
            for q in q {
                let name = format!("queue {}:{}", port_name(q.port_no), q.queue_id);
                all.insert(format!("{name} tx"), q.tx_packets);
                all.insert(format!("{name} dropped"), q.tx_errors);
            }
        }
        all
    }

    fn megaflows(&mut self) -> Vec<String> {
        let now = self.bed.now();
        let mut map = BTreeMap::new();
        for p in self.bed.wires.keys() {
            map.insert(self.bed.dp_port(*p).0, p.0);
        }
        let all = self.bed.sw.dump_megaflows(now, None);
        let one = |m: ofproto::api::MegaflowDump| {
            let (mut key, mask) =
                datapath::text::parse_flow(&m.matching).expect("what is printed can be read");
            let p = map.get(&key.in_port()).copied().unwrap_or(key.in_port());
            key.set(off::IN_PORT, p.to_be_bytes());
            let mut actions = datapath::text::parse_actions(&m.actions).expect("what is printed can be read");
            rename(&mut actions, &map);
            let words = if m.actions == "drop" {
                "drop".into()
            } else {
                datapath::text::format_actions(&actions, &key)
            };
            format!("{} packets:{} actions:{words}", datapath::text::format_flow(&key, &mask), m.packets)
        };
        let mut all: Vec<String> = all.into_iter().map(one).collect();
        all.sort();
        all
    }

    fn multipart(&mut self, words: &str, out: &mut String) {
        let mut w = words.split_whitespace();
        let (what, arg) = (w.next().unwrap_or(""), w.next());
        let number = |d: u32| arg.map_or(d, |a| if a == "ANY" { u32::MAX } else { port(a).0 });
        let body = match what {
            "features" => return self.say(Message::FeaturesRequest, words, out),
            "config" => return self.say(Message::GetConfigRequest, words, out),
            "queue-config" => {
                let r = QueueGetConfigRequest { port: PortNo(number(u32::MAX)) };
                return self.say(Message::QueueGetConfigRequest(r), words, out);
            }
            "tables" => RequestBody::Table,
            "groups" => RequestBody::Group(GroupStatsRequest { group_id: GroupId(number(GroupId::ALL.0)) }),
            "group-desc" => RequestBody::GroupDesc,
            "group-features" => RequestBody::GroupFeatures,
            "meters" => RequestBody::Meter(MeterRequest { meter_id: MeterId(number(MeterId::ALL.0)) }),
            "meter-config" => {
                RequestBody::MeterConfig(MeterRequest { meter_id: MeterId(number(MeterId::ALL.0)) })
            }
            "meter-features" => RequestBody::MeterFeatures,
            "ports" => RequestBody::PortStats(PortStatsRequest { port_no: PortNo(number(u32::MAX)) }),
            "port-desc" => RequestBody::PortDesc,
            "queues" => RequestBody::Queue(QueueStatsRequest {
                port_no: PortNo(number(u32::MAX)),
                queue_id: w.next().map_or(u32::MAX, |q| q.parse().expect("a queue")),
            }),
            "aggregate" => RequestBody::Aggregate(
                text::parse_flow_filter(arg.unwrap_or(""), &NoNames).expect("a filter"),
            ),
            "table-count" => {
                let n = match self.ask(RequestBody::TableFeatures(Vec::new())) {
                    Some(ReplyBody::TableFeatures(t)) => t.len(),
                    _ => 0,
                };
                let _ = writeln!(out, "{n} tables in the first part");
                return;
            }
            other => panic!("ask {other}: unknown"),
        };
        self.say(MultipartRequest { flags: MultipartFlags::empty(), body }, words, out);
    }

    fn step(&mut self, directive: &str, lines: &[&str]) -> String {
        let mut out = String::new();
        let (name, args) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
        let args = args.trim();
        let texts = lines.iter().map(|l| l.split(" #").next().unwrap_or("").trim());
        let mut each: Vec<&str> = texts.filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
        if each.is_empty() && name.starts_with("del-") {
            each.push(""); // all of them
        }
        let command = match name.split('-').next() {
            Some("mod") => 1,
            Some("del") => 3,
            _ => 0,
        } + u8::from(name.ends_with("-strict"));
        match name {
            "switch" => *self = Self::with(args),
            "add-flows" | "mod-flows" | "mod-flows-strict" | "del-flows" | "del-flows-strict" => {
                for l in each {
                    match text::parse_flow(l, FlowModCommand(command), &NoNames) {
                        Ok(m) => self.say(m, l, &mut out),
                        Err(e) => drop(writeln!(out, "not a flow: {e}")),
                    }
                }
                self.went(false, &mut out);
            }
            "add-group" | "mod-group" | "del-group" => {
                let command = [GroupModCommand::ADD, GroupModCommand::MODIFY, GroupModCommand::DELETE]
                    [usize::from(command.min(2))];
                for l in each {
                    match text::parse_group(l, command, &NoNames) {
                        Ok(m) => self.say(m, l, &mut out),
                        Err(e) => drop(writeln!(out, "not a group: {e}")),
                    }
                }
            }
            "add-meter" | "mod-meter" | "del-meter" => {
                let command = [MeterModCommand::ADD, MeterModCommand::MODIFY, MeterModCommand::DELETE]
                    [usize::from(command.min(2))];
                for l in each {
                    match text::parse_meter(l, command) {
                        Ok(m) => self.say(m, l, &mut out),
                        Err(e) => drop(writeln!(out, "not a meter: {e}")),
                    }
                }
            }
            "bundle" => {
                self.bundle(&each, &mut out);
                self.went(false, &mut out);
            }
            "packet" => each.iter().for_each(|l| self.packets(l, &mut out)),
            "hex" => {
                for l in each {
                    let (p, hex) = l.split_once(' ').expect("a port and bytes");
                    self.bed.inject(port(p), &bytes(hex));
                    let heard = self.bed.settle();
                    for (p, f) in self.bed.sent() {
                        let hex: String = f.iter().map(|b| format!("{b:02x}")).collect();
                        let _ = writeln!(out, "port {}: {hex} csum={}", port_name(p), frame::checksums(&f));
                    }
                    self.went(false, &mut out);
                    self.heard(&heard, &[], &mut out);
                }
            }
            "packet-out" => {
                for l in each {
                    let (buffer, l) = match l.strip_prefix("buffer=") {
                        Some(rest) => {
                            let (n, rest) = rest.split_once(' ').expect("buffer=N and the rest");
                            let n = n.trim_start_matches("0x");
                            (u32::from_str_radix(n, 16).expect("hexadecimal"), rest)
                        }
                        None => (OFP_NO_BUFFER, l),
                    };
                    let mut m = if buffer == OFP_NO_BUFFER {
                        text::parse_packet_out(l, &NoNames).unwrap_or_else(|e| panic!("{l}: {e}"))
                    } else {
                        let with = l.replace("actions=", "packet=000000000000000000000000ffff actions=");
                        let mut m =
                            text::parse_packet_out(&with, &NoNames).unwrap_or_else(|e| panic!("{l}: {e}"));
                        m.data = Default::default();
                        m
                    };
                    m.buffer_id = buffer;
                    self.say(m, l, &mut out);
                    self.went(false, &mut out);
                }
            }
            "port-mod" => {
                for l in each {
                    let (config, mask) = text::parse_port_mod_word(l).unwrap_or_else(|e| panic!("{e}"));
                    let hw_addr = openflow::EthAddr([2, 0, 0, 0, 0, 1]);
                    let port_no = port(args);
                    self.say(PortMod { port_no, hw_addr, config, mask, ..PortMod::default() }, l, &mut out);
                }
            }
            "config" => {
                let mut c = SwitchConfig { flags: ConfigFlags::FRAG_NORMAL, miss_send_len: 128 };
                for w in args.split_whitespace() {
                    match w.split_once('=') {
                        Some(("frag", "drop")) => c.flags = ConfigFlags::FRAG_DROP,
                        Some(("frag", "reasm")) => c.flags = ConfigFlags(2),
                        Some(("frag", "normal")) => {}
                        Some(("miss_send_len", n)) => c.miss_send_len = n.parse().unwrap(),
                        _ => panic!("config {w}"),
                    }
                }
                self.say(Message::SetConfig(c), args, &mut out);
            }
            "message" => {
                for l in each {
                    let mut b = bytes(l);
                    b[4..8].copy_from_slice(&[0, 0, 0, 1]);
                    match OfMessage::parse(&b) {
                        Ok(m) => self.say(m.body, l, &mut out),
                        Err(e) => drop(writeln!(out, "error {}: {l}", text::print::error_name(e.code))),
                    }
                    self.went(false, &mut out);
                }
            }
            "table-size" => {
                // A set of table features that gives these tables so many entries, and keeps all else of those named.
                let Some(ReplyBody::TableFeatures(now)) = self.ask(RequestBody::TableFeatures(Vec::new()))
                else {
                    panic!("no table features")
                };
                let mut wanted = Vec::new();
                for w in args.split_whitespace() {
                    let (t, n) = w.split_once('=').expect("TABLE=ENTRIES");
                    let t = TableId(t.parse().expect("a table"));
                    let mut f =
                        now.iter().find(|f| f.table_id == t).cloned().expect("a table of the first part");
                    f.max_entries = n.parse().expect("a number");
                    f.properties.clear();
                    wanted.push(f);
                }
                let (_, heard) = self.bed.say(MultipartRequest {
                    flags: MultipartFlags::empty(),
                    body: RequestBody::TableFeatures(wanted),
                });
                for m in &heard {
                    match &m.body {
                        Message::MultipartReply(MultipartReply {
                            body: ReplyBody::TableFeatures(t), ..
                        }) => {
                            for t in t {
                                let _ =
                                    writeln!(out, "table {}: max_entries={}", t.table_id.0, t.max_entries);
                            }
                        }
                        _ => self.heard(std::slice::from_ref(m), &[], &mut out),
                    }
                }
            }
            "table-mod" => {
                let (t, w) = args.split_once(' ').expect("TABLE WORD");
                let table_id = if t == "ALL" { TableId::ALL } else { TableId(t.parse().expect("a table")) };
                let config = text::parse_table_mod_word(w).unwrap_or_else(|e| panic!("{e}"));
                self.say(TableMod { table_id, config }, args, &mut out);
            }
            "queue" => {
                // PORT QUEUE min-rate=.. max-rate=..; QUEUE `port` for the port itself.
                let mut w = args.split_whitespace();
                let (p, q) = (w.next().expect("a port"), w.next().expect("a queue"));
                let rates: Vec<_> = w.filter_map(|w| w.split_once('=')).collect();
                let (now, id) = (self.bed.now(), self.bed.bridge);
                if let Err(e) = self.bed.sw.set_queue(now, id, &format!("p{p}"), q.parse().ok(), &rates) {
                    let _ = writeln!(out, "{e}");
                }
                self.bed.rendezvous();
            }
            "drain" => {
                // Time passes in steps of a millisecond, so that schedulers send what waits.
                for _ in 0..duration(args).as_millis() {
                    self.bed.tick(1_000_000);
                    self.bed.rendezvous();
                }
                self.went(true, &mut out);
            }
            "link" => {
                let (p, way) = args.split_once(' ').expect("PORT up or down");
                self.bed.wires[&port(p)].set_link(way == "up");
                self.bed.sw.refresh_port(self.bed.bridge, port(p));
                let heard = self.bed.settle();
                self.heard(&heard, &[], &mut out);
            }
            "patch" => {
                let other = self.bed.patch(port(args));
                for l in each {
                    let m = text::parse_flow(l, FlowModCommand::ADD, &NoNames)
                        .unwrap_or_else(|e| panic!("{l}: {e}"));
                    let now = self.bed.now();
                    let mut view = self.bed.sw.view(other);
                    let said = view.handle(now, ConnId(9), &OfMessage::new(1, m), None, &mut Vec::new());
                    assert_eq!(said, Ok(()), "{l}");
                }
                self.bed.settle();
            }
            "del-port" => {
                let (now, id) = (self.bed.now(), self.bed.bridge);
                self.bed.sw.del_port(now, id, &format!("p{args}")).expect("a port");
                let heard = self.bed.settle();
                self.heard(&heard, &[], &mut out);
            }
            "controller" => {
                self.bed.sw.set_controllers(self.bed.bridge, args != "none", args == "connected");
                self.bed.rendezvous();
            }
            "advance" => {
                let heard = self.bed.advance(duration(args));
                self.heard(&heard, &[], &mut out);
                self.went(false, &mut out);
            }
            "trace" => {
                for l in each {
                    let now = self.bed.now();
                    match self.bed.sw.trace(now, self.bed.bridge, l) {
                        Ok(t) => out.push_str(&t),
                        Err(e) => drop(writeln!(out, "not a packet: {e}")),
                    }
                }
            }
            "dump-flows" => {
                for f in self.flow_stats(args) {
                    let _ = writeln!(out, "{}", text::print_flow_stats(&f, &NoNames).trim());
                }
            }
            "dump-megaflows" => {
                for m in self.megaflows() {
                    let _ = writeln!(out, "{m}");
                }
            }
            "counters" => {
                let now = self.counters();
                for (name, n) in &now {
                    let new = n.wrapping_sub(self.before.get(name).copied().unwrap_or(0));
                    if new != 0 {
                        let _ = writeln!(out, "{name} +{new}");
                    }
                }
                self.before = now;
            }
            "ask" => self.multipart(args, &mut out),
            "macs" => {
                for m in self.bed.sw.macs(self.bed.bridge) {
                    let _ = writeln!(
                        out,
                        "port={} vlan={} {} age={}s",
                        port_name(m.port),
                        m.vlan,
                        openflow::EthAddr(m.mac),
                        m.age_s
                    );
                }
            }
            other => panic!("{other:?} is no directive"),
        }
        out
    }
}

fn rename(actions: &mut [DpAction], map: &BTreeMap<u32, u32>) {
    for a in actions {
        match a {
            DpAction::Output(p) => *p = PortId(map.get(&p.0).copied().unwrap_or(p.0)),
            DpAction::Clone(inner) => rename(inner, map),
            _ => {}
        }
    }
}

/// Runs a file; what it would be with the output of today.
fn replay(path: &Path) -> (String, String) {
    let old = std::fs::read_to_string(path).expect("a case file");
    let (mut new, mut case) = (String::new(), Case::new());
    let lines: Vec<&str> = old.lines().collect();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        if line.trim().is_empty() || line.starts_with('#') {
            new.push_str(line);
            new.push('\n');
            i += 1;
            continue;
        }
        let begin = i;
        while i < lines.len() && lines[i] != "----" {
            assert!(
                !lines[i].trim().is_empty() || i == begin,
                "{path:?} line {}: a step without ----",
                i + 1
            );
            i += 1;
        }
        let body = &lines[begin + 1..i];
        for l in &lines[begin..i] {
            new.push_str(l);
            new.push('\n');
        }
        i += 1;
        // Skip the old output.
        if lines.get(i) == Some(&"====") {
            i += 1;
            while i < lines.len() && lines[i] != "====" {
                i += 1;
            }
            i += 1;
        } else {
            while i < lines.len() && !lines[i].trim().is_empty() {
                i += 1;
            }
        }
        let out = case.step(line.trim(), body);
        new.push_str("----\n");
        let whole = out.lines().any(|l| l.trim().is_empty());
        if whole {
            new.push_str("====\n");
        }
        for l in out.lines() {
            new.push_str(l.trim_end());
            new.push('\n');
        }
        if whole {
            new.push_str("====\n");
        }
    }
    (old, new)
}

#[test]
fn cases() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let only = std::env::var("CASE").ok();
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).expect("tests/cases").filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "txt"));
    files.retain(|p| only.as_ref().is_none_or(|o| p.file_stem().is_some_and(|s| s.to_string_lossy() == *o)));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for path in files {
        let (old, new) = replay(&path);
        if old == new {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_string();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &new).expect("writing a case");
            println!("blessed {name}");
            continue;
        }
        let at = old.lines().zip(new.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let show = |s: &str| s.lines().skip(at.saturating_sub(3)).take(12).collect::<Vec<_>>().join("\n  ");
        wrong.push(format!("{name} line {}:\nexpected\n  {}\ngot\n  {}", at + 1, show(&old), show(&new)));
    }
    assert!(wrong.is_empty(), "{}\n(BLESS=1 writes what it says now)", wrong.join("\n\n"));
}

/// Whether a test file has this case (a comment line that begins so) or this test function.
fn has_test(file: &str, name: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = match file {
        f if f.ends_with(".txt") => root.join("ofproto/tests/cases").join(f),
        f if f.starts_with("traffic/") => root.join("tests").join(f),
        f => root.join(f),
    };
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    text.lines().map(str::trim_start).any(|l| {
        let line = l.strip_prefix("async ").unwrap_or(l);
        match line.strip_prefix("fn ").filter(|_| file.ends_with(".rs")) {
            Some(f) => f.strip_prefix(name).is_some_and(|rest| rest.starts_with(['(', '<'])),
            None => l.strip_prefix("# ").is_some_and(|c| file.ends_with(".txt") && c.starts_with(name)),
        }
    })
}

#[test]
fn behaviours_name_tests_that_exist() {
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md");
    let text = std::fs::read_to_string(doc).expect("docs/testing.md");
    let (mut seen, mut wrong) = (0, Vec::new());
    for (i, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with('|')) {
        for quoted in line.split('`').skip(1).step_by(2) {
            let Some((file, name)) = quoted.split_once(": ") else { continue };
            seen += 1;
            if !has_test(file, name) {
                wrong.push(format!("docs/testing.md line {}: there is no `{quoted}`", i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} tests are named");
}
