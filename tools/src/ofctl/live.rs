//! Commands that keep listening, or measure: monitor, snoop, watch, ping, benchmark.

use super::options::{Options, Usage};
use super::vconn::Vconn;
use super::{daemon_json, print};
use anyhow::{bail, Context, Result};
use openflow::codec::Frame;
use openflow::msg::multipart::flow_monitor::{FlowMonitorFlags, FlowMonitorRequest};
use openflow::msg::multipart::MultipartFlags;
use openflow::msg::{
    AsyncConfig, ConfigFlags, Echo, Message, MultipartRequest, NxMessage, PacketInFormat, RequestBody,
    SwitchConfig,
};
use openflow::text::{self, NoNames};
use openflow::{PortNo, TableId};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn show(o: &Options, f: &Frame) -> Result<()> {
    if o.json {
        return print(&format!("{}\n", crate::offline::message_json(&f.raw)));
    }
    print(&text::print::bytes(&f.raw, 1 + o.more, &NoNames))
}

fn listen(o: &Options, v: &mut Vconn) -> Result<()> {
    let until = o.timeout.map(|t| Instant::now() + t);
    let mut left = o.count.unwrap_or(u64::MAX);
    while left > 0 && until.is_none_or(|u| Instant::now() < u) {
        if let Some(f) = v.frame_within(Duration::from_millis(500))? {
            if matches!(f.message.as_ref().map(|m| &m.body), Ok(Message::BarrierReply)) {
                continue;
            }
            show(o, &f)?;
            left -= 1;
        }
    }
    Ok(())
}

/// `snoop`: what controllers and switch say to each other.
///
/// # Errors
/// The connection broke.
pub fn snoop(o: &Options, switch: &str) -> Result<()> {
    let patient = Options { timeout: Some(Duration::from_millis(500)), ..o.clone() };
    let mut v = Vconn::open_as(switch, &patient, "snoop")?;
    listen(o, &mut v)
}

/// `monitor`: packet-ins and other messages as they come.
///
/// # Errors
/// A wrong word, or the connection broke.
pub fn monitor(o: &Options, a: &[&str]) -> Result<()> {
    let patient = Options { timeout: Some(Duration::from_millis(500)), ..o.clone() };
    let mut v = Vconn::open(a[0], &patient)?;
    let mut miss_send_len = None;
    let mut invalid_ttl = false;
    let mut monitors = Vec::new();
    for w in &a[1..] {
        if let Ok(n) = w.parse::<u16>() {
            miss_send_len = Some(n);
        } else if *w == "invalid_ttl" {
            invalid_ttl = true;
        } else if let Some(spec) = w.strip_prefix("watch:") {
            monitors.push(monitored(spec, monitors.len() as u32 + 1)?);
        } else {
            return Err(Usage(format!(
                "{w:?} is unknown; monitor takes MISS_LEN, invalid_ttl and watch:[FLOW]"
            ))
            .into());
        }
    }
    if invalid_ttl {
        v.send(Message::SetAsync(AsyncConfig {
            packet_in_mask: [0b111, 0],
            port_status_mask: [0b111, 0b111],
            flow_removed_mask: [0b1111, 0],
        }))?;
    }
    // As ovs-ofctl: the extended format, which shows table, cookie and metadata.
    v.send(NxMessage::SetPacketInFormat(PacketInFormat::NXT_PACKET_IN2))?;
    if miss_send_len.is_some() || monitors.is_empty() {
        let miss_send_len = miss_send_len.unwrap_or(0xffff);
        v.send(Message::SetConfig(SwitchConfig { flags: ConfigFlags::FRAG_NORMAL, miss_send_len }))?;
    }
    if !monitors.is_empty() {
        v.send(MultipartRequest {
            flags: MultipartFlags::empty(),
            body: RequestBody::NxFlowMonitor(monitors),
        })?;
    }
    v.send(Message::BarrierRequest)?;
    v.flush()?;
    listen(o, &mut v)
}

