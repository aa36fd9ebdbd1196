//! The OpenFlow commands: each a request or a few, and their replies in ovs-ofctl's words.

use super::options::{Options, Usage};
use super::vconn::{Refused, Vconn};
use super::{daemon, print, read_file, EX_REFUSED, EX_USAGE};
use anyhow::{anyhow, bail, Context, Result};
use openflow::msg::multipart::queue::OFPQ_ALL;
use openflow::msg::multipart::{
    FlowStats, FlowStatsRequest, GroupStatsRequest, MeterRequest, PortStatsRequest, QueueStatsRequest,
};
use openflow::msg::{
    ConfigFlags, FlowMod, FlowModCommand, FlowModFlags, GroupModCommand, Message, MeterModCommand,
    MultipartReply, OfMessage, PacketOut, PortMod, QueueGetConfigRequest, ReplyBody, RequestBody,
    SwitchConfig, TableMod, OFP_NO_BUFFER,
};
use openflow::port::{Port, PortConfig};
use openflow::text::{self, json, FlowStyle, NoNames, PortNames};
use openflow::{GroupId, MeterId, Oxm, PortNo, TableId};
use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Write};

/// Refusals shown one by one before the rest is only counted.
const SHOWN: usize = 10;

type Names = Vec<(PortNo, String)>;

fn ports(v: &mut Vconn) -> Result<Vec<Port>> {
    match v.multipart(RequestBody::PortDesc)?.body {
        Message::MultipartReply(MultipartReply { body: ReplyBody::PortDesc(p), .. }) => Ok(p),
        _ => bail!("the switch did not describe its ports"),
    }
}

fn names_of(v: &mut Vconn) -> Result<Names> {
    Ok(ports(v)?.iter().map(|p| (p.port_no, p.name.to_string())).collect())
}

/// Names to print by: only if asked for, or for a person's eyes.
fn shown_names(o: &Options, v: &mut Vconn) -> Result<Names> {
    if o.names.unwrap_or_else(|| std::io::stdout().is_terminal()) {
        names_of(v)
    } else {
        Ok(Vec::new())
    }
}

/// A port by number, reserved name or the switch's name.
fn port_no(ports: &[Port], word: &str) -> Result<PortNo> {
    if let Some(p) = ports.iter().find(|p| p.name.as_str() == word) {
        return Ok(p.port_no);
    }
    let flow = text::parse_flow_filter(&format!("in_port={word}"), &NoNames).map_err(|_| {
        let names: Vec<String> = ports.iter().map(|p| p.name.to_string()).collect();
        anyhow!("no port {word:?}; there are {}", names.join(", "))
    })?;
    flow.matching.in_port().context("no such port")
}

fn show(o: &Options, m: &OfMessage, names: &dyn PortNames) -> Result<()> {
    if o.json {
        return print(&format!("{}\n", json::to_json(m)));
    }
    print(&text::print::message(m, 1 + o.more, names))
}

/// Asks and shows.
fn ask(o: &Options, v: &mut Vconn, body: RequestBody) -> Result<()> {
    let names = shown_names(o, v)?;
    let reply = v.multipart(body)?;
    show(o, &reply, &names)
}

