//! `top`: the busiest workers, ports and megaflows, by rate, again and again. On a terminal it draws (q ends it); otherwise, or with
//! `--count`, it prints plain tables; with `--json` one object a look.
//!
//! `Sample` is what the daemon says at one time · `Rates` what happened between two · `draw` puts it on a screen.

use super::options::Options;
use super::{daemon_json, print};
use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table};
use ratatui::Frame;
use serde::Serialize;
use serde_json::Value;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// What the daemon says at one time.
struct Sample {
    at: Instant,
    state: Value,
}

fn look(o: &Options, flows: usize) -> Result<Sample> {
    let state = daemon_json(o, "show-top", &[&flows.to_string()])?;
    Ok(Sample { at: Instant::now(), state })
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct WorkerRates {
    worker: String,
    rx_pps: f64,
    tx_pps: f64,
    emc_hits: f64,
    megaflow_hits: f64,
    misses: f64,
    busy_percent: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct PortRates {
    bridge: String,
    port: String,
    rx_pps: f64,
    tx_pps: f64,
    rx_bps: f64,
    tx_bps: f64,
    drops_per_second: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct FlowRates {
    pps: f64,
    bps: f64,
    #[serde(rename = "match")]
    matching: String,
    actions: String,
}

/// What happened between two looks, the busiest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Rates {
    seconds: f64,
    megaflows: u64,
    workers: Vec<WorkerRates>,
    ports: Vec<PortRates>,
    flows: Vec<FlowRates>,
}

fn list<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    v[key].as_array().into_iter().flatten()
}

impl Rates {
    fn between(old: &Sample, new: &Sample) -> Self {
        let seconds = (new.at - old.at).as_secs_f64().max(1e-9);
        let text = |v: &Value| v.as_str().unwrap_or("?").to_string();
        let rate = |now: &Value, then: Option<&Value>| {
            let then = then.and_then(Value::as_u64);
            // What was not there then has no rate yet.
            now.as_u64().zip(then).map_or(0.0, |(n, t)| n.saturating_sub(t) as f64 / seconds)
        };
        let workers = list(&new.state, "workers").map(|w| {
            let then = list(&old.state, "workers").find(|b| b["worker"] == w["worker"]);
            let get = |n: &str| rate(&w["counters"][n], then.map(|t| &t["counters"][n]));
            let (busy, idle) = (get("busy_cycles"), get("idle_cycles"));
            WorkerRates {
                worker: w["core"].as_u64().map_or("main".to_string(), |c| format!("core {c}")),
                rx_pps: get("rx_packets"),
                tx_pps: get("tx_packets"),
                emc_hits: get("emc_hits"),
                megaflow_hits: get("megaflow_hits"),
                misses: get("misses"),
                busy_percent: if busy + idle > 0.0 { 100.0 * busy / (busy + idle) } else { 0.0 },
            }
        });
        let ports = list(&new.state, "ports").map(|p| {
            let same = |b: &&Value| b["bridge"] == p["bridge"] && b["port_no"] == p["port_no"];
            let then = list(&old.state, "ports").find(same);
            let get = |n: &str| rate(&p[n], then.map(|t| &t[n]));
            PortRates {
                bridge: text(&p["bridge"]),
                port: text(&p["name"]),
                rx_pps: get("rx_packets"),
                tx_pps: get("tx_packets"),
                rx_bps: 8.0 * get("rx_bytes"),
                tx_bps: 8.0 * get("tx_bytes"),
                drops_per_second: get("rx_dropped") + get("tx_dropped"),
            }
        });
        let flows = list(&new.state, "flows").map(|f| FlowRates {
            pps: f["packets_per_second"].as_f64().unwrap_or(0.0),
            bps: 8.0 * f["bytes_per_second"].as_f64().unwrap_or(0.0),
            matching: text(&f["match"]),
            actions: text(&f["actions"]),
        });
        let mut r = Self {
            seconds,
            megaflows: new.state["megaflows"].as_u64().unwrap_or(0),
            workers: workers.collect(),
            ports: ports.collect(),
            flows: flows.collect(),
        };
        r.workers.sort_by(|a, b| b.rx_pps.total_cmp(&a.rx_pps));
        r.ports.sort_by(|a, b| (b.rx_pps + b.tx_pps).total_cmp(&(a.rx_pps + a.tx_pps)));
        r
    }
}

/// A number with three or four digits and a letter: 999, 1.23k, 45.6M.
fn short(n: f64) -> String {
    let (n, unit) = match n {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e4 => (n / 1e3, "k"),
        n => return format!("{n:.0}"),
    };
    format!("{n:.*}{unit}", if n < 10.0 { 2 } else { usize::from(n < 100.0) })
}

const WORKERS: [&str; 7] = ["worker", "rx/s", "tx/s", "emc/s", "megaflow/s", "miss/s", "busy"];
const PORTS: [&str; 7] = ["port", "rx/s", "tx/s", "rx bit/s", "tx bit/s", "drop/s", "bridge"];
const FLOWS: [&str; 3] = ["packet/s", "bit/s", "megaflow"];

fn worker_cells(w: &WorkerRates) -> [String; 7] {
    let n = [w.rx_pps, w.tx_pps, w.emc_hits, w.megaflow_hits, w.misses].map(short);
    let [a, b, c, d, e] = n;
    [w.worker.clone(), a, b, c, d, e, format!("{:.1}%", w.busy_percent)]
}

fn port_cells(p: &PortRates) -> [String; 7] {
    let [a, b, c, d, e] = [p.rx_pps, p.tx_pps, p.rx_bps, p.tx_bps, p.drops_per_second].map(short);
    [p.port.clone(), a, b, c, d, e, p.bridge.clone()]
}

fn flow_cells(f: &FlowRates) -> [String; 3] {
    [short(f.pps), short(f.bps), format!("{}, actions:{}", f.matching, f.actions)]
}

/// Tables for a pipe.
fn plain(r: &Rates) -> String {
    let line = |c: &[String]| {
        let mut cells = c.iter();
        let first = cells.next().map_or(String::new(), |c| format!("{c:12}"));
        cells.fold(first, |s, c| format!("{s} {c:>11}")) + "\n"
    };
    let head = |h: &[&str]| line(&h.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut out = head(&WORKERS);
    r.workers.iter().for_each(|w| out += &line(&worker_cells(w)));
    out += &format!("\n{}", head(&PORTS));
    r.ports.iter().for_each(|p| out += &line(&port_cells(p)));
    out += &format!("\n{:>9} {:>9} {}  ({} in all)\n", FLOWS[0], FLOWS[1], FLOWS[2], r.megaflows);
    for f in &r.flows {
        let [pps, bps, what] = flow_cells(f);
        out += &format!("{pps:>9} {bps:>9} {what}\n");
    }
    out + "\n"
}

/// The screen.
fn draw(f: &mut Frame<'_>, r: Option<&Rates>, pause: Duration) {
    let Some(r) = r else {
        f.render_widget(Paragraph::new("looking ..."), f.area());
        return;
    };
    let (workers, ports) = (r.workers.len() as u16 + 3, r.ports.len().min(12) as u16 + 3);
    let rows = [
        Constraint::Length(1),
        Constraint::Length(workers.min(10)),
        Constraint::Length(ports),
        Constraint::Min(4),
    ];
    let [top, a, b, c] = Layout::vertical(rows).areas(f.area());
    let bold = Style::default().add_modifier(Modifier::BOLD);
    let total: f64 = r.workers.iter().map(|w| w.rx_pps).sum();
    let title = format!(
        "ofswitch: {} packets/s, {} megaflows, every {:.1} s  (q: end)",
        short(total),
        r.megaflows,
        pause.as_secs_f64()
    );
    f.render_widget(Line::styled(title, bold), top);
    let numbers = [Constraint::Length(11); 6];
    let widths: Vec<Constraint> = std::iter::once(Constraint::Length(12)).chain(numbers).collect();
    let table = |title: &'static str, head: [&'static str; 7], rows: Vec<[String; 7]>| {
        Table::new(rows.into_iter().map(Row::new), widths.clone())
            .header(Row::new(head).style(bold))
            .block(Block::bordered().title(title))
    };
    f.render_widget(table(" workers ", WORKERS, r.workers.iter().map(worker_cells).collect()), a);
    f.render_widget(table(" ports ", PORTS, r.ports.iter().map(port_cells).collect()), b);
    let flows = Table::new(
        r.flows.iter().map(|f| Row::new(flow_cells(f))),
        [Constraint::Length(9), Constraint::Length(9), Constraint::Min(20)],
    );
    let flows = flows.header(Row::new(FLOWS).style(bold)).block(Block::bordered().title(" megaflows "));
    f.render_widget(flows, c);
}

/// Waits for a key until `until`; true if it means to end.
fn wants_end(until: Instant) -> Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(k) if k.kind == KeyEventKind::Press => {
                let ctrl_c = k.code == KeyCode::Char('c') && k.modifiers.contains(KeyModifiers::CONTROL);
                if ctrl_c || matches!(k.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
            // Drawn anew at once.
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}

fn screen(o: &Options, pause: Duration) -> Result<()> {
    let mut terminal = ratatui::try_init()?;
    let mut run = || -> Result<()> {
        let (mut before, mut rates) = (look(o, 50)?, None);
        loop {
            terminal.draw(|f| draw(f, rates.as_ref(), pause))?;
            // The first figures need not wait for a whole interval.
            let wait = if rates.is_none() { pause.min(Duration::from_millis(300)) } else { pause };
            if wants_end(Instant::now() + wait)? {
                return Ok(());
            }
            let now = look(o, 50)?;
            rates = Some(Rates::between(&before, &now));
            before = now;
        }
    };
    let ran = run();
    ratatui::try_restore()?;
    ran
}

/// `top`.
///
/// # Errors
/// There is no daemon, or it went away.
pub fn top(o: &Options) -> Result<()> {
    let pause = o.interval.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(50));
    if !o.json && o.count.is_none() && std::io::stdout().is_terminal() {
        return screen(o, pause);
    }
    let mut before = look(o, 20)?;
    for _ in 0..o.count.unwrap_or(u64::MAX) {
        std::thread::sleep(pause);
        let now = look(o, 20)?;
        let rates = Rates::between(&before, &now);
        print(&if o.json { format!("{}\n", serde_json::to_value(&rates)?) } else { plain(&rates) })?;
        before = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;
    use ratatui::Terminal;
    use serde_json::json;

    fn rates() -> Rates {
        let at = Instant::now();
        let state = |n: u64| {
            let worker = |id: u64, core: Value, k: u64| {
                json!({"worker": id, "core": core, "counters": {"rx_packets": n * k, "tx_packets": n * k,
                    "emc_hits": n * k, "megaflow_hits": 0, "misses": 0, "busy_cycles": n, "idle_cycles": 3 * n}})
            };
            let port = |no: u64, name: &str, k: u64| {
                json!({"bridge": "br0", "name": name, "port_no": no, "rx_packets": n * k, "tx_packets": 0,
                    "rx_bytes": n * k * 100, "tx_bytes": 0, "rx_dropped": 0, "tx_dropped": n})
            };
            json!({"megaflows": 7, "workers": [worker(0, Value::Null, 1), worker(1, json!(3), 20_000)],
                "ports": [port(1, "p1", 5), port(2, "p2", 9)],
                "flows": [{"match": "in_port(1)", "actions": "2", "packets_per_second": 12_345.6, "bytes_per_second": 1e6}]})
        };
        let old = Sample { at, state: state(100) };
        Rates::between(&old, &Sample { at: at + Duration::from_secs(2), state: state(300) })
    }

    #[test]
    fn rates_are_differences_by_time_the_busiest_first() {
        let r = rates();
        assert_eq!((r.workers[0].worker.as_str(), r.workers[0].rx_pps), ("core 3", 2_000_000.0));
        assert_eq!((r.workers[1].rx_pps, r.workers[1].busy_percent), (100.0, 25.0));
        assert_eq!(
            (r.ports[0].port.as_str(), r.ports[0].rx_bps, r.ports[0].drops_per_second),
            ("p2", 720_000.0, 100.0)
        );
        assert_eq!(r.flows[0].bps, 8e6);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 999.4, 9999.0, 12_345.0, 123_456.0, 1_234_567.0, 4.5e10].map(short);
        assert_eq!(all, ["0", "999", "9999", "12.3k", "123k", "1.23M", "45.0G"]);
    }

    #[test]
    fn the_screen_and_the_plain_tables_show_all_three() {
        let r = rates();
        for (width, height) in [(100, 30), (20, 5), (1, 1)] {
            let mut t = Terminal::new(TestBackend::new(width, height)).expect("a screen in memory");
            t.draw(|f| draw(f, Some(&r), Duration::from_secs(1))).expect("it draws");
            if width == 100 {
                let text = t.backend().to_string();
                for want in
                    ["2.00M packets/s", "core 3", "25.0%", "p2", "720k", "12.3k", "in_port(1), actions:2"]
                {
                    assert!(text.contains(want), "{want}:\n{text}");
                }
            }
        }
        let text = plain(&r);
        assert!(
            text.contains("core 3") && text.contains("in_port(1), actions:2") && text.contains("(7 in all)"),
            "{text}"
        );
    }
}