/// `watch:[!initial][!add]...[table=N][out_port=P][FLOW]` of `monitor`.
fn monitored(spec: &str, id: u32) -> Result<FlowMonitorRequest> {
    let mut flags = FlowMonitorFlags::INITIAL
        | FlowMonitorFlags::ADD
        | FlowMonitorFlags::DELETE
        | FlowMonitorFlags::MODIFY
        | FlowMonitorFlags::OWN
        | FlowMonitorFlags::ACTIONS;
    let mut rest = Vec::new();
    for w in spec.split(',').filter(|w| !w.is_empty()) {
        let off = match w {
            "!initial" => FlowMonitorFlags::INITIAL,
            "!add" => FlowMonitorFlags::ADD,
            "!delete" => FlowMonitorFlags::DELETE,
            "!modify" => FlowMonitorFlags::MODIFY,
            "!actions" => FlowMonitorFlags::ACTIONS,
            "!own" => FlowMonitorFlags::OWN,
            _ => {
                rest.push(w);
                continue;
            }
        };
        flags.0 &= !off.0;
    }
    let f = text::parse_flow_filter(&rest.join(","), &NoNames)?;
    let table_id = if rest.iter().any(|w| w.starts_with("table=")) { f.table_id } else { TableId::ALL };
    let out_port = if f.out_port.0 == 0 { PortNo::ANY } else { f.out_port };
    Ok(FlowMonitorRequest { id, flags, out_port, table_id, matching: f.matching })
}

/// What packets of a flow did since the last look, by kind: packets and bytes at that time.
#[derive(Default)]
struct Kinds {
    seen: HashMap<(u64, String), (u64, u64)>,
    /// Kinds whose path was shown: it is shown again if it changes.
    paths: HashMap<String, String>,
}

impl Kinds {
    /// Prints what is new; how much that was.
    fn look(&mut self, o: &Options, bridge: &str, flow: &str, quiet: bool) -> Result<u64> {
        let all = daemon_json(o, "dump-megaflows", &[bridge, flow])?;
        let (mut now, mut shown) = (HashMap::new(), 0);
        for m in all.as_array().into_iter().flatten() {
            let text = |k: &str| m[k].as_str().unwrap_or("").to_string();
            let count = |k: &str| m[k].as_u64().unwrap_or(0);
            let (matching, actions, packet) = (text("matching"), text("actions"), text("packet"));
            let key = (count("worker"), format!("{matching} {actions}"));
            let (packets, bytes) = (count("packets"), count("bytes"));
            let before = self.seen.get(&key).copied().unwrap_or_default();
            // One that was made anew counts from nothing.
            let before = if before.0 > packets { (0, 0) } else { before };
            now.insert(key, (packets, bytes));
            if quiet || packets == before.0 {
                continue;
            }
            let (packets, bytes) = (packets - before.0, bytes.saturating_sub(before.1));
            // Packets that come back from the datapath (recirculated) have no path from the beginning.
            let first = !matching.contains("recirc_id(0x") && self.paths.get(&matching) != Some(&actions);
            let path = if first {
                daemon_json(o, "trace", &[bridge, &packet])?["trace"].clone()
            } else {
                Value::Null
            };
            self.paths.insert(matching.clone(), actions.clone());
            shown += 1;
            if o.json {
                print(&format!(
                    "{}\n",
                    serde_json::json!({"event": "packets", "packets": packets, "bytes": bytes, "match": matching,
                                       "actions": actions, "path": path})
                ))?;
                continue;
            }
            print(&format!("+{packets} packets, {bytes} bytes: {matching}, actions:{actions}\n"))?;
            for line in path.as_array().into_iter().flatten().filter_map(Value::as_str) {
                let around = ["Flow:", "bridge(", "---", "Megaflow:", "Datapath actions:"];
                if !line.is_empty() && !around.iter().any(|w| line.starts_with(w)) {
                    print(&format!("    {line}\n"))?;
                }
            }
        }
        self.seen = now;
        Ok(shown)
    }
}

