//! What `ofswitchd` is told: flags, and a TOML file that says the same and more. Both become a [`Config`], checked as a whole
//! before anything happens.

use crate::state::Sync;
use datapath::emc::EmcSize;
use datapath::rxq::PmdSettings;
use ofproto::api::TableLimit;
use ofproto::conn::tls::TlsFiles;
use ofproto::conn::Target;
use ofproto::PortSpec;
use openflow::PortNo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where sockets are, unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/ofswitch";

/// Help text of the daemon.
pub const USAGE: &str = "\
ofswitchd - an OpenFlow 1.3 switch in user space

usage: ofswitchd [OPTION]...
  --config F             TOML file that says the same and more; flags after it win
  --run-dir D            directory of the sockets (default /run/ofswitch)
  --state-dir D          keep flows, groups, meters and configuration here over a restart
  --state-sync WHEN      lazy (default): on the disk within a second; barrier: before barrier and commit replies leave
  --log LEVEL            error, warn, info (default), debug or trace
  --metrics ADDR:PORT    serve OpenMetrics over HTTP
  --dpdk \"EAL ARGS\"      arguments of DPDK's environment (with feature dpdk)
  --pmd-cores 1,2-3      cores with a busy-polling thread each (also --pmd-cpu-mask HEX)
  --pmd KEY=VALUE        pmd-rxq-assign, pmd-sleep-max, pmd-auto-lb ... as `ofctl set-pmd` has them
  --emc-entries N        room of each worker's exact-match cache: auto (default: grows with traffic), 0 (off), or entries
  --isa NAME             kernels of the packet path: auto (default), avx512, avx2 or scalar
  --private-key F --certificate F --ca-cert F    TLS (make some with `ofctl pki DIR`)
 per bridge, for the last --bridge (default br0):
  --bridge NAME          another bridge
  --dpid HEX             datapath id, 16 hexadecimal digits
  --fail-mode M          secure (default) or standalone
  --port NAME[,ofport=N][,type=T][,KEY=VALUE]...   types: system (default), internal, patch (peer=NAME), afxdp, dpdk
                         (devargs=... last), dpdkvhostuser, dpdkvhostuserclient, dpdkr, memif; queues of any but patch:
                         max-rate=BPS (of the port), queueN-min-rate=BPS, queueN-max-rate=BPS
  --controller TARGET    tcp:IP:PORT ssl:IP:PORT ptcp:PORT:IP pssl:PORT:IP unix:PATH punix:PATH, then perhaps
                         ,max_backoff=MS (1000) ,inactivity_probe=MS (5000; 0: never) ,rate=PPS ,burst=N of packet-ins
                         (0: no limit) ,aux=N auxiliary connections ,name=HOST its certificate must be for
  --buffers N            packets kept for controllers that ask for a part of them (default 0: packet-ins carry what was asked for, no buffer)
  --table N,flow-limit=COUNT|none[,overflow-policy=refuse|evict]   a smaller flow table, and what happens when it is full
  --protocols LIST       OpenFlow versions offered in HELLO: OpenFlow13 is what this switch speaks
  --desc KEY=TEXT        answer to DESC requests: mfr, hw, sw, serial or dp
  -h, --help   -V, --version
";

/// Fail mode of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailMode {
    /// Without a controller, only what is in the tables counts.
    #[default]
    Secure,
    /// While no controller is connected, all packets are NORMAL (if none is configured: those that table 0 has no entry for).
    Standalone,
}

impl std::str::FromStr for FailMode {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "secure" => Ok(Self::Secure),
            "standalone" => Ok(Self::Standalone),
            _ => Err(format!("fail mode {s:?} is unknown; write secure or standalone")),
        }
    }
}

/// A controller of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Where it is, or where we wait for it.
    pub target: Target,
    /// Longest pause between attempts, milliseconds.
    pub max_backoff_ms: u64,
    /// Silence before a probe, milliseconds; 0 for none.
    pub inactivity_probe_ms: u64,
    /// Packet-ins a second; 0 for no limit.
    pub rate: u32,
    /// Packet-ins at once beyond the rate.
    pub burst: u32,
    /// Auxiliary connections (active targets).
    pub auxiliary: u8,
    /// Name that the controller's certificate must be for (TLS, active targets); `None`: our CA's signature is enough.
    pub name: Option<String>,
}

