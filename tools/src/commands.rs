//! What the command socket understands: the configuration, datapath and debugging commands of `ofctl`, and `ovs-appctl`'s names for
//! those that Open vSwitch has too.
//!
//! A first parameter `--json` asks for JSON. Answers are text with a line end, or one line of refusal.

use crate::config::{self, BridgeSettings, ControllerConfig, FailMode};
use crate::daemon::Daemon;
use datapath::datapath::WorkerStats;
use datapath::stats::{LONG_NAMES, LONG_US};
use datapath::upcall::WorkerId;
use serde_json::{json, Value};
use std::fmt::Write;
use std::time::Instant;

/// Name, `ovs-appctl`'s names, arguments in words.
const COMMANDS: &[(&str, &[&str], &str)] = &[
    ("add-br", &[], "BRIDGE [dpid=HEX] [fail-mode=M] [mfr|hw|sw|serial|dp=TEXT]"),
    ("del-br", &[], "BRIDGE"),
    ("list-br", &["ofproto/list"], ""),
    ("add-port", &[], "BRIDGE PORT [ofport=N] [type=T] [KEY=VALUE]..."),
    ("del-port", &[], "[BRIDGE] PORT"),
    ("list-ports", &[], "BRIDGE"),
    ("set-port", &[], "PORT KEY=VALUE..."),
    ("set-queue", &[], "BRIDGE PORT QUEUE|port [min-rate=BPS] [max-rate=BPS]"),
    ("del-queue", &[], "BRIDGE PORT QUEUE|port"),
    ("set-table", &[], "BRIDGE TABLE [flow-limit=N|none] [overflow-policy=refuse|evict]"),
    ("get-table", &[], "BRIDGE [TABLE]"),
    ("set-controller", &[], "BRIDGE TARGET..."),
    ("del-controller", &[], "BRIDGE"),
    ("get-controller", &[], "BRIDGE"),
    ("set-fail-mode", &[], "BRIDGE secure|standalone"),
    ("list-connections", &["bridge/connections"], "[BRIDGE]"),
    ("dump-megaflows", &["dpctl/dump-flows", "dpif/dump-flows", "dpif-netdev/dump-flows"], "[BRIDGE [FLOW]]"),
    ("show-top", &[], "[FLOWS]"),
    ("pmd-stats-show", &["dpif-netdev/pmd-stats-show"], ""),
    ("pmd-stats-clear", &["dpif-netdev/pmd-stats-clear"], ""),
    ("pmd-rxq-show", &["dpif-netdev/pmd-rxq-show"], ""),
    ("pmd-rxq-rebalance", &["dpif-netdev/pmd-rxq-rebalance"], ""),
    ("pmd-sleep-show", &["dpif-netdev/pmd-sleep-show"], ""),
    ("get-pmd", &[], ""),
    ("set-pmd", &[], "KEY=VALUE..."),
    ("port-xstats", &[], "[PORT]"),
    ("pool-show", &["netdev-dpdk/get-mempool-info"], ""),
    ("pmd-perf-show", &["dpif-netdev/pmd-perf-show"], ""),
    ("emc-set", &[], "[pmd=WORKER] auto|ENTRIES"),
    ("upcall-show", &["upcall/show"], ""),
    ("set-flow-limit", &["upcall/set-flow-limit"], "N"),
    ("state-show", &[], ""),
    ("memory-show", &["memory/show"], ""),
    ("log-level", &["vlog/set"], "[LEVEL]"),
    ("log-level-show", &["vlog/list"], ""),
    ("trace", &["ofproto/trace"], "BRIDGE FLOW|in_port=N HEX"),
    ("drops", &["coverage/show"], ""),
    ("show-macs", &["fdb/show"], "BRIDGE"),
    ("show-dp", &["dpif/show", "dpctl/show"], ""),
    ("metrics", &[], ""),
    ("version", &[], ""),
    ("list-commands", &["help"], ""),
    ("exit", &["quit"], ""),
];

/// Commands that change what `--state-dir` keeps of the configuration.
const CONFIGURING: &[&str] = &[
    "add-br",
    "del-br",
    "add-port",
    "del-port",
    "set-port",
    "set-queue",
    "del-queue",
    "set-controller",
    "del-controller",
    "set-fail-mode",
    "set-pmd",
    "set-table",
    "emc-set",
    "set-flow-limit",
];

/// Commands that a later step brings.
const NOT_YET: &[&str] = &["tnl/ports/show", "dpctl/dump-conntrack"];

fn usage(name: &str) -> String {
    let args = COMMANDS.iter().find(|c| c.0 == name).map_or("", |c| c.2);
    format!("usage: {name} {args}").trim_end().to_string()
}

fn lines(list: impl IntoIterator<Item = String>) -> String {
    list.into_iter().fold(String::new(), |s, l| s + &l + "\n")
}