/// Runs one command; the exit status.
///
/// # Errors
/// What the person typed, what the switch refused, or what broke.
pub fn run(o: &Options, name: &str, a: &[&str]) -> Result<u8> {
    if name == "diff-flows" {
        return diff_flows(o, a[0], a[1]);
    }
    let arg = a.get(1).copied();
    // Files are read before anything is sent: a missing one changes nothing.
    let file = match name {
        "add-flows" | "replace-flows" | "bundle" | "add-groups" => {
            let path = a[1];
            Some(String::from_utf8(read_file(path)?).map_err(|_| anyhow!("{path}: not UTF-8"))?)
        }
        _ => None,
    };
    let mut v = Vconn::open(a[0], o)?;
    let v = &mut v;
    match name {
        "show" => {
            let names = shown_names(o, v)?;
            let features = v.transact(Message::FeaturesRequest)?;
            let desc = v.multipart(RequestBody::PortDesc)?;
            let config = v.transact(Message::GetConfigRequest)?;
            if o.json {
                let all: Vec<_> = [&features, &desc, &config].into_iter().map(json::to_json).collect();
                print(&format!("{}\n", serde_json::Value::from(all)))?;
            } else {
                for m in [&features, &desc, &config] {
                    show(o, m, &names)?;
                }
            }
        }
        "dump-desc" => ask(o, v, RequestBody::Desc)?,
        "dump-tables" => dump_tables(o, v, a[0])?,
        "dump-table-features" => ask(o, v, RequestBody::TableFeatures(Vec::new()))?,
        "dump-group-features" => ask(o, v, RequestBody::GroupFeatures)?,
        "meter-features" => ask(o, v, RequestBody::MeterFeatures)?,
        "dump-flows" => dump_flows(o, v, arg.unwrap_or(""))?,
        "dump-aggregate" => {
            let request = filter(v, arg.unwrap_or(""))?;
            ask(o, v, RequestBody::Aggregate(request))?;
        }
        "add-flow" => flow_mod(o, v, a[1], FlowModCommand::ADD)?,
        "mod-flows" => {
            let c = if o.strict { FlowModCommand::MODIFY_STRICT } else { FlowModCommand::MODIFY };
            flow_mod(o, v, a[1], c)?;
        }
        "del-flows" => {
            let c = if o.strict { FlowModCommand::DELETE_STRICT } else { FlowModCommand::DELETE };
            flow_mod(o, v, arg.unwrap_or(""), c)?;
        }
        "add-flows" => {
            let names = names_of(v)?;
            let parse = |l: &str| text::parse_flow_line(l, FlowModCommand::ADD, &names).map(Message::from);
            return send_file(o, v, a[1], file.as_deref().unwrap_or(""), &parse, o.bundle);
        }
        "bundle" => {
            let names = names_of(v)?;
            let parse = |l: &str| text::parse_bundle_line(l, &names);
            return send_file(o, v, a[1], file.as_deref().unwrap_or(""), &parse, true);
        }
        "add-groups" => {
            let names = names_of(v)?;
            let parse = |l: &str| text::parse_group_line(l, GroupModCommand::ADD, &names).map(Message::from);
            return send_file(o, v, a[1], file.as_deref().unwrap_or(""), &parse, o.bundle);
        }
        "replace-flows" => return replace_flows(o, v, a[1], file.as_deref().unwrap_or("")),
        "dump-ports" => {
            let port_no = match arg {
                Some(p) => port_no(&ports(v)?, p)?,
                None => PortNo::ANY,
            };
            ask(o, v, RequestBody::PortStats(PortStatsRequest { port_no }))?;
        }
        "dump-ports-desc" => {
            let names = shown_names(o, v)?;
            let mut reply = v.multipart(RequestBody::PortDesc)?;
            if let (
                Some(word),
                Message::MultipartReply(MultipartReply { body: ReplyBody::PortDesc(list), .. }),
            ) = (arg, &mut reply.body)
            {
                let no = port_no(list, word)?;
                list.retain(|p| p.port_no == no);
            }
            show(o, &reply, &names)?;
        }
        "mod-port" => mod_port(o, v, a)?,
        "mod-table" => {
            let table = match a[1] {
                "all" | "ALL" => TableId::ALL,
                t => TableId(t.parse().with_context(|| format!("table {t:?}"))?),
            };
            let config = text::parse_table_mod_word(a[2])?;
            one(o, v, TableMod { table_id: table, config })?;
        }
        "get-frags" => {
            let m = v.transact(Message::GetConfigRequest)?;
            let Message::GetConfigReply(c) = &m.body else { bail!("the switch did not say") };
            let word = match ConfigFlags(c.flags.0 & ConfigFlags::FRAG_MASK.0) {
                ConfigFlags::FRAG_NORMAL => "normal",
                ConfigFlags::FRAG_DROP => "drop",
                _ => "reassemble",
            };
            print(&if o.json { format!("{}\n", json::to_json(&m)) } else { format!("{word}\n") })?;
        }
        "set-frags" => {
            let flags = match a[1] {
                "normal" => ConfigFlags::FRAG_NORMAL,
                "drop" => ConfigFlags::FRAG_DROP,
                "reassemble" => ConfigFlags::FRAG_REASM,
                w => return Err(Usage(format!("{w:?} is unknown; write normal, drop or reassemble")).into()),
            };
            let Message::GetConfigReply(c) = v.transact(Message::GetConfigRequest)?.body else {
                bail!("the switch did not say how it is configured");
            };
            one(o, v, Message::SetConfig(SwitchConfig { flags, ..c }))?;
        }
        "add-group" | "mod-group" | "del-groups" => {
            let names = names_of(v)?;
            let c = match name {
                "add-group" => GroupModCommand::ADD,
                "mod-group" => GroupModCommand::MODIFY,
                _ => GroupModCommand::DELETE,
            };
            let m = text::parse_group(arg.unwrap_or(""), c, &names)?;
            one(o, v, m)?;
        }
        "dump-groups" => {
            let names = shown_names(o, v)?;
            let mut reply = v.multipart(RequestBody::GroupDesc)?;
            if let (
                Some(word),
                Message::MultipartReply(MultipartReply { body: ReplyBody::GroupDesc(list), .. }),
            ) = (arg, &mut reply.body)
            {
                let id = group_id(word)?;
                list.retain(|g| id == GroupId::ALL || g.group_id == id);
            }
            show(o, &reply, &names)?;
        }
        "dump-group-stats" => {
            let group_id = arg.map_or(Ok(GroupId::ALL), group_id)?;
            ask(o, v, RequestBody::Group(GroupStatsRequest { group_id }))?;
        }
        "add-meter" | "mod-meter" | "del-meter" | "del-meters" => {
            let c = match name {
                "add-meter" => MeterModCommand::ADD,
                "mod-meter" => MeterModCommand::MODIFY,
                _ => MeterModCommand::DELETE,
            };
            let m = text::parse_meter(arg.unwrap_or(""), c)?;
            one(o, v, m)?;
        }
        "dump-meter" | "dump-meters" => {
            let meter_id = arg.map_or(Ok(MeterId::ALL), text::parse_meter_id)?;
            ask(o, v, RequestBody::MeterConfig(MeterRequest { meter_id }))?;
        }
        "meter-stats" => {
            let meter_id = arg.map_or(Ok(MeterId::ALL), text::parse_meter_id)?;
            ask(o, v, RequestBody::Meter(MeterRequest { meter_id }))?;
        }
        "queue-stats" => {
            let port_no = match arg {
                None | Some("ALL" | "all" | "ANY" | "any") => PortNo::ANY,
                Some(p) => port_no(&ports(v)?, p)?,
            };
            let queue_id = match a.get(2) {
                None | Some(&"ALL" | &"all") => OFPQ_ALL,
                Some(q) => q.parse().with_context(|| format!("queue {q:?}"))?,
            };
            ask(o, v, RequestBody::Queue(QueueStatsRequest { port_no, queue_id }))?;
        }
        "queue-get-config" => {
            let port = match arg {
                None | Some("ALL" | "all" | "ANY" | "any") => PortNo::ANY,
                Some(p) => port_no(&ports(v)?, p)?,
            };
            let names = shown_names(o, v)?;
            let m = v.transact(Message::QueueGetConfigRequest(QueueGetConfigRequest { port }))?;
            show(o, &m, &names)?;
        }
        "packet-out" => packet_out(o, v, &a[1..])?,
        other => bail!("{other}: not yet"),
    }
    Ok(0)
}