impl std::str::FromStr for ControllerConfig {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let target = words.next().unwrap_or("").parse::<Target>().map_err(|e| e.to_string())?;
        let mut c = Self {
            target,
            max_backoff_ms: 1000,
            inactivity_probe_ms: 5000,
            rate: 0,
            burst: 0,
            auxiliary: 0,
            name: None,
        };
        for w in words {
            let (k, v) = w.split_once('=').ok_or_else(|| format!("{w:?} of {text:?} is not KEY=VALUE"))?;
            let number = |max: u64| match v.parse::<u64>() {
                Ok(n) if n <= max => Ok(n),
                _ => Err(format!("{k}={v} of {text:?}: expected a number up to {max}")),
            };
            // Hyphens as well; and what the columns of Open vSwitch's Controller table are called.
            match k.replace('-', "_").as_str() {
                "max_backoff" => c.max_backoff_ms = number(3_600_000)?.max(1),
                "inactivity_probe" => c.inactivity_probe_ms = number(3_600_000)?,
                "rate" | "controller_rate_limit" => c.rate = number(u32::MAX.into())? as u32,
                "burst" | "controller_burst_limit" => c.burst = number(u32::MAX.into())? as u32,
                "aux" => c.auxiliary = number(16)? as u8,
                "name" if c.target.is_tls() && !c.target.is_passive() => c.name = Some(v.into()),
                "name" => return Err(format!("{w:?} of {text:?}: only ssl: controllers have a name to check")),
                _ => {
                    return Err(format!(
                        "{k:?} of {text:?} is unknown; controllers take max_backoff, inactivity_probe, rate, burst, aux and name"
                    ))
                }
            }
        }
        Ok(c)
    }
}

impl std::fmt::Display for ControllerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, max_backoff_ms, inactivity_probe_ms, rate, burst, auxiliary, name } = self;
        write!(f, "{target},max_backoff={max_backoff_ms},inactivity_probe={inactivity_probe_ms}")?;
        write!(f, ",rate={rate},burst={burst},aux={auxiliary}")?;
        name.iter().try_for_each(|n| write!(f, ",name={n}"))
    }
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSettings {
    /// Its name.
    pub name: String,
    /// Datapath id; one is made of the name if not given.
    pub dpid: Option<u64>,
    /// What happens without a controller.
    pub fail_mode: FailMode,
    /// Ports, in order.
    pub ports: Vec<PortSpec>,
    /// Controllers.
    pub controllers: Vec<ControllerConfig>,
    /// Answers to DESC: mfr, hw, sw, serial, dp.
    pub desc: BTreeMap<String, String>,
    /// Packets kept for controllers.
    pub n_buffers: u32,
    /// Tables with limits of their own.
    pub tables: BTreeMap<u8, TableLimit>,
}

/// `N,flow-limit=COUNT[,overflow-policy=refuse|evict]`.
pub fn table_limit(text: &str) -> Result<(u8, TableLimit), String> {
    let mut words = text.split(',');
    let n = words.next().unwrap_or("").trim();
    let table = n.parse::<u8>().ok().filter(|t| *t < ofproto::bridge::N_TABLES);
    let table =
        table.ok_or_else(|| format!("{n:?} is not a table (0 to {})", ofproto::bridge::N_TABLES - 1))?;
    let mut limit = TableLimit::default();
    for w in words {
        match w.split_once('=') {
            Some(("flow-limit" | "flow_limit", "none")) => limit.flow_limit = None,
            Some(("flow-limit" | "flow_limit", v)) => {
                let n = v
                    .parse()
                    .map_err(|_| format!("{w:?} of table {table}: expected a number of flow entries"))?;
                limit.flow_limit = Some(n);
            }
            Some(("overflow-policy" | "overflow_policy", "evict")) => limit.evict = true,
            Some(("overflow-policy" | "overflow_policy", "refuse")) => limit.evict = false,
            _ => {
                return Err(format!(
                    "{w:?} of table {table}: write flow-limit=COUNT or overflow-policy=refuse|evict"
                ))
            }
        }
    }
    Ok((table, limit))
}

/// A table's limit as [`table_limit`] reads it.
pub fn table_words(table: u8, limit: &TableLimit) -> String {
    let room = limit.flow_limit.map_or("none".into(), |n| n.to_string());
    format!("{table},flow-limit={room},overflow-policy={}", if limit.evict { "evict" } else { "refuse" })
}