/// Does what a request says.
///
/// # Errors
/// One line: what, where, what would be right.
pub async fn execute(d: &mut Daemon, method: &str, params: &[String]) -> Result<String, String> {
    let json = params.iter().any(|p| p == "--json");
    let params: Vec<&str> = params.iter().map(String::as_str).filter(|p| *p != "--json").collect();
    let Some((name, ..)) = COMMANDS.iter().find(|(n, other, _)| *n == method || other.contains(&method))
    else {
        if NOT_YET.contains(&method) {
            return Err(format!("{method}: not yet"));
        }
        return Err(format!("\"{method}\" is not a valid command (see list-commands)"));
    };
    let now = Instant::now();
    let answer = match *name {
        "add-br" => add_br(d, &params, now).await?,
        "del-br" => {
            let [name] = params[..] else { return Err(usage(name)) };
            d.forget_bridge(name, now)?;
            Answer::none()
        }
        "list-br" => Answer::list(d.units.keys().cloned().collect()),
        "add-port" => add_port(d, &params, now)?,
        "del-port" => del_port(d, &params, now)?,
        "list-ports" => list_ports(d, &params)?,
        "set-port" => set_port(d, &params, now)?,
        "set-queue" => set_queue(d, &params, now, true)?,
        "del-queue" => set_queue(d, &params, now, false)?,
        "set-table" => set_table(d, &params, now)?,
        "get-table" => get_table(d, &params)?,
        "set-controller" => {
            let [bridge, targets @ ..] = &params[..] else { return Err(usage(name)) };
            let list: Result<Vec<ControllerConfig>, String> = targets.iter().map(|t| t.parse()).collect();
            d.set_controllers(bridge, list?, now).await?;
            Answer::none()
        }
        "del-controller" => {
            let [bridge] = params[..] else { return Err(usage(name)) };
            d.set_controllers(bridge, Vec::new(), now).await?;
            Answer::none()
        }
        "get-controller" => get_controller(d, &params)?,
        "set-fail-mode" => {
            let [bridge, mode] = params[..] else { return Err(usage(name)) };
            let mode: FailMode = mode.parse()?;
            let u = d.unit(bridge)?;
            u.settings.fail_mode = mode;
            let id = u.id;
            d.switch.set_standalone(id, mode == FailMode::Standalone);
            Answer::none()
        }
        "list-connections" => connections(d, &params, now)?,
        "dump-megaflows" => megaflows(d, &params, now)?,
        "show-top" => show_top(d, &params, now)?,
        "pmd-stats-show" => pmd_stats(d),
        "pmd-stats-clear" => {
            d.switch.datapath().clear_worker_stats();
            Answer::none()
        }
        "pmd-rxq-show" => pmd_rxq(d),
        "pmd-perf-show" => pmd_perf(d),
        "pmd-rxq-rebalance" => {
            let moves = d.switch.datapath().rebalance();
            let text = lines(moves.iter().map(|m| {
                format!("port: {}  queue-id: {}  core {} -> core {}", m.port_name, m.rxq, m.from, m.to)
            }));
            let text = if moves.is_empty() { "all queues stay where they are\n".into() } else { text };
            Answer { text, json: serde_json::to_value(&moves).unwrap_or_default() }
        }
        "pmd-sleep-show" => pmd_sleep(d),
        "get-pmd" => {
            let all = d.switch.datapath().pmd_settings().named();
            let text = lines(all.iter().map(|(k, v)| format!("{k}={v}")));
            let json = all.into_iter().map(|(k, v)| (k.to_owned(), Value::from(v)));
            Answer { text, json: json.collect::<serde_json::Map<_, _>>().into() }
        }
        "set-pmd" => {
            // All words are read before anything is changed.
            let mut s = d.switch.datapath().pmd_settings();
            for w in &params {
                let (k, v) = w.split_once('=').ok_or_else(|| format!("{w:?} is not KEY=VALUE"))?;
                let k = k.strip_prefix("other_config:").unwrap_or(k);
                let k = if k.starts_with("pmd") { k.to_owned() } else { format!("pmd-{k}") };
                s.set(&k, v)?;
            }
            d.switch.datapath().set_pmd_settings(&s).map_err(|e| e.to_string())?;
            Answer::none()
        }
        "port-xstats" => port_xstats(d, &params)?,
        "pool-show" => pools(),
        "state-show" => state_show(d),
        "upcall-show" => Answer { text: d.switch.upcall_show(), json: d.switch.upcall_state() },
        "set-flow-limit" => {
            let [n] = params[..] else { return Err(usage(name)) };
            let n = n.parse().map_err(|_| format!("{n:?} is not a number of megaflows"))?;
            d.switch.set_flow_limit(n).map_err(|e| e.to_string())?;
            Answer::none()
        }
        "emc-set" => {
            let (worker, size) = match params[..] {
                [size] => (None, size),
                [worker, size] => (Some(worker), size),
                _ => return Err(usage(name)),
            };
            let worker = worker.map(|w| {
                w.strip_prefix("pmd=").and_then(|w| w.parse().ok()).map(WorkerId).ok_or_else(|| usage(name))
            });
            d.switch.datapath().set_emc(worker.transpose()?, size.parse()?).map_err(|e| e.to_string())?;
            Answer::none()
        }
        "memory-show" => {
            let m = d.switch.memory();
            let text = lines(m.iter().map(|(n, v)| format!("{n}: {v}")));
            Answer {
                text,
                json: m
                    .into_iter()
                    .map(|(n, v)| (n, Value::from(v)))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            }
        }
        "log-level" => {
            match params[..] {
                [] => Answer::text(d.log.name().into()),
                // `vlog/set` takes MODULE:DESTINATION:LEVEL; the level is what we have.
                [level] => {
                    d.log.set(level.rsplit(':').next().unwrap_or(level))?;
                    Answer::none()
                }
                _ => return Err(usage(name)),
            }
        }
        "log-level-show" => Answer::text(d.log.name().into()),
        "trace" => trace(d, &params, now)?,
        "drops" => {
            let drops = d.switch.drops();
            let width = drops.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
            let text =
                lines(drops.iter().filter(|(_, n)| *n > 0).map(|(why, n)| format!("{why:width$} {n}")));
            let text = if text.is_empty() { "no packet was dropped\n".into() } else { text };
            Answer {
                text,
                json: drops
                    .into_iter()
                    .map(|(n, v)| (n, Value::from(v)))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            }
        }
        "show-macs" => macs(d, &params)?,
        "show-dp" => show_dp(d),
        "metrics" => Answer::text(crate::metrics::render(d)),
        "version" => Answer::text(format!("ofswitchd {}", env!("CARGO_PKG_VERSION"))),
        "list-commands" => Answer::list(
            COMMANDS
                .iter()
                .flat_map(|(n, other, args)| {
                    std::iter::once(n)
                        .chain(*other)
                        .map(move |n| format!("  {n:30} {args}").trim_end().to_string())
                })
                .collect(),
        ),
        "exit" => {
            d.stopping = true;
            Answer::none()
        }
        other => return Err(format!("{other}: not yet")),
    };
    if CONFIGURING.contains(name) {
        d.save();
    }
    Ok(if json { format!("{}\n", answer.json) } else { answer.text })
}