/// The statistics as OpenFlow has them; and what limits tables have, which only our own daemon says.
fn dump_tables(o: &Options, v: &mut Vconn, switch: &str) -> Result<()> {
    let reply = v.multipart(RequestBody::Table)?;
    let local = !switch.contains([':', '/']);
    let limits = if local { daemon(o, "get-table", &[switch.to_string()]).ok() } else { None };
    let limits = limits.filter(|l| !l.trim().is_empty() && l.trim() != "[]");
    if !o.json {
        show(o, &reply, &NoNames)?;
        return print(
            &limits.map_or(String::new(), |l| format!("\nlimits:\n  {}\n", l.trim().replace('\n', "\n  "))),
        );
    }
    let mut all = json::to_json(&reply);
    if let (Some(l), Some(all)) = (limits, all.as_object_mut()) {
        all.insert("limits".into(), serde_json::from_str(&l)?);
    }
    print(&format!("{all}\n"))
}

fn group_id(word: &str) -> Result<GroupId> {
    let digits = word.strip_prefix("group_id=").unwrap_or(word);
    match digits {
        "all" | "ALL" => Ok(GroupId::ALL),
        d => Ok(GroupId(d.parse().with_context(|| format!("group {word:?}"))?)),
    }
}

/// Sends one request without reply and waits until the switch has dealt with it.
fn one(o: &Options, v: &mut Vconn, m: impl Into<Message>) -> Result<()> {
    if o.bundle {
        v.bundle(vec![m.into()]).map_err(|(_, e)| e)?;
        return done(o);
    }
    let mut fault: Option<Refused> = None;
    v.pipeline([m.into()], |_, e| {
        fault.get_or_insert(e);
    })?;
    match fault {
        Some(e) => Err(e.into()),
        None => done(o),
    }
}