impl BridgeSettings {
    /// A bridge with nothing but its name.
    pub fn new(name: &str) -> Self {
        Self {
            n_buffers: 0,
            tables: BTreeMap::new(),
            name: name.into(),
            dpid: None,
            fail_mode: FailMode::Secure,
            ports: Vec::new(),
            controllers: Vec::new(),
            desc: BTreeMap::new(),
        }
    }
    /// The datapath id in effect: as configured, or made of the name (always the same for the same name).
    pub fn dpid(&self) -> u64 {
        self.dpid.unwrap_or_else(|| {
            // FNV-1a, folded into 48 bits with the "locally administered" bit.
            let h = self
                .name
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
            (h ^ (h >> 48)) & 0xfcff_ffff_ffff | 0x0200_0000_0000
        })
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the sockets.
    pub run_dir: PathBuf,
    /// Where state is kept.
    pub state_dir: Option<PathBuf>,
    /// When state is on the disk.
    pub state_sync: Sync,
    /// Log level.
    pub log: String,
    /// OpenMetrics endpoint.
    pub metrics: Option<SocketAddr>,
    /// EAL arguments.
    pub dpdk: Option<String>,
    /// PMD threads.
    pub pmd: PmdSettings,
    /// Names of the settings of `pmd` that were given.
    pub pmd_given: Vec<String>,
    /// Kernels of the packet path, if not the best.
    pub isa: Option<String>,
    /// Size of the workers' exact-match caches.
    pub emc_entries: EmcSize,
    /// It was given.
    pub emc_given: bool,
    /// Of single workers, by core (`None`: the epoll worker).
    pub emc_of: BTreeMap<Option<usize>, EmcSize>,
    /// Megaflows of a worker at most, if not as usual.
    pub flow_limit: Option<usize>,
    /// TLS files.
    pub tls: Option<TlsFiles>,
    /// Bridges, in order.
    pub bridges: Vec<BridgeSettings>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// To run.
    Run(Box<Config>),
}

/// When state is on the disk.
fn state_sync(text: &str) -> Result<Sync, String> {
    match text {
        "lazy" => Ok(Sync::Lazy),
        "barrier" => Ok(Sync::Barrier),
        _ => Err(format!("{text:?} is unknown; write lazy or barrier")),
    }
}

/// Versions to offer, as Open vSwitch's `protocols` column has them. There is one that we speak.
fn protocols(text: &str) -> Result<(), String> {
    for p in text.split(',').map(str::trim) {
        match p {
            "OpenFlow13" => {}
            "OpenFlow10" | "OpenFlow11" | "OpenFlow12" | "OpenFlow14" | "OpenFlow15" => {
                return Err(format!("--protocols: {p} is not spoken by this switch; OpenFlow13 is"));
            }
            _ => return Err(format!("--protocols: {p:?} is unknown; write OpenFlow13")),
        }
    }
    Ok(())
}

/// A datapath id: up to 16 hexadecimal digits.
pub fn dpid(text: &str) -> Result<u64, String> {
    let digits: String = text.trim_start_matches("0x").chars().filter(|c| *c != ':').collect();
    match u64::from_str_radix(&digits, 16) {
        Ok(0) => Err("datapath id 0 is not allowed".into()),
        Ok(n) if digits.len() <= 16 => Ok(n),
        _ => Err(format!("{text:?} is not a datapath id of up to 16 hexadecimal digits")),
    }
}

/// `NAME[,ofport=N][,type=T][,KEY=VALUE]...`; `devargs=` takes the rest, commas and all.
pub fn port_spec(text: &str) -> Result<PortSpec, String> {
    let (name, mut rest) = text.split_once(',').unwrap_or((text, ""));
    let mut spec =
        PortSpec { name: name.into(), ofport: None, kind: "system".into(), options: BTreeMap::new() };
    let mut bad_name = name.is_empty() || name.len() > 15;
    bad_name |= name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '=' | ':'));
    if bad_name {
        return Err(format!(
            "{name:?} is not a port name (1 to 15 characters without blanks, '/', ':' or '=')"
        ));
    }
    while !rest.is_empty() {
        let (word, tail) = if rest.starts_with("devargs=") {
            (rest, "")
        } else {
            rest.split_once(',').unwrap_or((rest, ""))
        };
        rest = tail;
        // `pmd-rxq-affinity=0:3,1:7` has commas of its own.
        if let Some(list) = spec.options.get_mut("pmd-rxq-affinity").filter(|_| !word.contains('=')) {
            *list += ",";
            *list += word;
            continue;
        }
        let (k, v) =
            word.split_once('=').ok_or_else(|| format!("{word:?} of port {name} is not KEY=VALUE"))?;
        port_option(&mut spec, k, v)?;
    }
    check_port(&spec)?;
    Ok(spec)
}