/// An answer in words and as JSON.
struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    fn none() -> Self {
        Self { text: String::new(), json: json!({}) }
    }
    fn text(mut text: String) -> Self {
        let json = json!({"text": text.trim_end()});
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self { text, json }
    }
    fn list(list: Vec<String>) -> Self {
        Self { json: list.clone().into(), text: lines(list) }
    }
}

async fn add_br(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let [name, options @ ..] = params else { return Err(usage("add-br")) };
    let mut s = BridgeSettings {
        n_buffers: 0,
        tables: Default::default(),
        name: (*name).into(),
        dpid: None,
        fail_mode: FailMode::Secure,
        ports: Vec::new(),
        controllers: Vec::new(),
        desc: Default::default(),
    };
    for o in options {
        match o.split_once('=') {
            Some(("dpid", v)) => s.dpid = Some(config::dpid(v)?),
            Some(("fail-mode" | "fail_mode", v)) => s.fail_mode = v.parse()?,
            Some((k, v)) if config::DESC_KEYS.contains(&k) => {
                s.desc.insert(k.into(), v.into());
            }
            _ => return Err(format!("{o:?} is unknown; {}", usage("add-br"))),
        }
    }
    d.add_bridge(s, now).await?;
    Ok(Answer::none())
}

fn add_port(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let [bridge, words @ ..] = params else { return Err(usage("add-port")) };
    if words.is_empty() {
        return Err(usage("add-port"));
    }
    let spec = config::port_spec(&words.join(","))?;
    let name = spec.name.clone();
    let no = d.add_port(bridge, spec, now)?;
    Ok(Answer { text: String::new(), json: json!({"port": name, "ofport": no}) })
}

fn del_port(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let (bridge, port) = match params {
        [bridge, port] => ((*bridge).to_string(), *port),
        [port] => {
            let found = d.units.values().find(|u| u.settings.ports.iter().any(|p| p.name == *port));
            (found.map(|u| u.settings.name.clone()).ok_or_else(|| format!("no port named {port}"))?, *port)
        }
        _ => return Err(usage("del-port")),
    };
    d.del_port(&bridge, port, now)?;
    Ok(Answer::none())
}

/// One word of `set-port`.
enum PortChange {
    Mtu(u32),
    Up(bool),
    Affinity(Vec<(usize, usize)>),
    /// An option that only a port opened anew takes.
    Anew(String, String),
}

fn set_port(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let [name, words @ ..] = params else { return Err(usage("set-port")) };
    let found = d.switch.datapath().ports().into_iter().find(|(_, p)| p.name == *name);
    let (_, info) = found.ok_or_else(|| format!("no port named {name}"))?;
    // All words are read before anything is changed.
    let mut changes = Vec::new();
    for w in words {
        let (key, value) = w.split_once('=').unwrap_or((w, ""));
        changes.push(match (key, value) {
            ("mtu" | "mtu_request", v) => match v.parse::<u32>() {
                Ok(n) if (68..=65535).contains(&n) => PortChange::Mtu(n),
                _ => return Err(format!("mtu={v} of port {name}: expected a number from 68 to 65535")),
            },
            ("admin", "up") => PortChange::Up(true),
            ("admin", "down") => PortChange::Up(false),
            ("pmd-rxq-affinity" | "other_config:pmd-rxq-affinity", v) => {
                PortChange::Affinity(datapath::rxq::affinity(v).map_err(|e| format!("port {name}: {e}"))?)
            }
            (k, v) if w.contains('=') && !matches!(k, "admin" | "ofport" | "type" | "name" | "peer") => {
                PortChange::Anew(k.into(), v.into())
            }
            _ => {
                return Err(format!(
                    "{w:?}: set-port takes mtu=N, admin=up|down, pmd-rxq-affinity=QUEUE:CORE,... and the options of the port's type as KEY=VALUE"
                ))
            }
        });
    }
    // What may be refused comes first.
    let anew: Vec<_> = changes
        .iter()
        .filter_map(|c| match c {
            PortChange::Anew(k, v) => Some((k.clone(), v.clone())),
            _ => None,
        })
        .collect();
    if !anew.is_empty() {
        reopen(d, name, &anew, now)?;
    }
    let dp = d.switch.datapath().clone();
    let port = dp.ports().into_iter().find(|(_, p)| p.name == *name).map(|(id, _)| id);
    let port = port.ok_or_else(|| format!("no port named {name}"))?;
    let mut kept = Vec::new();
    for change in changes {
        match change {
            PortChange::Anew(..) => {}
            PortChange::Mtu(mtu) => {
                dp.set_mtu(port, mtu).map_err(|e| e.to_string())?;
                // The kernel keeps the MTU of its own interfaces.
                if !matches!(info.kind.as_str(), "system" | "afxdp") {
                    kept.push(("mtu", mtu.to_string()));
                }
            }
            PortChange::Up(up) => dp.set_admin_up(port, up).map_err(|e| e.to_string())?,
            PortChange::Affinity(pins) => {
                dp.set_rxq_affinity(port, &pins).map_err(|e| e.to_string())?;
                let text: Vec<String> = pins.iter().map(|(q, c)| format!("{q}:{c}")).collect();
                kept.push(("pmd-rxq-affinity", text.join(",")));
            }
        }
    }
    for spec in d.units.values_mut().flat_map(|u| &mut u.settings.ports).filter(|p| p.name == *name) {
        for (k, v) in &kept {
            spec.options.remove("mtu_request");
            spec.options.insert((*k).into(), v.clone());
            if v.is_empty() {
                spec.options.remove(*k);
            }
        }
    }
    Ok(Answer::none())
}