/// What has been done needs no words; a machine gets an empty object.
fn done(o: &Options) -> Result<()> {
    if o.json {
        print("{}\n")?;
    }
    Ok(())
}

fn flow_mod(o: &Options, v: &mut Vconn, text: &str, command: FlowModCommand) -> Result<()> {
    // The file name "-" reads lines from standard input, as everywhere.
    if text == "-" {
        let all = String::from_utf8(read_file("-")?).map_err(|_| anyhow!("standard input: not UTF-8"))?;
        let names = names_of(v)?;
        let parse = |l: &str| text::parse_flow(l, command, &names).map(Message::from);
        return match send_file(o, v, "standard input", &all, &parse, o.bundle)? {
            0 => Ok(()),
            _ => bail!("some flows were refused"),
        };
    }
    // Names are asked for only if the text may hold one.
    let m = match text::parse_flow(text, command, &NoNames) {
        Ok(m) => m,
        Err(_) => text::parse_flow(text, command, &names_of(v)?)?,
    };
    one(o, v, m)
}

fn filter(v: &mut Vconn, text: &str) -> Result<FlowStatsRequest> {
    match text::parse_flow_filter(text, &NoNames) {
        Ok(r) => Ok(r),
        Err(_) => Ok(text::parse_flow_filter(text, &names_of(v)?)?),
    }
}

/// What a flow is sorted by: a number where there is one.
fn sort_key(f: &FlowStats, by: &str) -> u128 {
    match by {
        "" | "priority" => f.priority.into(),
        "table" | "table_id" => f.table_id.0.into(),
        "cookie" => f.cookie.into(),
        "n_packets" | "packets" => f.packet_count.into(),
        "n_bytes" | "bytes" => f.byte_count.into(),
        "duration" => u128::from(f.duration_sec) << 32 | u128::from(f.duration_nsec),
        name => f.matching.known().find(|x| x.field.def().name == name).map_or(0, |x| x.value + 1),
    }
}