/// Sets one `KEY=VALUE` of a port.
pub fn port_option(spec: &mut PortSpec, key: &str, value: &str) -> Result<(), String> {
    match key.strip_prefix("options:").unwrap_or(key) {
        "ofport" | "ofport_request" => match value.parse::<u32>() {
            Ok(n) if (1..PortNo::MAX.0).contains(&n) => spec.ofport = Some(PortNo(n)),
            _ => {
                return Err(format!(
                    "ofport={value} of port {}: expected a number from 1 to {}",
                    spec.name,
                    PortNo::MAX.0 - 1
                ))
            }
        },
        "type" => spec.kind = if value.is_empty() { "system".into() } else { value.into() },
        other => {
            let key = match other {
                "dpdk-devargs" => "devargs",
                "other_config:pmd-rxq-affinity" | "pmd_rxq_affinity" => "pmd-rxq-affinity",
                other => other,
            };
            spec.options.insert(key.into(), value.into());
        }
    }
    Ok(())
}

/// All types of DESIGN section 5.
const PORT_TYPES: &[&str] = &[
    "system",
    "internal",
    "patch",
    "afxdp",
    "dpdk",
    "dpdkvhostuser",
    "dpdkvhostuserclient",
    "dpdkr",
    "memif",
];

/// Whether such a port can be had from this build at all.
pub fn check_port(spec: &PortSpec) -> Result<(), String> {
    let PortSpec { name, kind, options, .. } = spec;
    ofproto::queue::parse(options).map_err(|e| format!("port {name}: {e}"))?;
    if !PORT_TYPES.contains(&kind.as_str()) {
        return Err(format!("port {name}: type {kind:?} is unknown; there are {}", PORT_TYPES.join(", ")));
    }
    if let Some(list) = options.get("pmd-rxq-affinity") {
        datapath::rxq::affinity(list).map_err(|e| format!("port {name}: {e}"))?;
    }
    let dpdk = kind.starts_with("dpdk") || kind == "memif";
    if dpdk && !cfg!(feature = "dpdk") {
        return Err(format!(
            "port {name}: type {kind} needs DPDK, and this build has no feature dpdk (make build has it)"
        ));
    }
    if kind == "patch" && !options.contains_key("peer") {
        return Err(format!("port {name}: type patch needs peer=NAME"));
    }
    if kind == "dpdk" && !options.contains_key("devargs") {
        return Err(format!("port {name}: type dpdk needs devargs=... (last)"));
    }
    Ok(())
}