/// Closes a port and opens it under the same number with other options; as it was if that is refused.
fn reopen(d: &mut Daemon, name: &str, options: &[(String, String)], now: Instant) -> Result<(), String> {
    let all = d.units.values().flat_map(|u| u.settings.ports.iter().map(move |p| (&u.settings.name, p)));
    let found = all.into_iter().find(|(_, p)| p.name == name).map(|(b, p)| (b.clone(), p.clone()));
    let (bridge, old) = found.ok_or_else(|| format!("port {name} is a bridge's own: it has no options"))?;
    let mut new = old.clone();
    for (k, v) in options {
        config::port_option(&mut new, k, v)?;
        if v.is_empty() {
            new.options.remove(k);
        }
    }
    config::check_port(&new)?;
    d.del_port(&bridge, name, now)?;
    if let Err(e) = d.add_port(&bridge, new, now) {
        return match d.add_port(&bridge, old, now) {
            Ok(_) => Err(e),
            Err(again) => Err(format!("{e}; and as it was it cannot be had any more: {again}")),
        };
    }
    Ok(())
}

fn port_xstats(d: &mut Daemon, params: &[&str]) -> Result<Answer, String> {
    let wanted = match params {
        [] => None,
        [name] => Some(*name),
        _ => return Err(usage("port-xstats")),
    };
    let dp = d.switch.datapath();
    let mut text = String::new();
    let mut json = serde_json::Map::new();
    for (id, info) in dp.ports() {
        if wanted.is_some_and(|w| w != info.name) {
            continue;
        }
        let all = dp.port_xstats(id);
        let width = all.iter().map(|(n, _)| n.len()).max().unwrap_or(0);
        let _ = writeln!(text, "{} ({}):", info.name, info.kind);
        for (n, v) in &all {
            let _ = writeln!(text, "  {n:width$} {v}");
        }
        let all: serde_json::Map<_, _> = all.into_iter().map(|(n, v)| (n, Value::from(v))).collect();
        json.insert(info.name, all.into());
    }
    match wanted {
        Some(name) if json.is_empty() => Err(format!("no port named {name} in the datapath")),
        _ => Ok(Answer { text, json: json.into() }),
    }
}

#[cfg(feature = "dpdk")]
fn pools() -> Answer {
    let all = datapath::dpdk::mempool::all();
    let mut text = String::new();
    for (name, node, bytes, buffers, free) in &all {
        let _ = writeln!(text, "{name}: NUMA node {node}, {buffers} buffers of {bytes} bytes, {free} free");
    }
    if all.is_empty() {
        text.push_str("no pool: no DPDK port has been made\n");
    }
    let json = all.into_iter().map(|(name, node, bytes, buffers, free)| {
        json!({"name": name, "numa_id": node, "data_bytes": bytes, "buffers": buffers, "free": free})
    });
    Answer { text, json: json.collect() }
}

#[cfg(not(feature = "dpdk"))]
fn pools() -> Answer {
    Answer { text: "no pool: this build has no DPDK\n".into(), json: json!([]) }
}

/// `set-queue` and `del-queue`; `port` as queue means the rate of the whole port.
fn set_queue(d: &mut Daemon, params: &[&str], now: Instant, set: bool) -> Result<Answer, String> {
    let usage = || usage(if set { "set-queue" } else { "del-queue" });
    let [bridge, port, queue, words @ ..] = params else { return Err(usage()) };
    let id = match *queue {
        "port" => None,
        n => Some(n.parse::<u8>().ok().filter(|n| ofproto::queue::can_exist((*n).into())).ok_or_else(
            || {
                format!(
                    "{n:?} is not a queue (0 to {}, or port for the whole port)",
                    ofproto::queue::MAX_QUEUE
                )
            },
        )?),
    };
    if set == words.is_empty() {
        return Err(usage());
    }
    let rates: Option<Vec<(&str, &str)>> = words.iter().map(|w| w.split_once('=')).collect();
    let rates = rates.ok_or_else(usage)?;
    let u = d.unit(bridge)?.id;
    let options = d.switch.set_queue(now, u, port, id, &rates).map_err(|e| e.to_string())?;
    if let Some(p) = d.unit(bridge)?.settings.ports.iter_mut().find(|p| p.name == *port) {
        p.options = options;
    }
    Ok(Answer::none())
}

/// What is not said stays.
fn set_table(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let [bridge, table, words @ ..] = params else { return Err(usage("set-table")) };
    if words.is_empty() {
        return Err(usage("set-table"));
    }
    let (id, old) = {
        let u = d.unit(bridge)?;
        let n = config::table_limit(table)?.0;
        (u.id, config::table_words(n, &u.settings.tables.get(&n).copied().unwrap_or_default()))
    };
    let (n, limit) = config::table_limit(&format!("{old},{}", words.join(",")))?;
    d.switch.set_table_limit(now, id, n, limit).map_err(|e| e.to_string())?;
    d.unit(bridge)?.settings.tables.insert(n, limit);
    Ok(Answer::none())
}

