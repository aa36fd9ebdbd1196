//! `--metrics ADDR:PORT`: the switch's counters as OpenMetrics text over HTTP.

use crate::commands::counter;
use crate::control::Request;
use crate::daemon::Daemon;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// The HTTP endpoint.
pub struct MetricsServer {
    /// Where it listens.
    pub address: SocketAddr,
    task: AbortHandle,
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MetricsServer {
    /// Starts listening; the text is asked of the control loop by the command `metrics`.
    ///
    /// # Errors
    /// One line that names the address.
    pub async fn listen(address: SocketAddr, requests: mpsc::Sender<Request>) -> Result<Self, String> {
        let fault = |e: std::io::Error| format!("--metrics {address}: {e}");
        let socket = TcpListener::bind(address).await.map_err(fault)?;
        let address = socket.local_addr().map_err(fault)?;
        let task = tokio::task::spawn_local(async move {
            loop {
                match socket.accept().await {
                    Ok((s, _)) => {
                        let requests = requests.clone();
                        tokio::task::spawn_local(async move {
                            let _ = tokio::time::timeout(Duration::from_secs(5), answer(s, requests)).await;
                        });
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }
}

async fn answer(mut s: TcpStream, requests: mpsc::Sender<Request>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0u8; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < 8192 {
        match s.read(&mut piece).await? {
            0 => return Ok(()),
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let (status, body) = if line.starts_with(b"GET /metrics ") || line.starts_with(b"GET / ") {
        let (reply, text) = oneshot::channel();
        let asked = requests.send(Request { method: "metrics".into(), params: Vec::new(), reply }).await;
        match (asked, text.await) {
            (Ok(()), Ok(Ok(t))) => ("200 OK", t),
            _ => ("503 Service Unavailable", String::new()),
        }
    } else {
        ("404 Not Found", "see /metrics\n".into())
    };
    let out = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    s.write_all(out.as_bytes()).await?;
    s.shutdown().await
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# TYPE ofswitch_{name} {kind}\n# HELP ofswitch_{name} {help}");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

/// All counters in OpenMetrics text.
pub fn render(d: &mut Daemon) -> String {
    let now = Instant::now();
    let mut out = String::new();
    family(&mut out, "uptime_seconds", "gauge", "Seconds since the start.");
    let _ = writeln!(out, "ofswitch_uptime_seconds {:.3}", now.duration_since(d.started).as_secs_f64());

    let mut ports = Vec::new();
    for (name, u) in &d.units {
        let names = d.switch.ports(u.id);
        for s in d.switch.port_stats(now, u.id) {
            let port = names
                .iter()
                .find(|(_, p)| p.port_no == s.port_no)
                .map_or(String::new(), |(n, _)| n.name.clone());
            ports.push((name.clone(), port, s));
        }
    }
    type Get = fn(&openflow::msg::multipart::PortStats) -> u64;
    let fields: [(&str, Get); 8] = [
        ("rx_packets", |s| s.rx_packets),
        ("tx_packets", |s| s.tx_packets),
        ("rx_bytes", |s| s.rx_bytes),
        ("tx_bytes", |s| s.tx_bytes),
        ("rx_dropped", |s| s.rx_dropped),
        ("tx_dropped", |s| s.tx_dropped),
        ("rx_errors", |s| s.rx_errors),
        ("tx_errors", |s| s.tx_errors),
    ];
    for (field, get) in fields {
        family(&mut out, &format!("port_{field}"), "counter", "As in OFPMP_PORT_STATS.");
        for (bridge, port, s) in &ports {
            if get(s) != u64::MAX {
                let _ = writeln!(
                    out,
                    "ofswitch_port_{field}_total{{bridge=\"{}\",port=\"{}\"}} {}",
                    escape(bridge),
                    escape(port),
                    get(s)
                );
            }
        }
    }
    let workers = d.switch.datapath().worker_stats();
    if let Some(first) = workers.first() {
        for (name, _) in &first.counters {
            family(&mut out, &format!("worker_{name}"), "counter", "Counter of a packet-processing thread.");
            for w in &workers {
                let core = w.core.map_or("none".into(), |c| c.to_string());
                let value = counter(w, name);
                let _ = writeln!(
                    out,
                    "ofswitch_worker_{name}_total{{worker=\"{}\",core=\"{core}\"}} {value}",
                    w.worker
                );
            }
        }
    }
    family(&mut out, "drops", "counter", "Packets that ended without output, by reason.");
    for (why, n) in d.switch.drops() {
        let _ = writeln!(out, "ofswitch_drops_total{{reason=\"{}\"}} {n}", escape(&why));
    }
    family(&mut out, "memory", "gauge", "Sizes of what is kept.");
    for (what, n) in d.switch.memory() {
        let _ = writeln!(out, "ofswitch_memory{{what=\"{}\"}} {n}", escape(&what));
    }
    if d.config.state_dir.is_some() {
        family(
            &mut out,
            "state_kept",
            "gauge",
            "1: what changes is kept in --state-dir; 0: it is not (state-show says why).",
        );
        let kept =
            d.units.iter().filter_map(|(n, u)| Some((n.as_str(), u.journal.as_ref()?.failure().is_none())));
        for (name, kept) in kept.chain([("", d.not_saved.is_none())]) {
            let what = if name.is_empty() { "config".into() } else { format!("bridge {name}") };
            let _ = writeln!(out, "ofswitch_state_kept{{what=\"{}\"}} {}", escape(&what), u8::from(kept));
        }
    }
    family(&mut out, "connection_messages", "counter", "OpenFlow messages of open connections.");
    for (name, u) in &d.units {
        for c in u.manager.list(now) {
            let who = format!("bridge=\"{}\",peer=\"{}\",conn=\"{}\"", escape(name), escape(&c.name), c.id.0);
            let _ = writeln!(
                out,
                "ofswitch_connection_messages_total{{{who},direction=\"in\"}} {}",
                c.stats.messages_in
            );
            let _ = writeln!(
                out,
                "ofswitch_connection_messages_total{{{who},direction=\"out\"}} {}",
                c.stats.messages_out
            );
        }
    }
    out.push_str("# EOF\n");
    out
}