// ---- the file ----

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    run_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    state_sync: Option<String>,
    log: Option<String>,
    metrics: Option<SocketAddr>,
    dpdk: Option<String>,
    pmd_cores: Option<String>,
    pmd_cpu_mask: Option<String>,
    #[serde(default)]
    pmd: BTreeMap<String, toml::Value>,
    isa: Option<String>,
    /// A number, or `"auto"`.
    emc_entries: Option<toml::Value>,
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_cert: Option<PathBuf>,
    #[serde(default)]
    bridge: Vec<FileBridge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBridge {
    name: String,
    dpid: Option<String>,
    #[serde(default)]
    fail_mode: FailMode,
    #[serde(default)]
    desc: BTreeMap<String, String>,
    #[serde(default)]
    buffers: u32,
    #[serde(default)]
    table: Vec<String>,
    #[serde(default)]
    port: Vec<FilePort>,
    #[serde(default)]
    controller: Vec<FileController>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FilePort {
    Text(String),
    Table(BTreeMap<String, toml::Value>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileController {
    Text(String),
    Table(BTreeMap<String, toml::Value>),
}

fn plain(v: &toml::Value) -> String {
    match v {
        toml::Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn table_port(mut t: BTreeMap<String, toml::Value>) -> Result<PortSpec, String> {
    let name = t.remove("name").ok_or("a port without name")?;
    let mut spec = port_spec(&format!("{},type=system", plain(&name)))?;
    for (k, v) in &t {
        port_option(&mut spec, k, &plain(v))?;
    }
    check_port(&spec)?;
    Ok(spec)
}

fn table_controller(mut t: BTreeMap<String, toml::Value>) -> Result<ControllerConfig, String> {
    let target = t.remove("target").ok_or("a controller without target")?;
    let words: Vec<String> = t.iter().map(|(k, v)| format!(",{k}={}", plain(v))).collect();
    format!("{}{}", plain(&target), words.concat()).parse()
}

/// Keys of `--desc`.
pub const DESC_KEYS: &[&str] = &["mfr", "hw", "sw", "serial", "dp"];

#[derive(Default)]
struct Tls {
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_cert: Option<PathBuf>,
}

impl Config {
    fn new() -> Self {
        Self {
            run_dir: DEFAULT_RUN_DIR.into(),
            state_dir: None,
            state_sync: Sync::Lazy,
            log: "info".into(),
            metrics: None,
            dpdk: None,
            pmd: PmdSettings::default(),
            pmd_given: Vec::new(),
            isa: None,
            emc_entries: EmcSize::Auto,
            emc_given: false,
            emc_of: BTreeMap::new(),
            flow_limit: None,
            tls: None,
            bridges: Vec::new(),
        }
    }

    fn read_file(&mut self, path: &Path, tls: &mut Tls) -> Result<(), String> {
        let at = |e: String| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| at(e.to_string()))?;
        let f: FileConfig = toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
            at(format!("line {line}: {}", e.message().replace('\n', " ")))
        })?;
        let FileConfig {
            run_dir,
            state_dir,
            state_sync: sync,
            log,
            metrics,
            dpdk,
            pmd_cores,
            pmd_cpu_mask,
            pmd,
            isa,
            emc_entries,
            private_key,
            certificate,
            ca_cert,
            bridge,
        } = f;
        if let Some(d) = run_dir {
            self.run_dir = d;
        }
        self.state_dir = state_dir.or(self.state_dir.take());
        if let Some(m) = sync {
            self.state_sync = state_sync(&m).map_err(|e| at(format!("state_sync: {e}")))?;
        }
        if let Some(l) = log {
            self.log = l;
        }
        self.metrics = metrics.or(self.metrics);
        self.dpdk = dpdk.or(self.dpdk.take());
        let cores = pmd_cores.map(|c| ("pmd-cores".into(), c));
        let mask = pmd_cpu_mask.map(|m| ("pmd-cpu-mask".into(), m));
        for (k, v) in cores.into_iter().chain(mask).chain(pmd.iter().map(|(k, v)| (k.clone(), plain(v)))) {
            // In the table `pmd` the words are shorter by their "pmd_".
            let k = if k.starts_with("pmd") { k } else { format!("pmd-{k}") };
            self.set_pmd(&k, &v).map_err(at)?;
        }
        self.isa = isa.or(self.isa.take());
        if let Some(v) = emc_entries {
            let text = v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            self.emc_entries = text.parse().map_err(|e| at(format!("emc_entries: {e}")))?;
            self.emc_given = true;
        }
        tls.private_key = private_key.or(tls.private_key.take());
        tls.certificate = certificate.or(tls.certificate.take());
        tls.ca_cert = ca_cert.or(tls.ca_cert.take());
        for b in bridge {
            let at = |e: String| at(format!("bridge {}: {e}", b.name));
            let mut s = BridgeSettings::new(&b.name);
            s.dpid = b.dpid.as_deref().map(crate::config::dpid).transpose().map_err(at)?;
            s.fail_mode = b.fail_mode;
            s.desc = b.desc;
            s.n_buffers = b.buffers;
            for t in &b.table {
                s.tables.extend([table_limit(t).map_err(at)?]);
            }
            for p in b.port {
                s.ports.push(
                    match p {
                        FilePort::Text(t) => port_spec(&t),
                        FilePort::Table(t) => table_port(t),
                    }
                    .map_err(at)?,
                );
            }
            for c in b.controller {
                s.controllers.push(
                    match c {
                        FileController::Text(t) => t.parse(),
                        FileController::Table(t) => table_controller(t),
                    }
                    .map_err(at)?,
                );
            }
            self.bridges.push(s);
        }
        Ok(())
    }

    fn set_pmd(&mut self, key: &str, value: &str) -> Result<(), String> {
        self.pmd.set(key, value)?;
        let key = key.replace('_', "-");
        self.pmd_given.push(if key == "pmd-cpu-mask" { "pmd-cores".into() } else { key });
        Ok(())
    }

    fn last_bridge(&mut self) -> &mut BridgeSettings {
        if self.bridges.is_empty() {
            self.bridges.push(BridgeSettings::new("br0"));
        }
        let last = self.bridges.len() - 1;
        &mut self.bridges[last]
    }

    /// Reads the command line (without the program's name) and the file it names, and checks all of it.
    ///
    /// # Errors
    /// One line: what, where, what would be right.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Asked, String> {
        let mut c = Self::new();
        let mut tls = Tls::default();
        let mut args = args.into_iter();
        while let Some(a) = args.next() {
            let (flag, mut value) = match a.split_once('=') {
                Some((f, v)) if f.starts_with("--") => (f.to_string(), Some(v.to_string())),
                _ => (a.clone(), None),
            };
            match flag.as_str() {
                "-h" | "--help" => return Ok(Asked::Help),
                "-V" | "--version" => return Ok(Asked::Version),
                _ => {}
            }
            let known = [
                "--config",
                "--run-dir",
                "--state-dir",
                "--state-sync",
                "--log",
                "--metrics",
                "--dpdk",
                "--pmd-cores",
                "--pmd-cpu-mask",
                "--pmd",
                "--isa",
                "--emc-entries",
                "--bridge",
                "--dpid",
                "--fail-mode",
                "--port",
                "--controller",
                "--private-key",
                "--certificate",
                "--ca-cert",
                "--desc",
                "--buffers",
                "--table",
                "--protocols",
            ];
            if !known.contains(&flag.as_str()) {
                return Err(format!("unknown argument {a:?} (see ofswitchd --help)"));
            }
            if value.is_none() {
                value = args.next();
            }
            let v = value.ok_or_else(|| format!("{flag} needs a value"))?;
            let in_flag = |e: String| format!("{flag}: {e}");
            match flag.as_str() {
                "--config" => c.read_file(Path::new(&v), &mut tls)?,
                "--run-dir" => c.run_dir = v.into(),
                "--state-dir" => c.state_dir = Some(v.into()),
                "--state-sync" => c.state_sync = state_sync(&v).map_err(in_flag)?,
                "--log" => c.log = v,
                "--metrics" => {
                    c.metrics =
                        Some(v.parse().map_err(|_| {
                            format!("--metrics: {v:?} is not ADDR:PORT, such as 127.0.0.1:9475")
                        })?);
                }
                "--dpdk" => c.dpdk = Some(v),
                "--pmd-cores" => c.set_pmd("pmd-cores", &v).map_err(|e| format!("--{e}"))?,
                "--pmd-cpu-mask" => c.set_pmd("pmd-cpu-mask", &v).map_err(|e| format!("--{e}"))?,
                "--pmd" => {
                    let (k, t) = v.split_once('=').ok_or_else(|| format!("--pmd: {v:?} is not KEY=VALUE"))?;
                    let k = if k.starts_with("pmd") { k.to_owned() } else { format!("pmd-{k}") };
                    c.set_pmd(&k, t).map_err(in_flag)?;
                }
                "--isa" => c.isa = Some(v),
                "--emc-entries" => (c.emc_entries, c.emc_given) = (v.parse().map_err(in_flag)?, true),
                "--bridge" => c.bridges.push(BridgeSettings::new(&v)),
                "--dpid" => c.last_bridge().dpid = Some(dpid(&v).map_err(in_flag)?),
                "--fail-mode" => c.last_bridge().fail_mode = v.parse().map_err(in_flag)?,
                "--port" => {
                    let p = port_spec(&v).map_err(in_flag)?;
                    c.last_bridge().ports.push(p);
                }
                "--controller" => {
                    let t = v.parse().map_err(in_flag)?;
                    c.last_bridge().controllers.push(t);
                }
                "--desc" => {
                    let (k, t) = v.split_once('=').ok_or_else(|| format!("--desc: {v:?} is not KEY=TEXT"))?;
                    c.last_bridge().desc.insert(k.into(), t.into());
                }
                "--buffers" => {
                    let n = v.parse::<u32>().ok().filter(|n| *n <= ofproto::buffers::MAX_BUFFERS);
                    c.last_bridge().n_buffers =
                        n.ok_or_else(|| format!("--buffers: {v:?} is not a number up to 65536"))?;
                }
                "--table" => {
                    let t = table_limit(&v).map_err(in_flag)?;
                    c.last_bridge().tables.extend([t]);
                }
                "--protocols" => {
                    protocols(&v)?;
                    c.last_bridge();
                }
                "--private-key" => tls.private_key = Some(v.into()),
                "--certificate" => tls.certificate = Some(v.into()),
                _ => tls.ca_cert = Some(v.into()),
            }
        }
        c.last_bridge();
        c.tls = match (tls.private_key, tls.certificate, tls.ca_cert) {
            (None, None, None) => None,
            (Some(private_key), Some(certificate), Some(ca_cert)) => {
                Some(TlsFiles { private_key, certificate, ca_cert })
            }
            _ => return Err("TLS needs all three of --private-key, --certificate and --ca-cert".into()),
        };
        c.check()?;
        Ok(Asked::Run(Box::new(c)))
    }

    fn check(&self) -> Result<(), String> {
        crate::logging::level(&self.log)?;
        let mut names = std::collections::HashSet::new();
        let mut ports = std::collections::HashSet::new();
        let mut dpids = std::collections::HashMap::new();
        for b in &self.bridges {
            bridge_name(&b.name)?;
            if !names.insert(&b.name) {
                return Err(format!("bridge {} is given twice", b.name));
            }
            if let Some(other) = dpids.insert(b.dpid(), &b.name) {
                return Err(format!(
                    "bridges {other} and {} have the same datapath id {:016x}",
                    b.name,
                    b.dpid()
                ));
            }
            let mut numbers = std::collections::HashSet::new();
            for p in &b.ports {
                if !ports.insert(&p.name) {
                    return Err(format!("port {} is given twice", p.name));
                }
                if let Some(n) = p.ofport {
                    if !numbers.insert(n) {
                        return Err(format!("bridge {}: ofport={} is given twice", b.name, n.0));
                    }
                }
            }
            if let Some(k) = b.desc.keys().find(|k| !DESC_KEYS.contains(&k.as_str())) {
                return Err(format!(
                    "bridge {}: desc {k:?} is unknown; there are {}",
                    b.name,
                    DESC_KEYS.join(", ")
                ));
            }
            if self.tls.is_none() {
                if let Some(c) = b.controllers.iter().find(|c| c.target.is_tls()) {
                    return Err(format!(
                        "controller {} needs --private-key, --certificate and --ca-cert",
                        c.target
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether a bridge may be called so: it names a socket and a tap device.
pub fn bridge_name(name: &str) -> Result<(), String> {
    let ok = !name.is_empty()
        && name.len() <= 15
        && name != "ofswitchd"
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if ok {
        Ok(())
    } else {
        Err(format!("{name:?} is not a bridge name (1 to 15 letters, digits, '-', '_' or '.')"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str]) -> Result<Config, String> {
        match Config::from_args(line.iter().map(|s| s.to_string()))? {
            Asked::Run(c) => Ok(*c),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_apply_to_the_last_bridge() {
        let c = run(&[
            "--port",
            "p1",
            "--bridge",
            "br1",
            "--dpid",
            "000000000000000a",
            "--port",
            "p2,ofport=7,type=patch,peer=p1",
            "--controller=tcp:127.0.0.1:6653,rate=100,burst=10",
            "--pmd-cores",
            "1,2-3",
            "--fail-mode",
            "standalone",
        ])
        .unwrap();
        assert_eq!(c.bridges.len(), 2);
        assert_eq!((c.bridges[0].name.as_str(), c.bridges[0].ports.len()), ("br0", 1));
        let b = &c.bridges[1];
        assert_eq!((b.dpid(), b.fail_mode), (10, FailMode::Standalone));
        assert_eq!(b.ports[0].ofport, Some(PortNo(7)));
        assert_eq!(b.ports[0].options["peer"], "p1");
        assert_eq!((b.controllers[0].rate, b.controllers[0].burst), (100, 10));
        assert_eq!(c.pmd.cores, [1, 2, 3]);
    }

    #[test]
    fn devargs_take_the_rest() {
        let text = "d0,ofport=3,type=dpdk,devargs=net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap";
        match port_spec(text) {
            Ok(p) => assert_eq!(p.options["devargs"], "net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap"),
            Err(e) => assert!(!cfg!(feature = "dpdk") && e.contains("feature dpdk"), "{e}"),
        }
    }

    #[test]
    fn refusals_say_what_where_and_what_would_be_right() {
        for (line, needle) in [
            (&["--wrong"][..], "unknown argument \"--wrong\""),
            (&["--port"], "--port needs a value"),
            (&["--port", "p1,type=foo"], "port p1: type \"foo\" is unknown; there are system"),
            (&["--port", "p1,ofport=0"], "ofport=0 of port p1: expected a number from 1 to"),
            (&["--port", "p1", "--port", "p1"], "port p1 is given twice"),
            (&["--port", "a,type=patch"], "needs peer=NAME"),
            (&["--controller", "tcp:host"], "not an IP address"),
            (&["--controller", "ssl:127.0.0.1"], "needs --private-key"),
            (&["--dpid", "xyz"], "--dpid: \"xyz\" is not a datapath id"),
            (&["--fail-mode", "open"], "write secure or standalone"),
            (&["--metrics", "9475"], "not ADDR:PORT"),
            (&["--log", "loud"], "loud"),
            (&["--bridge", "a/b"], "not a bridge name"),
            (&["--pmd-cores", "3-1"], "--pmd-cores: \"3-1\" is not a list of cores"),
            (&["--pmd-cpu-mask", "0xq"], "--pmd-cpu-mask: \"0xq\" is not a hexadecimal mask"),
            (&["--pmd", "sleep-max=1s"], "--pmd: pmd-sleep-max=1s: write 0 to 10000"),
            (&["--port", "d,type=dpdk,pmd-rxq-affinity=0:x,devargs=net_null0"], "write QUEUE:CORE"),
            (&["--emc-entries", "lots"], "write auto, 0 (off)"),
            (&["--certificate", "x"], "all three"),
            (&["--port", "p1,max-rate=fast"], "port p1: max-rate=fast: \"fast\" is not a rate"),
            (&["--buffers", "many"], "not a number up to 65536"),
            (&["--table", "254,flow-limit=1"], "\"254\" is not a table (0 to 253)"),
            (
                &["--table", "0,overflow-policy=drop"],
                "write flow-limit=COUNT or overflow-policy=refuse|evict",
            ),
            (
                &["--protocols", "OpenFlow13,OpenFlow10"],
                "OpenFlow10 is not spoken by this switch; OpenFlow13 is",
            ),
            (&["--controller", "tcp:127.0.0.1,name=x"], "only ssl: controllers have a name"),
            (&["--config", "/nonexistent.toml"], "/nonexistent.toml: No such file"),
        ] {
            let e = run(line).unwrap_err();
            assert!(e.contains(needle), "{line:?}: {e}");
            assert!(!e.contains('\n'), "{e}");
        }
    }

    #[test]
    fn the_file_says_the_same_and_unknown_keys_name_their_line() {
        let dir = std::env::temp_dir().join(format!("ofsw-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.toml");
        let good = "log = \"warn\"\n[[bridge]]\nname = \"br7\"\ndpid = \"7\"\nfail_mode = \"standalone\"\n\
                    port = [\"p1,ofport=4\", { name = \"p2\", type = \"patch\", peer = \"p1\", ofport = 5 }]\n\
                    controller = [\"tcp:127.0.0.1\", { target = \"ptcp:0:127.0.0.1\", rate = 5 }]\n";
        std::fs::write(&path, good).unwrap();
        let c = run(&["--config", path.to_str().unwrap()]).unwrap();
        assert_eq!(c.bridges[0].ports[1].ofport, Some(PortNo(5)));
        assert_eq!(c.bridges[0].controllers[1].rate, 5);
        let pmd =
            "pmd_cpu_mask = \"0x6\"\npmd = { sleep_max = 50, auto_lb = true, rxq_assign = \"roundrobin\" }\n";
        std::fs::write(&path, format!("{pmd}{good}")).unwrap();
        let c = run(&["--config", path.to_str().unwrap(), "--pmd", "auto-lb=false"]).unwrap();
        assert_eq!((c.pmd.cores, c.pmd.sleep_max_us, c.pmd.auto_lb), (vec![1, 2], 50, false));
        assert_eq!(c.pmd.assign, datapath::rxq::Assign::RoundRobin);
        std::fs::write(&path, good.replace("dpid", "dpud")).unwrap();
        let e = run(&["--config", path.to_str().unwrap()]).unwrap_err();
        assert!(e.contains("line 4") && e.contains("dpud"), "{e}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