fn get_table(d: &mut Daemon, params: &[&str]) -> Result<Answer, String> {
    let (bridge, wanted) = match params {
        [bridge] => (bridge, None),
        [bridge, table] => (bridge, Some(config::table_limit(table)?.0)),
        _ => return Err(usage("get-table")),
    };
    let tables = &d.unit(bridge)?.settings.tables;
    let all: Vec<_> = match wanted {
        Some(t) => vec![(t, tables.get(&t).copied().unwrap_or_default())],
        None => tables.iter().map(|(t, l)| (*t, *l)).collect(),
    };
    let text = lines(
        all.iter().map(|(t, l)| format!("table {}", config::table_words(*t, l).replacen(',', ": ", 1))),
    );
    let json = all.iter().map(|(t, l)| {
        let policy = if l.evict { "evict" } else { "refuse" };
        json!({"table_id": t, "flow_limit": l.flow_limit, "overflow_policy": policy})
    });
    Ok(Answer { json: json.collect(), text })
}

fn macs(d: &mut Daemon, params: &[&str]) -> Result<Answer, String> {
    let [bridge] = params else { return Err(usage("show-macs")) };
    let id = d.unit(bridge)?.id;
    let list = d.switch.macs(id);
    let mut text = String::from(" port  VLAN  MAC                Age\n");
    for m in &list {
        let port = if m.port == openflow::PortNo::LOCAL { "LOCAL".into() } else { m.port.0.to_string() };
        let _ = writeln!(text, "{port:>5}  {:>4}  {}  {:>3}", m.vlan, openflow::EthAddr(m.mac), m.age_s);
    }
    Ok(Answer { text, json: serde_json::to_value(&list).unwrap_or_default() })
}

fn state_show(d: &Daemon) -> Answer {
    let Some(dir) = &d.config.state_dir else {
        return Answer { text: "nothing is kept: there is no --state-dir\n".into(), json: Value::Null };
    };
    let why = d.not_saved.as_deref();
    let mut text = format!("{}: {}\n", dir.join("config.json").display(), why.unwrap_or("kept"));
    let mut bridges = serde_json::Map::new();
    for (name, u) in &d.units {
        let Some(j) = &u.journal else { continue };
        let (path, bytes, snapshot) = j.size();
        let (said, failure) = match j.failure() {
            None => ("kept".to_string(), Value::Null),
            Some((since, why)) => {
                let s = since.as_secs();
                (format!("NOT KEPT for {s} s: {why}"), json!({"seconds": s, "reason": why}))
            }
        };
        let _ = writeln!(text, "{}: {said}; {bytes} bytes, {snapshot} of them a snapshot", path.display());
        let one = json!({"path": path, "bytes": bytes, "snapshot_bytes": snapshot, "not_kept": failure});
        bridges.insert(name.clone(), one);
    }
    Answer { text, json: json!({"config_not_kept": why, "journals": bridges}) }
}

fn list_ports(d: &mut Daemon, params: &[&str]) -> Result<Answer, String> {
    let [bridge] = params else { return Err(usage("list-ports")) };
    let id = d.unit(bridge)?.id;
    let ports = d.switch.ports(id);
    let json = ports.iter().map(|(s, p)| json!({"spec": s, "port": p})).collect();
    let text = lines(ports.into_iter().filter(|(s, _)| s.name != *bridge).map(|(s, _)| s.name));
    Ok(Answer { text, json })
}

fn get_controller(d: &mut Daemon, params: &[&str]) -> Result<Answer, String> {
    let [bridge] = params else { return Err(usage("get-controller")) };
    let u = d.unit(bridge)?;
    let json = u
        .controllers
        .iter()
        .map(|c| {
            json!({"target": c.config.target.to_string(), "state": c.state(), "is_connected": c.is_open(),
                   "last_error": c.last_error, "max_backoff": c.config.max_backoff_ms,
                   "inactivity_probe": c.config.inactivity_probe_ms, "rate": c.config.rate, "burst": c.config.burst})
        })
        .collect();
    Ok(Answer { text: lines(u.controllers.iter().map(|c| c.config.target.to_string())), json })
}

fn connections(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let mut text = String::new();
    let mut json = serde_json::Map::new();
    for (name, u) in &d.units {
        if params.first().is_some_and(|p| p != name) {
            continue;
        }
        let list = u.manager.list(now);
        let _ = writeln!(text, "{name}:");
        for c in &list {
            let kind = serde_json::to_value(c.kind).unwrap_or_default();
            let _ = writeln!(
                text,
                "  {} {} {} role {} for {} s: {} in, {} out, {} errors, {} packet-ins ({} limited, {} dropped)",
                kind.as_str().unwrap_or(""),
                c.name,
                c.state,
                c.role.name().unwrap_or("?").to_lowercase(),
                c.connected_seconds,
                c.stats.messages_in,
                c.stats.messages_out,
                c.stats.errors_sent,
                c.stats.packet_ins,
                c.stats.packet_ins_limited,
                c.stats.packet_ins_dropped,
            );
        }
        for c in u.controllers.iter().filter(|c| !c.is_open()) {
            let why = c.last_error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
            let _ = writeln!(text, "  controller {} {}{why}", c.config.target, c.state());
        }
        json.insert(name.clone(), serde_json::to_value(&list).unwrap_or_default());
    }
    Ok(Answer { text, json: json.into() })
}