/// `watch`: changes of the flow entries that `dump-flows` shows for a flow, as they come; and of our own bridges, every `--interval`, what packets of it did
/// and which way they took.
///
/// # Errors
/// A wrong flow, or the connection broke.
pub fn watch(o: &Options, a: &[&str]) -> Result<()> {
    let (switch, flow) = (a[0], a.get(1).copied().unwrap_or(""));
    let pause = o.interval.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(20));
    let patient = Options { timeout: Some(pause.min(Duration::from_millis(100))), ..o.clone() };
    let body = RequestBody::NxFlowMonitor(vec![monitored(&format!("!initial,{flow}"), 1)?]);
    let mut v = Vconn::open(switch, &patient)?;
    v.send(MultipartRequest { flags: MultipartFlags::empty(), body })?;
    v.flush()?;
    let mut kinds = (!switch.contains([':', '/'])).then(Kinds::default);
    if let Some(k) = &mut kinds {
        k.look(o, switch, flow, true)?;
    }
    let (started, mut next) = (Instant::now(), Instant::now() + pause);
    let mut left = o.count.unwrap_or(u64::MAX);
    while left > 0 && o.timeout.is_none_or(|t| started.elapsed() < t) {
        if let Some(f) = v.frame_within(pause)? {
            if let Err(e) = &f.message {
                bail!("unreadable: {e}");
            }
            let text = text::print::bytes(&f.raw, 1 + o.more, &NoNames);
            if let Ok(Message::Error(e)) = f.message.as_ref().map(|m| &m.body) {
                bail!("the switch refused: {}", text::print::error_name(e.error));
            }
            // The answer to the request itself says nothing: changes come after it.
            let updates: Vec<&str> = text.lines().skip(1).map(str::trim).filter(|l| !l.is_empty()).collect();
            if !updates.is_empty() {
                left = left.saturating_sub(updates.len() as u64);
                if o.json {
                    let message = crate::offline::message_json(&f.raw);
                    print(&format!("{}\n", serde_json::json!({"event": "flows", "message": message})))?;
                } else {
                    print(&updates.iter().fold(String::new(), |s, l| format!("{s}{l}\n")))?;
                }
            }
        }
        if let Some(k) = kinds.as_mut().filter(|_| Instant::now() >= next) {
            next = Instant::now() + pause;
            left = left.saturating_sub(k.look(o, switch, flow, false)?);
        }
    }
    Ok(())
}

fn echo(v: &mut Vconn, data: &bytes::Bytes) -> Result<Duration> {
    let started = Instant::now();
    let reply = v.transact(Message::EchoRequest(Echo { data: data.clone() }))?;
    match reply.body {
        Message::EchoReply(e) if e.data == *data => Ok(started.elapsed()),
        Message::EchoReply(_) => bail!("the echo came back changed"),
        other => bail!("a {} where an echo reply was due", other.msg_type()),
    }
}

/// `probe` and `ping`.
///
/// # Errors
/// No answer, or a wrong one.
pub fn ping(o: &Options, name: &str, a: &[&str]) -> Result<()> {
    let mut v = Vconn::open(a[0], o)?;
    if name == "probe" {
        echo(&mut v, &bytes::Bytes::new())?;
        return if o.json { print("{}\n") } else { Ok(()) };
    }
    let size: usize = match a.get(1) {
        None => 64,
        Some(s) => s
            .parse()
            .ok()
            .filter(|n| (8..=65535).contains(n))
            .with_context(|| format!("{s:?} is not a size from 8 to 65535"))?,
    };
    let data: bytes::Bytes = (0..size - 8).map(|i| i as u8).collect::<Vec<_>>().into();
    let mut times = Vec::new();
    for i in 0..o.count.unwrap_or(10) {
        let t = echo(&mut v, &data)?;
        if o.json {
            times.push(t.as_secs_f64() * 1e3);
        } else {
            print(&format!(
                "{size} bytes from {}: xid={:08x} time={:.3} ms\n",
                a[0],
                i + 1,
                t.as_secs_f64() * 1e3
            ))?;
        }
        if let Some(pause) = o.interval {
            std::thread::sleep(pause);
        }
    }
    if o.json {
        print(&format!("{}\n", serde_json::json!({"bytes": size, "times_ms": times})))?;
    }
    Ok(())
}

/// `benchmark`: echoes, one after the other.
///
/// # Errors
/// A wrong number, or no answer.
pub fn benchmark(o: &Options, a: &[&str]) -> Result<()> {
    let number = |s: &str, max: usize| {
        s.parse::<usize>()
            .ok()
            .filter(|n| (1..=max).contains(n))
            .with_context(|| format!("{s:?} is not a number from 1 to {max}"))
    };
    let size = number(a[1], 65535 - 8)?;
    let count = number(a[2], usize::MAX)?;
    let mut v = Vconn::open(a[0], o)?;
    let data: bytes::Bytes = vec![0u8; size].into();
    let started = Instant::now();
    for _ in 0..count {
        echo(&mut v, &data)?;
    }
    let s = started.elapsed().as_secs_f64().max(1e-9);
    let (packets, bytes) = (count as f64 / s, (count * (size + 8)) as f64 / s);
    if o.json {
        return print(&format!(
            "{}\n",
            serde_json::json!({"seconds": s, "packets_per_second": packets, "bytes_per_second": bytes})
        ));
    }
    print(&format!("Finished in {:.1} ms ({packets:.0} packets/s) ({bytes:.0} bytes/s)\n", s * 1e3))
}