fn dump_flows(o: &Options, v: &mut Vconn, text: &str) -> Result<()> {
    let request = filter(v, text)?;
    let names = shown_names(o, v)?;
    let style = FlowStyle { stats: !o.no_stats };
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut line = String::new();
    if o.sort.is_empty() {
        let mut first = true;
        if o.json {
            out.write_all(b"[")?;
        }
        v.multipart_parts(RequestBody::Flow(request), |_, body| {
            let ReplyBody::Flow(flows) = body else { bail!("the switch did not answer with flows") };
            for f in &flows {
                line.clear();
                if o.json {
                    line.push_str(if first { "" } else { "," });
                    line.push_str(&json::value(f).to_string());
                } else {
                    text::write_flow_stats(&mut line, f, style, &names);
                    line.push('\n');
                }
                first = false;
                out.write_all(line.as_bytes())?;
            }
            Ok(())
        })?;
        if o.json {
            out.write_all(b"]\n")?;
        }
    } else {
        let mut all = Vec::new();
        v.multipart_parts(RequestBody::Flow(request), |_, body| {
            let ReplyBody::Flow(flows) = body else { bail!("the switch did not answer with flows") };
            all.extend(flows);
            Ok(())
        })?;
        for (by, reverse) in o.sort.iter().rev() {
            all.sort_by(|a, b| {
                let order = sort_key(a, by).cmp(&sort_key(b, by));
                if *reverse {
                    order.reverse()
                } else {
                    order
                }
            });
        }
        if o.json {
            writeln!(out, "{}", json::value(&all))?;
        } else {
            for f in &all {
                line.clear();
                text::write_flow_stats(&mut line, f, style, &names);
                line.push('\n');
                out.write_all(line.as_bytes())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

type ParseLine<'a> = dyn Fn(&str) -> Result<Message, text::TextError> + 'a;

/// Sends a file's lines: checked as a whole first, then as a bundle or with many in flight.
fn send_file(
    o: &Options,
    v: &mut Vconn,
    path: &str,
    content: &str,
    parse: &ParseLine<'_>,
    bundle: bool,
) -> Result<u8> {
    let in_file = |line: usize, mut e: text::TextError| {
        e.line = line;
        anyhow!("{path}: {e}")
    };
    let lines = || text::flow::lines(content);
    if bundle {
        let all: Result<Vec<Message>> = lines().map(|(n, l)| parse(l).map_err(|e| in_file(n, e))).collect();
        return match v.bundle(all?) {
            Ok(()) => done(o).map(|()| 0),
            Err((Some(i), e)) => {
                let n = lines().nth(i).map_or(0, |(n, _)| n);
                Err(e.context(format!("{path}: line {n}: nothing was changed")))
            }
            Err((None, e)) => Err(e.context(format!("{path}: nothing was changed"))),
        };
    }
    for (n, l) in lines() {
        parse(l).map_err(|e| in_file(n, e))?;
    }
    // Read a second time as it is sent: a million flows as text are a tenth of their size as messages.
    let mut refused: BTreeMap<usize, Refused> = BTreeMap::new();
    let mut count = 0usize;
    v.pipeline(lines().filter_map(|(_, l)| parse(l).ok()), |i, e| {
        count += 1;
        if refused.len() < SHOWN {
            refused.insert(i, e);
        }
    })?;
    for (i, e) in &refused {
        let n = lines().nth(*i).map_or(0, |(n, _)| n);
        eprintln!("ofctl: {path}: line {n}: {e}");
    }
    if count > refused.len() {
        eprintln!("ofctl: {path}: {} more lines were refused", count - refused.len());
    }
    if count > 0 {
        return Ok(EX_REFUSED);
    }
    done(o)?;
    Ok(0)
}

/// What makes two flow entries the same one: table, priority and match in any order and spelling.
type Key = (u8, u16, Vec<(String, u128, u128)>, String);

fn key(table: TableId, priority: u16, m: &openflow::Match) -> Key {
    let mut known: Vec<_> = m
        .known()
        .map(|f| (f.field.def().name.to_string(), f.value & f.full_mask(), f.full_mask()))
        .filter(|f| f.2 != 0)
        .collect();
    known.sort();
    let unknown: String =
        m.fields.iter().filter(|f| matches!(f, Oxm::Unknown(_))).map(|f| format!("{f:?}")).collect();
    (table.0, priority, known, unknown)
}

fn flow_of(f: FlowStats) -> FlowMod {
    FlowMod {
        cookie: f.cookie,
        table_id: f.table_id,
        idle_timeout: f.idle_timeout,
        hard_timeout: f.hard_timeout,
        priority: f.priority,
        flags: f.flags,
        matching: f.matching,
        instructions: f.instructions,
        ..FlowMod::default()
    }
}

fn same(a: &FlowMod, b: &FlowMod) -> bool {
    // CHECK_OVERLAP and RESET_COUNTS are wishes about the request, not properties of the flow.
    let kept = |f: FlowModFlags| f.0 & !(FlowModFlags::CHECK_OVERLAP.0 | FlowModFlags::RESET_COUNTS.0);
    let words = |f: &FlowMod| text::print_instructions(&f.instructions);
    a.cookie == b.cookie
        && (a.idle_timeout, a.hard_timeout) == (b.idle_timeout, b.hard_timeout)
        && kept(a.flags) == kept(b.flags)
        && (a.instructions == b.instructions || words(a) == words(b))
}

fn flows_of_switch(v: &mut Vconn) -> Result<BTreeMap<Key, FlowMod>> {
    let mut all = BTreeMap::new();
    v.multipart_parts(RequestBody::Flow(FlowStatsRequest::default()), |_, body| {
        let ReplyBody::Flow(flows) = body else { bail!("the switch did not answer with flows") };
        for f in flows {
            all.insert(key(f.table_id, f.priority, &f.matching), flow_of(f));
        }
        Ok(())
    })?;
    Ok(all)
}

fn flows_of_text(path: &str, content: &str, names: &dyn PortNames) -> Result<BTreeMap<Key, FlowMod>> {
    let flows =
        text::parse_flows_file(content, FlowModCommand::ADD, names).map_err(|e| anyhow!("{path}: {e}"))?;
    Ok(flows.into_iter().map(|f| (key(f.table_id, f.priority, &f.matching), f)).collect())
}

fn replace_flows(o: &Options, v: &mut Vconn, path: &str, content: &str) -> Result<u8> {
    let names = names_of(v)?;
    let wanted = flows_of_text(path, content, &names)?;
    let found = flows_of_switch(v)?;
    let mut mods: Vec<Message> = Vec::new();
    for (k, f) in &found {
        if !wanted.contains_key(k) {
            mods.push(FlowMod { command: FlowModCommand::DELETE_STRICT, cookie: 0, ..f.clone() }.into());
        }
    }
    for (k, f) in wanted {
        if found.get(&k).is_none_or(|g| !same(g, &f)) {
            mods.push(FlowMod { command: FlowModCommand::ADD, ..f }.into());
        }
    }
    if o.bundle {
        v.bundle(mods).map_err(|(_, e)| e.context("nothing was changed"))?;
        return done(o).map(|()| 0);
    }
    let mut count = 0;
    v.pipeline(mods, |_, e| {
        count += 1;
        if count <= SHOWN {
            eprintln!("ofctl: {path}: {e}");
        }
    })?;
    if count > 0 {
        return Ok(EX_REFUSED);
    }
    done(o)?;
    Ok(0)
}

fn source(o: &Options, name: &str) -> Result<BTreeMap<Key, FlowMod>> {
    if name == "-" || std::fs::metadata(name).is_ok_and(|m| m.is_file()) {
        let content = String::from_utf8(read_file(name)?).map_err(|_| anyhow!("{name}: not UTF-8"))?;
        return flows_of_text(name, &content, &NoNames);
    }
    flows_of_switch(&mut Vconn::open(name, o)?)
}

fn diff_flows(o: &Options, first: &str, second: &str) -> Result<u8> {
    let (a, b) = (source(o, first)?, source(o, second)?);
    let word = |f: &FlowMod| text::print_flow_mod(f, &NoNames).trim_start_matches("add ").to_string();
    let (mut less, mut more) = (Vec::new(), Vec::new());
    let mut out = String::new();
    let keys: std::collections::BTreeSet<&Key> = a.keys().chain(b.keys()).collect();
    for k in keys {
        let (x, y) = (a.get(k), b.get(k));
        if let (Some(x), Some(y)) = (x, y) {
            if same(x, y) {
                continue;
            }
        }
        if let Some(x) = x {
            out.push_str(&format!("-{}\n", word(x)));
            less.push(word(x));
        }
        if let Some(y) = y {
            out.push_str(&format!("+{}\n", word(y)));
            more.push(word(y));
        }
    }
    let differ = !out.is_empty();
    print(&if o.json {
        format!("{}\n", serde_json::json!({"only_first": less, "only_second": more}))
    } else {
        out
    })?;
    Ok(if differ { EX_USAGE } else { 0 })
}

fn mod_port(o: &Options, v: &mut Vconn, a: &[&str]) -> Result<()> {
    let list = ports(v)?;
    let no = port_no(&list, a[1])?;
    let Some(port) = list.iter().find(|p| p.port_no == no) else { bail!("no port {:?}", a[1]) };
    let (mut config, mut mask) = (PortConfig::empty(), PortConfig::empty());
    for w in &a[2..] {
        let (c, m) = text::parse_port_mod_word(w)?;
        config.0 = config.0 & !m.0 | c.0;
        mask.0 |= m.0;
    }
    one(o, v, PortMod { port_no: no, hw_addr: port.hw_addr, config, mask, ..PortMod::default() })
}

fn packet_out(o: &Options, v: &mut Vconn, a: &[&str]) -> Result<()> {
    let names = names_of(v)?;
    if a.len() == 1 {
        return one(o, v, text::parse_packet_out(a[0], &names)?);
    }
    // The old way: IN_PORT ACTIONS PACKET...
    if a.len() < 3 {
        return Err(
            Usage("usage: ofctl packet-out SWITCH \"in_port=P packet=HEX actions=...\"".into()).into()
        );
    }
    let list = ports(v)?;
    let in_port = match a[0].to_ascii_uppercase().as_str() {
        "NONE" | "CONTROLLER" => PortNo::CONTROLLER,
        _ => port_no(&list, a[0])?,
    };
    let actions = text::parse_actions(a[1], &names)?;
    for hex in &a[2..] {
        let one_of =
            text::parse_packet_out(&format!("in_port=controller packet={hex} actions=drop"), &NoNames)?;
        one(
            o,
            v,
            PacketOut { buffer_id: OFP_NO_BUFFER, in_port, actions: actions.clone(), data: one_of.data },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_flow_is_found_however_it_is_spelled() {
        let f = |t: &str| text::parse_flow(t, FlowModCommand::ADD, &NoNames).unwrap();
        let k = |t: &str| {
            let f = f(t);
            key(f.table_id, f.priority, &f.matching)
        };
        assert_eq!(
            k("tcp,in_port=1,tp_dst=80,actions=drop"),
            k("dl_type=0x800,nw_proto=6,in_port=1,tp_dst=80,actions=1")
        );
        assert_ne!(k("ip,nw_src=10.0.0.0/8,actions=drop"), k("ip,nw_src=10.0.0.0/9,actions=drop"));
        assert_ne!(k("priority=1,actions=drop"), k("priority=2,actions=drop"));
        assert!(same(&f("cookie=1,actions=1"), &f("cookie=1,check_overlap,actions=output:1")));
        assert!(!same(&f("actions=1"), &f("actions=2")));
    }
}