fn megaflows(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let mut words = params.iter().filter(|p| !p.starts_with('-') && **p != "netdev@ovs-netdev");
    let bridge = match words.next() {
        Some(name) => Some(d.unit(name)?.id),
        None => None,
    };
    let list = match (bridge, words.next()) {
        (Some(bridge), Some(flow)) => d.switch.match_megaflows(bridge, flow)?,
        _ => d.switch.dump_megaflows(now, bridge),
    };
    let text = lines(list.iter().map(|m| {
        let used = match m.used_ms {
            Some(ms) => format!("{}.{:03}s", ms / 1000, ms % 1000),
            None => "never".into(),
        };
        format!(
            "{}, packets:{}, bytes:{}, used:{used}, actions:{}",
            m.matching, m.packets, m.bytes, m.actions
        )
    }));
    Ok(Answer { text, json: serde_json::to_value(&list).unwrap_or_default() })
}

/// What `ofctl top` shows: counters of workers and ports, and what the busiest megaflows did since this was asked last (by anybody).
fn show_top(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let n = match params {
        [] => 20,
        [n] => n.parse().ok().filter(|n| *n <= 1000).ok_or_else(|| usage("show-top"))?,
        _ => return Err(usage("show-top")),
    };
    let seconds = now.saturating_duration_since(d.top.0).as_secs_f64().max(1e-9);
    let (flows, megaflows) = d.switch.busiest(n, &mut d.top.1);
    d.top.0 = now;
    let mut ports = Vec::new();
    for (bridge, u) in &d.units {
        let names: std::collections::HashMap<_, _> =
            d.switch.ports(u.id).into_iter().map(|(s, p)| (p.port_no, s.name)).collect();
        for p in d.switch.port_stats(now, u.id) {
            ports.push(json!({"bridge": bridge, "name": names.get(&p.port_no), "port_no": p.port_no,
                "rx_packets": p.rx_packets, "tx_packets": p.tx_packets, "rx_bytes": p.rx_bytes, "tx_bytes": p.tx_bytes,
                "rx_dropped": p.rx_dropped, "tx_dropped": p.tx_dropped}));
        }
    }
    let mut text = String::new();
    for f in &flows {
        let (pps, bps) = (f.packets as f64 / seconds, f.bytes as f64 * 8.0 / seconds);
        let _ =
            writeln!(text, "{pps:12.0} packets/s {bps:14.0} bit/s  {}, actions:{}", f.matching, f.actions);
    }
    let flows: Vec<_> = flows.iter().map(|f| {
        json!({"worker": f.worker, "match": f.matching, "actions": f.actions,
               "packets_per_second": f.packets as f64 / seconds, "bytes_per_second": f.bytes as f64 / seconds})
    }).collect();
    let json = json!({"seconds": seconds, "megaflows": megaflows, "flows": flows, "ports": ports, "workers": workers_json(&active(d))});
    Ok(Answer { text, json })
}

fn trace(d: &mut Daemon, params: &[&str], now: Instant) -> Result<Answer, String> {
    let [bridge, words @ ..] = params else { return Err(usage("trace")) };
    if words.is_empty() {
        return Err(usage("trace"));
    }
    let id = d.unit(bridge)?.id;
    let text = d.switch.trace(now, id, &words.join(" "))?;
    let last =
        |key: &str| text.lines().rev().find_map(|l| l.strip_prefix(key)).map(str::trim).map(String::from);
    let json = json!({"trace": text.lines().collect::<Vec<_>>(), "megaflow": last("Megaflow:"), "actions": last("Datapath actions:")});
    Ok(Answer { text: if text.ends_with('\n') { text } else { text + "\n" }, json })
}

fn worker_title(w: &WorkerStats) -> String {
    match w.core {
        Some(core) => format!("pmd thread numa_id {} core_id {core}:", w.numa),
        None => "main thread:".into(),
    }
}

/// Workers in use: a PMD whose core was taken out of the settings sleeps and is not shown.
fn active(d: &Daemon) -> Vec<WorkerStats> {
    d.switch.datapath().worker_stats().into_iter().filter(|w| w.active).collect()
}

/// A counter of a worker by name.
pub fn counter(w: &WorkerStats, name: &str) -> u64 {
    w.counters.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v)
}

fn pmd_stats(d: &mut Daemon) -> Answer {
    let stats = active(d);
    let mut t = String::new();
    for w in &stats {
        let get = |n| counter(w, n);
        let (rx, emc, smc, mega) =
            (get("rx_packets"), get("emc_hits"), get("signature_hits"), get("megaflow_hits"));
        let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let percent = |a: u64, b: u64| 100.0 * ratio(a, b);
        let (busy, idle) = (get("busy_cycles"), get("idle_cycles"));
        let _ = writeln!(t, "{}", worker_title(w));
        let _ = writeln!(t, "  packets received: {rx}");
        let _ = writeln!(t, "  packet recirculations: {}", get("recirculated"));
        let _ = writeln!(t, "  avg. datapath passes per packet: {:.2}", 1.0 + ratio(get("recirculated"), rx));
        let _ = writeln!(t, "  emc hits: {emc}");
        let _ = writeln!(
            t,
            "  emc entries: {} (admitted: {}, refused: {}; ports that do without for now: {})",
            get("emc_entries"),
            get("emc_inserts"),
            get("emc_refused"),
            get("emc_resting_ports")
        );
        let _ = writeln!(t, "  smc hits: {smc}");
        let _ = writeln!(t, "  megaflow hits: {mega}");
        let _ = writeln!(
            t,
            "  avg. subtable lookups per megaflow hit: {:.2}",
            ratio(get("subtables_probed"), mega)
        );
        let _ = writeln!(t, "  miss with success upcall: {}", get("upcalls"));
        let _ = writeln!(t, "  miss with failed upcall: {}", get("misses").saturating_sub(get("upcalls")));
        let _ = writeln!(
            t,
            "  avg. packets per output batch: {:.2}",
            ratio(get("tx_packets"), get("tx_batches"))
        );
        let _ = writeln!(t, "  idle cycles: {idle} ({:.2}%)", percent(idle, busy + idle));
        let _ = writeln!(t, "  processing cycles: {busy} ({:.2}%)", percent(busy, busy + idle));
        if rx > 0 {
            let _ =
                writeln!(t, "  avg cycles per packet: {:.2} ({}/{rx})", ratio(busy + idle, rx), busy + idle);
            let _ = writeln!(t, "  avg processing cycles per packet: {:.2} ({busy}/{rx})", ratio(busy, rx));
        }
    }
    Answer { text: t, json: workers_json(&stats) }
}

fn workers_json(stats: &[WorkerStats]) -> Value {
    stats
        .iter()
        .map(|w| {
            let counters: serde_json::Map<_, _> =
                w.counters.iter().map(|(n, v)| ((*n).to_string(), Value::from(*v))).collect();
            json!({"worker": w.worker, "core": w.core, "numa_id": w.numa, "isolated": w.isolated, "seconds": w.seconds,
                   "tsc_hz": w.tsc_hz, "isa": w.isa, "busy_percent": w.busy_percent, "batch_sizes": w.batch_sizes,
                   "counters": counters})
        })
        .collect()
}

fn pmd_rxq(d: &mut Daemon) -> Answer {
    let (stats, queues) = (active(d), d.switch.datapath().rxq_assignment());
    let mut t = String::from("Displaying last 60 seconds pmd usage %\n");
    let mut json = Vec::new();
    for w in &stats {
        let mine: Vec<_> = queues.iter().filter(|q| q.worker == w.worker).collect();
        let in_queues: f32 = mine.iter().map(|q| q.busy_percent).sum();
        let overhead = (w.busy_percent - in_queues).max(0.0);
        let _ = writeln!(t, "{}", worker_title(w));
        let _ = writeln!(t, "  isolated : {}", w.isolated);
        for q in &mine {
            let pinned = if q.pinned_core.is_some_and(|c| Some(c) == w.core) { "  pinned" } else { "" };
            let _ = writeln!(
                t,
                "  port: {:16}  queue-id: {:2} (enabled)   pmd usage: {:2.0} %{pinned}",
                q.port_name, q.rxq, q.busy_percent
            );
        }
        let _ = writeln!(t, "  overhead: {overhead:2.0} %");
        json.push(json!({"worker": w.worker, "core": w.core, "numa_id": w.numa, "isolated": w.isolated,
                         "busy_percent": w.busy_percent, "overhead_percent": overhead, "rxqs": mine}));
    }
    Answer { text: t, json: json.into() }
}

fn pmd_sleep(d: &mut Daemon) -> Answer {
    let max = d.switch.datapath().pmd_settings().sleep_max_us;
    let mut t = format!("Default max sleep: {max:4} us\n");
    let mut json = Vec::new();
    for w in active(d).iter().filter(|w| w.core.is_some()) {
        let (n, cycles) = (counter(w, "sleep_iterations"), counter(w, "sleep_cycles"));
        let mean_us = if n == 0 { 0.0 } else { cycles as f64 * 1e6 / w.tsc_hz as f64 / n as f64 };
        let share = cycles as f64 * 100.0 / w.tsc_hz as f64 / w.seconds.max(1e-9);
        let _ = writeln!(t, "{}", worker_title(w));
        let _ = writeln!(t, "  max sleep: {max:4} us");
        let _ = writeln!(t, "  sleeps: {n}, {mean_us:.1} us each, {share:.1} % of the time");
        json.push(json!({"worker": w.worker, "core": w.core, "max_sleep_us": max, "sleeps": n,
                         "mean_us": mean_us, "share_percent": share}));
    }
    Answer { text: t, json: json.into() }
}

fn pmd_perf(d: &mut Daemon) -> Answer {
    let stats = active(d);
    let mut t = String::new();
    for w in &stats {
        perf_of(w, &mut t);
    }
    Answer { text: t, json: workers_json(&stats) }
}

/// One worker of `pmd-perf-show`, in Open vSwitch's order and words as far as both have them.
fn perf_of(w: &WorkerStats, t: &mut String) {
    let get = |n| counter(w, n);
    let ratio = |a: u64, b: u64| if b == 0 { 0.0 } else { a as f64 / b as f64 };
    let percent = |a: u64, b: u64| 100.0 * ratio(a, b);
    let kpps = |n: u64| n as f64 / 1000.0 / w.seconds.max(1e-9);
    let hz = w.tsc_hz as f64;
    let (busy, idle) = (get("busy_cycles"), get("idle_cycles"));
    let (busy_n, idle_n) = (get("busy_iterations"), get("idle_iterations"));
    let (rx, emc, mega) = (get("rx_packets"), get("emc_hits"), get("megaflow_hits"));
    let (upcalls, tx) = (get("upcalls"), get("tx_packets"));
    let passes = rx + get("recirculated");
    let _ = writeln!(t, "{}", worker_title(w));
    let _ = writeln!(t, "  Measurement duration: {:.3} s", w.seconds);
    let _ = writeln!(t, "  TSC frequency: {:.0} MHz, kernels: {}", hz / 1e6, w.isa);
    let n = busy_n + idle_n;
    let _ = writeln!(t, "  Iterations:       {n:12}  ({:.2} us/it)", ratio(busy + idle, n) * 1e6 / hz);
    let _ = writeln!(
        t,
        "  - Used TSC cycles:{:12}  ({:5.1} % of total cycles)",
        busy + idle,
        (busy + idle) as f64 * 100.0 / hz / w.seconds.max(1e-9)
    );
    let _ =
        writeln!(t, "  - idle iterations:{idle_n:12}  ({:5.1} % of used cycles)", percent(idle, busy + idle));
    let _ =
        writeln!(t, "  - busy iterations:{busy_n:12}  ({:5.1} % of used cycles)", percent(busy, busy + idle));
    let (naps, slept) = (get("sleep_iterations"), get("sleep_cycles"));
    let _ = writeln!(t, "  - sleep iterations:{naps:11}  ({:5.1} % of iterations)", percent(naps, n));
    let _ = writeln!(
        t,
        "  - sleep time (us):{:12.0}  ({:.1} us/sleep)",
        slept as f64 * 1e6 / hz,
        ratio(slept, naps) * 1e6 / hz
    );
    let _ =
        writeln!(t, "  Rx packets:       {rx:12}  ({:.0} Kpps, {:.0} cycles/pkt)", kpps(rx), ratio(busy, rx));
    let _ = writeln!(t, "  Datapath passes:  {passes:12}  ({:.2} passes/pkt)", ratio(passes, rx));
    let _ = writeln!(t, "  - EMC hits:       {emc:12}  ({:5.1} %)", percent(emc, passes));
    let _ = writeln!(t, "  - SMC hits:       {:12}  ({:5.1} %)", 0, 0.0);
    let _ = writeln!(
        t,
        "  - Megaflow hits:  {mega:12}  ({:5.1} %, {:.2} subtbl lookups/hit)",
        percent(mega, passes),
        ratio(get("subtables_probed"), mega)
    );
    let _ = writeln!(
        t,
        "  - Upcalls:        {upcalls:12}  ({:5.1} %, {:.1} us/upcall)",
        percent(upcalls, passes),
        ratio(get("upcall_cycles"), upcalls) * 1e6 / hz
    );
    let lost = get("upcalls_lost");
    let _ = writeln!(t, "  - Lost upcalls:   {lost:12}  ({:5.1} %)", percent(lost, passes));
    let _ = writeln!(t, "  Tx packets:       {tx:12}  ({:.0} Kpps)", kpps(tx));
    let _ = writeln!(
        t,
        "  Tx batches:       {:12}  ({:.2} pkts/batch)",
        get("tx_batches"),
        ratio(tx, get("tx_batches"))
    );
    let _ = writeln!(
        t,
        "  Megaflows:        {:12}  ({} masks, {} evicted)",
        get("megaflows"),
        get("subtables"),
        get("evictions")
    );
    let _ = writeln!(t, "  Cycles per packet by stage (one batch in 32 is timed)");
    for (name, key) in STAGES {
        let _ = writeln!(t, "  - {name:15} {:12.1}", ratio(get(key), rx));
    }
    let _ = writeln!(t, "  Packets per batch received ({:.1} on average)", ratio(rx, get("rx_batches")));
    let total: u64 = w.batch_sizes.iter().sum();
    for (low, high) in [(1, 1), (2, 3), (4, 7), (8, 15), (16, 23), (24, 31), (32, 32)] {
        let n: u64 = w.batch_sizes.get(low..=high).map_or(0, |s| s.iter().sum());
        let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
        let bar = "#".repeat((percent(n, total) / 2.0).round() as usize);
        let _ = writeln!(t, "  - {range:15} {n:12}  ({:5.1} %) {bar}", percent(n, total));
    }
    let classes: Vec<String> = LONG_US.iter().map(|us| format!("> {} ms", *us as f64 / 1000.0)).collect();
    let row = |cells: Vec<String>| cells.iter().fold(String::new(), |t, c| format!("{t} {c:>9}"));
    let _ = writeln!(t, "  Long iterations by what took most of them");
    let _ = writeln!(t, "  {:35}{}", "", row(classes));
    for (cause, names) in LONG_CAUSES.iter().zip(&LONG_NAMES) {
        let _ = writeln!(t, "  - {cause:33}{}", row(names.iter().map(|n| get(n).to_string()).collect()));
    }
}

/// As [`LONG_NAMES`] has them.
const LONG_CAUSES: [&str; LONG_NAMES.len()] =
    ["upcalls", "commands of control", "megaflows ended", "none of these (host or device)"];

const STAGES: [(&str, &str); 5] = [
    ("receive", "cycles_rx"),
    ("extract", "cycles_extract"),
    ("lookup", "cycles_lookup"),
    ("actions", "cycles_actions"),
    ("transmit", "cycles_tx"),
];

fn show_dp(d: &mut Daemon) -> Answer {
    let mut t = String::from("netdev@ofswitch:\n");
    let mut json = serde_json::Map::new();
    for (name, u) in &d.units {
        let _ = writeln!(t, "  {name}:");
        let ports = d.switch.ports(u.id);
        for (s, p) in &ports {
            let options: Vec<String> = s.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let options =
                if options.is_empty() { String::new() } else { format!(": {}", options.join(", ")) };
            let no =
                if p.port_no == openflow::PortNo::LOCAL { "65534".into() } else { p.port_no.0.to_string() };
            let _ = writeln!(t, "    {} {no}/{no}: ({}{options})", s.name, s.kind);
        }
        json.insert(name.clone(), ports.iter().map(|(s, p)| json!({"spec": s, "port": p})).collect());
    }
    Answer { text: t, json: json.into() }
}
