//! The running switch: one thread that owns bridges, connections and commands, and goes round in one loop.
//!
//! ```text
//! what came in (connections, dials, commands) -> requests in slices -> publish -> repair -> events -> timers -> sleep
//! ```
//! Nothing in the loop waits for a peer. Sockets are served by tasks of the same thread, between the loop's turns.

use crate::commands;
use crate::config::{BridgeSettings, Config, ControllerConfig, FailMode};
use crate::control::{ControlSocket, Request};
use crate::logging::LogLevel;
use crate::metrics::MetricsServer;
use crate::state::{self, Journal, Recorded, Saved};
use datapath::DatapathConfig;
use ofproto::conn::io::{self, Accepted, Listener, Stream};
use ofproto::conn::manager::{Backend, ConnId, ConnKind, ConnOptions, Manager, MAX_CONNECTIONS, TIMER_GRAIN};
use ofproto::conn::rconn::{Rconn, RconnConfig, Todo};
use ofproto::conn::tls::TlsStore;
use ofproto::conn::{Pipe, Target};
use ofproto::switch::FlowCursor;
use ofproto::{BridgeConfig, BridgeId, Journaling, PortSpec, Switch};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, Notify};

/// Requests handled between looks at everything else: a millisecond or so.
const SLICE: usize = 512;
/// Looks at the workers, before going to sleep between them, while a barrier waits.
const SPINS: u32 = 64;

/// How long to look for more after the last message before going to sleep.
const LINGER: Duration = Duration::from_micros(50);
/// Tasks of this thread (all sockets) get a turn at least so often, however much the loop itself has to do.
const SERVE: Duration = Duration::from_millis(1);
/// Looks at the last peer's socket between two at everything else meanwhile, and requests found that way in a row.
const LOOKS: u32 = 32;
const TURNS: u32 = 32;
/// How long after the last message memory is given back; how long after the first if they never stop (a controller that polls); and how long
/// after it was last done in any case (flow entries end by themselves).
const TRIM: Duration = Duration::from_millis(300);
const TRIM_AT_LATEST: Duration = Duration::from_secs(5);
const TRIM_ALWAYS: Duration = Duration::from_secs(30);

/// A controller of a bridge and the state of our side of it.
pub struct Controller {
    /// As configured.
    pub config: ControllerConfig,
    /// Its key in [`Daemon::listeners`] or of its dials.
    key: u64,
    /// Active targets: when to dial.
    dialer: Option<Rconn>,
    /// Active targets: the open main connection.
    conn: Option<ConnId>,
    /// The dial under way: the outcome of any other is too late.
    attempt: u64,
    /// Auxiliary connections by number.
    auxiliaries: Vec<Auxiliary>,
    /// Why it is not connected.
    pub last_error: Option<String>,
}

/// An auxiliary connection, and when to dial it if it is not open.
struct Auxiliary {
    dialer: Rconn,
    conn: Option<ConnId>,
    attempt: u64,
}

impl Controller {
    /// Whether a dialled connection is open.
    pub fn is_open(&self) -> bool {
        self.conn.is_some()
    }
    /// The state of dialling in one word.
    pub fn state(&self) -> &'static str {
        match &self.dialer {
            Some(r) => r.state_name(),
            None => "LISTENING",
        }
    }
}

/// A bridge with its connections.
pub struct Unit {
    /// The switch's name for it.
    pub id: BridgeId,
    /// Settings in effect.
    pub settings: BridgeSettings,
    /// Connections.
    pub manager: Manager<FlowCursor>,
    /// Controllers.
    pub controllers: Vec<Controller>,
    /// What is kept of it.
    pub journal: Option<Journal>,
    own_listeners: Vec<u64>,
    /// Controllers are configured, one is connected; as the switch was told.
    controlled: (bool, bool),
    monitored: bool,
}

struct Door {
    bridge: String,
    kind: ConnKind,
    config: Option<ControllerConfig>,
    listener: Listener,
}

/// A dial's outcome.
struct Dialled {
    key: u64,
    auxiliary_id: u8,
    attempt: u64,
    outcome: Result<Box<dyn Stream>, String>,
}

/// The running switch.
pub struct Daemon {
    /// What it was started with.
    pub config: Config,
    /// Bridges and datapath.
    pub switch: Switch,
    /// Bridges by name.
    pub units: BTreeMap<String, Unit>,
    /// Log level.
    pub log: LogLevel,
    /// TLS files.
    pub tls: Rc<TlsStore>,
    /// When it started.
    pub started: Instant,
    /// Set by a signal or `exit`.
    pub stopping: bool,
    /// When `show-top` looked last, and what it saw.
    pub top: (Instant, ofproto::api::Looked),
    /// When the datapath looks at loads again.
    upkeep: Instant,
    stop_asked: Rc<std::cell::Cell<bool>>,
    listeners: HashMap<u64, Door>,
    next_key: u64,
    wake: Arc<Notify>,
    accepted: (mpsc::Sender<Accepted>, mpsc::Receiver<Accepted>),
    dialled: (mpsc::Sender<Dialled>, mpsc::Receiver<Dialled>),
    requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
    control: Option<ControlSocket>,
    metrics: Option<MetricsServer>,
    /// Why the configuration is not kept as it is now.
    pub not_saved: Option<String>,
    /// Held while we run.
    _state_lock: Option<std::fs::File>,
    /// While set, a worker wakes the loop in each of its turns.
    #[cfg(test)]
    storm: Arc<std::sync::atomic::AtomicBool>,
}

impl Daemon {
    /// Sets everything up. On an error nothing of it is left.
    ///
    /// # Errors
    /// One line: what, where, what would be right.
    pub async fn start(mut config: Config, log: LogLevel) -> Result<Self, String> {
        let now = Instant::now();
        let run_dir = config.run_dir.clone();
        std::fs::create_dir_all(&run_dir).map_err(|e| format!("run directory {}: {e}", run_dir.display()))?;
        let tls = Rc::new(TlsStore::default());
        if let Some(files) = config.tls.clone() {
            tls.set_files(files)?;
        }
        let requests = mpsc::channel(64);
        // First of all: whoever holds this socket holds the run directory.
        let control = ControlSocket::listen(&run_dir.join("ofswitchd.sock"), requests.0.clone())?;
        let state_lock = config.state_dir.as_deref().map(state::lock).transpose()?;
        if let Some(dir) = &config.state_dir {
            let saved = Saved::load(dir)?;
            saved.restore_workers(&mut config)?;
            let kept = saved.merge_into(&mut config.bridges)?;
            // A device that has gone since is told, and does not stop the others.
            for b in &mut config.bridges {
                b.ports.retain(|p| {
                    let gone = kept.contains(&p.name)
                        && p.kind == "system"
                        && !std::path::Path::new("/sys/class/net").join(&p.name).exists();
                    if gone {
                        tracing::warn!(bridge = %b.name, port = %p.name, "kept port is gone: there is no such interface");
                    }
                    !gone
                });
            }
        }
        let wake = Arc::new(Notify::new());
        let waker = {
            let wake = wake.clone();
            Arc::new(move || wake.notify_one()) as ofproto::Waker
        };
        if config.dpdk.is_some() && !cfg!(feature = "dpdk") {
            return Err("--dpdk: this build has no feature dpdk (make build has it)".into());
        }
        #[cfg(feature = "dpdk")]
        if let Some(args) = &config.dpdk {
            datapath::dpdk::eal::init(args).map_err(|e| e.to_string())?;
        }
        let dp = DatapathConfig {
            pmd: config.pmd.clone(),
            isa: config.isa.clone(),
            emc: config.emc_entries,
            emc_of: config.emc_of.clone(),
            waker: waker.clone(),
            ..DatapathConfig::default()
        };
        let dp = DatapathConfig { flow_limit: config.flow_limit.unwrap_or(dp.flow_limit), ..dp };
        let switch = Switch::new(dp, waker, now).map_err(|e| e.to_string())?;
        let mut d = Self {
            switch,
            units: BTreeMap::new(),
            log,
            tls,
            started: now,
            stopping: false,
            top: (now, Default::default()),
            upkeep: now,
            stop_asked: Rc::default(),
            listeners: HashMap::new(),
            next_key: 1,
            wake,
            accepted: mpsc::channel(64),
            dialled: mpsc::channel(64),
            requests,
            control: Some(control),
            metrics: None,
            not_saved: None,
            _state_lock: state_lock,
            #[cfg(test)]
            storm: Arc::default(),
            config,
        };
        if let Some(addr) = d.config.metrics {
            d.metrics = Some(MetricsServer::listen(addr, d.requests.0.clone()).await?);
        }
        for settings in d.config.bridges.clone() {
            d.add_bridge(settings, now).await?;
        }
        d.save();
        d.settle();
        Ok(d)
    }

    /// Keeps the configuration as it now is, if anything is kept.
    pub fn save(&mut self) {
        let Some(dir) = &self.config.state_dir else { return };
        let mut saved = Saved::of(self.units.values().map(|u| &u.settings));
        saved.keep_workers(self.switch.datapath());
        let before = std::mem::replace(&mut self.not_saved, saved.store(dir).err());
        match (&before, &self.not_saved) {
            (None, Some(e)) => {
                tracing::error!(error = %e, "configuration not kept; tried again every second")
            }
            (Some(_), None) => tracing::info!("configuration is kept again"),
            _ => {}
        }
    }

    /// Removes a bridge for good: what was kept of it too.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn forget_bridge(&mut self, name: &str, now: Instant) -> Result<(), String> {
        self.del_bridge(name, now)?;
        if let Some(dir) = &self.config.state_dir {
            state::forget(dir, name);
        }
        Ok(())
    }

    fn settle(&mut self) {
        if let Some(u) = self.units.values().next() {
            let id = u.id;
            self.switch.view(id).publish();
        }
        let now = Instant::now();
        self.switch.run(now);
    }

    /// The line that says we serve, with every address.
    pub fn ready_line(&self) -> String {
        let mut out = String::from("ready");
        if let Some(c) = &self.control {
            out.push_str(&format!(" control=unix:{}", c.path.display()));
        }
        if let Some(m) = &self.metrics {
            out.push_str(&format!(" metrics={}", m.address));
        }
        for u in self.units.values() {
            let name = &u.settings.name;
            out.push_str(&format!(" {name}={:016x}", u.settings.dpid()));
            let run_dir = self.config.run_dir.display();
            out.push_str(&format!(
                " {name}.mgmt=unix:{run_dir}/{name}.mgmt {name}.snoop=unix:{run_dir}/{name}.snoop"
            ));
            for c in &u.controllers {
                match self.listeners.get(&c.key) {
                    Some(door) => out.push_str(&format!(" {name}.listen={}", door.listener.target)),
                    None => out.push_str(&format!(" {name}.controller={}", c.config.target)),
                }
            }
        }
        out
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    async fn open_door(
        &mut self,
        bridge: &str,
        kind: ConnKind,
        target: &Target,
        config: Option<ControllerConfig>,
    ) -> Result<u64, String> {
        let key = self.key();
        let listener = io::listen(target, self.tls.clone(), key, self.accepted.0.clone()).await?;
        self.listeners.insert(key, Door { bridge: bridge.into(), kind, config, listener });
        Ok(key)
    }

    /// Adds a bridge with its ports and controllers, or nothing of it.
    ///
    /// # Errors
    /// One line.
    pub async fn add_bridge(&mut self, settings: BridgeSettings, now: Instant) -> Result<(), String> {
        let name = settings.name.clone();
        crate::config::bridge_name(&name)?;
        if self.units.contains_key(&name) {
            return Err(format!("bridge {name} exists"));
        }
        if let Some(u) = self.units.values().find(|u| u.settings.dpid() == settings.dpid()) {
            return Err(format!(
                "bridge {} has datapath id {:016x} already",
                u.settings.name,
                settings.dpid()
            ));
        }
        let mut config = BridgeConfig::new(&name, settings.dpid());
        config.standalone = settings.fail_mode == FailMode::Standalone;
        config.n_buffers = settings.n_buffers;
        config.tables = settings.tables.clone();
        for (k, v) in &settings.desc {
            let v = v.as_str();
            match k.as_str() {
                "mfr" => config.desc.mfr_desc = v.into(),
                "hw" => config.desc.hw_desc = v.into(),
                "sw" => config.desc.sw_desc = v.into(),
                "serial" => config.desc.serial_num = v.into(),
                _ => config.desc.dp_desc = v.into(),
            }
        }
        let id = self.switch.add_bridge(now, config).map_err(|e| e.to_string())?;
        let (ports, controllers) = (settings.ports.clone(), settings.controllers.clone());
        let unit = Unit {
            id,
            settings: BridgeSettings { ports: Vec::new(), controllers: Vec::new(), ..settings },
            manager: Manager::new(),
            controllers: Vec::new(),
            journal: None,
            own_listeners: Vec::new(),
            controlled: (false, false),
            monitored: false,
        };
        self.units.insert(name.clone(), unit);
        let filled = self.fill_bridge(&name, ports, controllers, now).await;
        if filled.is_err() {
            let _ = self.del_bridge(&name, now);
        }
        filled
    }

    async fn fill_bridge(
        &mut self,
        name: &str,
        ports: Vec<PortSpec>,
        controllers: Vec<ControllerConfig>,
        now: Instant,
    ) -> Result<(), String> {
        for p in ports {
            self.add_port(name, p, now)?;
        }
        if let Some(dir) = self.config.state_dir.clone() {
            let mut journal = Journal::open(&dir, name, self.config.state_sync)?;
            let u = self.unit(name)?;
            let (id, tables) = (u.id, u.settings.tables.clone());
            if journal.is_explicit() {
                self.switch.set_journaling(id, Journaling::Replay);
            }
            let did = journal.replay(&mut self.switch.view(id), now)?;
            tracing::info!(
                bridge = name,
                messages = did.messages,
                refused = did.refused,
                torn = did.torn_bytes,
                "state restored"
            );
            self.switch.set_journaling(id, Journaling::On);
            // The journal may hold table features of a time when limits were others.
            for (t, limit) in tables {
                self.switch.set_table_limit(now, id, t, limit).map_err(|e| e.to_string())?;
            }
            self.unit(name)?.journal = Some(journal);
        }
        for (suffix, kind) in [("mgmt", ConnKind::Service), ("snoop", ConnKind::Snoop)] {
            let target = Target::Punix(self.config.run_dir.join(format!("{name}.{suffix}")));
            let key = self.open_door(name, kind, &target, None).await?;
            if let Some(u) = self.units.get_mut(name) {
                u.own_listeners.push(key);
            }
        }
        for c in controllers {
            self.add_controller(name, c, now).await?;
        }
        Ok(())
    }

    /// Removes a bridge, its ports and its connections.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn del_bridge(&mut self, name: &str, now: Instant) -> Result<(), String> {
        let Some(mut u) = self.units.remove(name) else { return Err(no_bridge(name)) };
        for key in u.own_listeners.iter().chain(u.controllers.iter().map(|c| &c.key)) {
            self.listeners.remove(key);
        }
        u.manager.hang_up_all("the bridge is deleted");
        self.switch.del_bridge(now, name).map_err(|e| e.to_string())
    }

    /// A bridge by name.
    ///
    /// # Errors
    /// There is none.
    pub fn unit(&mut self, name: &str) -> Result<&mut Unit, String> {
        self.units.get_mut(name).ok_or_else(|| no_bridge(name))
    }

    /// Adds a port.
    ///
    /// # Errors
    /// One line; nothing has changed then.
    pub fn add_port(
        &mut self,
        bridge: &str,
        spec: PortSpec,
        now: Instant,
    ) -> Result<openflow::PortNo, String> {
        crate::config::check_port(&spec)?;
        let id = self.unit(bridge)?.id;
        let mut spec = spec;
        if spec.kind == "dpdkvhostuser" && !["path", "socket"].iter().any(|k| spec.options.contains_key(*k)) {
            // As OVS has it: the socket is called as the port and lies in the run directory.
            spec.options.insert("path".into(), self.config.run_dir.join(&spec.name).display().to_string());
        }
        let no = self.switch.add_port(now, id, spec.clone()).map_err(|e| e.to_string())?;
        self.unit(bridge)?.settings.ports.push(PortSpec { ofport: Some(no), ..spec });
        Ok(no)
    }

    /// Removes a port.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn del_port(&mut self, bridge: &str, name: &str, now: Instant) -> Result<(), String> {
        let id = self.unit(bridge)?.id;
        self.switch.del_port(now, id, name).map_err(|e| e.to_string())?;
        self.unit(bridge)?.settings.ports.retain(|p| p.name != name);
        Ok(())
    }

    /// Adds a controller: starts dialling or listening.
    ///
    /// # Errors
    /// The address cannot be listened on, or TLS is not set up.
    pub async fn add_controller(
        &mut self,
        bridge: &str,
        config: ControllerConfig,
        now: Instant,
    ) -> Result<(), String> {
        let key;
        let dialer;
        if config.target.is_passive() {
            key = self
                .open_door(bridge, ConnKind::Controller, &config.target.clone(), Some(config.clone()))
                .await?;
            dialer = None;
        } else {
            if config.target.is_tls() {
                self.tls.connector(config.name.is_some())?;
            }
            key = self.key();
            let seed = self.unit(bridge)?.settings.dpid() ^ key;
            dialer = Some(Rconn::active(backoff(&config), seed, now));
        }
        let u = self.unit(bridge)?;
        u.settings.controllers.push(config.clone());
        u.controllers.push(Controller {
            config,
            key,
            dialer,
            conn: None,
            attempt: 0,
            auxiliaries: Vec::new(),
            last_error: None,
        });
        Ok(())
    }

    /// Replaces all controllers.
    ///
    /// # Errors
    /// As [`Daemon::add_controller`]; the old ones are gone then.
    pub async fn set_controllers(
        &mut self,
        bridge: &str,
        list: Vec<ControllerConfig>,
        now: Instant,
    ) -> Result<(), String> {
        let u = self.unit(bridge)?;
        u.settings.controllers.clear();
        u.manager.hang_up_controllers("the controller is no longer configured");
        let old: Vec<Controller> = std::mem::take(&mut u.controllers);
        for c in old {
            self.listeners.remove(&c.key);
        }
        for c in list {
            self.add_controller(bridge, c, now).await?;
        }
        Ok(())
    }

    /// What a signal calls to end [`Daemon::run`].
    pub fn stop_handle(&self) -> impl Fn() + 'static {
        let (stop, wake) = (self.stop_asked.clone(), self.wake.clone());
        move || {
            stop.set(true);
            wake.notify_one();
        }
    }

    /// Serves until told to stop.
    pub async fn run(&mut self) {
        let (mut spins, mut at_once) = (0, 0);
        let (mut busy, mut trim, mut trimmed) = ((0, self.started), None, self.started);
        let mut served = self.started;
        while !self.stopping && !self.stop_asked.get() {
            self.take_in().await;
            let now = Instant::now();
            // A wait that is over before it begins (workers wake us all the time in a storm of new flows) lets no other task run.
            if now.saturating_duration_since(served) >= SERVE {
                served = now;
                tokio::task::yield_now().await;
            }
            let mut more = self.handle_requests(now);
            self.switch.expect_more(more);
            let deadline = self.switch.run(now);
            if now >= self.upkeep {
                self.upkeep = now + Duration::from_secs(1);
                self.switch.datapath().upkeep(now);
                if self.not_saved.is_some() {
                    self.save();
                }
            }
            self.pass_events(now);
            let timer = self.timers(now);
            self.units.values().for_each(|u| u.manager.flush());
            let waiting = self.units.values().any(|u| u.manager.is_waiting_for_workers());
            if waiting && !more {
                // Workers answer within microseconds: worth a few looks before a sleep.
                spins += 1;
                more = spins < SPINS;
            } else {
                spins = 0;
            }
            let handled = self.units.values().map(|u| u.manager.handled).sum();
            if handled != busy.0 {
                busy = (handled, now);
                trim.get_or_insert(now);
            }
            let passed = |since| now.saturating_duration_since(since);
            let is_quiet = !more && passed(busy.1) > TRIM;
            let is_due = trim.is_some_and(|t| is_quiet || passed(t) > TRIM_AT_LATEST);
            if is_due || passed(trimmed) > TRIM_ALWAYS {
                (trim, trimmed) = (None, now);
                datapath::sys::give_back_memory();
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            if now.saturating_duration_since(busy.1) < LINGER && self.linger(busy.1, &mut at_once).await {
                continue;
            }
            #[cfg(test)]
            if self.storm.load(std::sync::atomic::Ordering::Relaxed) {
                self.wake.notify_one();
            }
            let longest = if waiting { Duration::from_millis(1) } else { TIMER_GRAIN };
            let until =
                [deadline, timer].into_iter().flatten().min().unwrap_or(now + longest).min(now + longest);
            let _ = tokio::time::timeout_at(until.into(), self.wake_or_channel()).await;
        }
        self.stop();
    }

    /// A peer that waits for each answer asks again within microseconds, sooner than a sleeping thread would wake: looks for it for a
    /// while before that. True if there is something to do.
    /// `at_once`: how often it was there at once, before anybody else had a turn.
    async fn linger(&mut self, since: Instant, at_once: &mut u32) -> bool {
        let mut looks = 0u32;
        while since.elapsed() < LINGER {
            if *at_once < TURNS {
                if self.units.values_mut().any(|u| u.manager.look()) {
                    *at_once += 1;
                    return true;
                }
                // If the peer has no other core to run on, it gets this one.
                if looks.is_multiple_of(4) {
                    std::thread::yield_now();
                }
                looks += 1;
                if !looks.is_multiple_of(LOOKS) {
                    continue;
                }
            }
            *at_once = 0;
            let woken = tokio::select! {
                biased;
                () = self.wake.notified() => true,
                () = tokio::task::yield_now() => false,
            };
            if woken {
                return true;
            }
        }
        false
    }

    async fn wake_or_channel(&mut self) {
        tokio::select! {
            () = self.wake.notified() => {}
            Some(a) = self.accepted.1.recv() => self.welcome(a),
            Some(d) = self.dialled.1.recv() => self.dial_done(d),
            Some(r) = self.requests.1.recv() => self.command(r).await,
        }
    }

    async fn take_in(&mut self) {
        while let Ok(a) = self.accepted.1.try_recv() {
            self.welcome(a);
        }
        while let Ok(d) = self.dialled.1.try_recv() {
            self.dial_done(d);
        }
        // A few at a time: whoever sends commands in a loop must not starve packets' controllers.
        for _ in 0..8 {
            match self.requests.1.try_recv() {
                Ok(r) => self.command(r).await,
                Err(_) => break,
            }
        }
    }

    async fn command(&mut self, r: Request) {
        let answer = commands::execute(self, &r.method, &r.params).await;
        if let Err(e) = &answer {
            tracing::debug!(command = %r.method, error = %e, "command refused");
        }
        let _ = r.reply.send(answer);
    }

    fn handle_requests(&mut self, now: Instant) -> bool {
        let mut more = false;
        for u in self.units.values_mut() {
            let mut view = Recorded { inner: self.switch.view(u.id), journal: u.journal.as_mut() };
            more |= u.manager.process(&mut view, now, SLICE);
            view.write();
            if let Some(j) = &mut u.journal {
                if j.is_due() {
                    more |= j.rewrite_some(&mut self.switch.view(u.id), now);
                }
            }
            // After the journal: what is answered is kept.
            u.manager.flush();
        }
        more
    }

    fn pass_events(&mut self, now: Instant) {
        for u in self.units.values_mut().filter(|u| u.journal.is_some()) {
            // What controllers are told of is kept.
            Recorded { inner: self.switch.view(u.id), journal: u.journal.as_mut() }.write();
        }
        while let Some((id, event)) = self.switch.next_event() {
            if let Some(u) = self.units.values_mut().find(|u| u.id == id) {
                u.manager.event(&event, now);
            }
        }
    }

    fn timers(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut dials: Vec<(u64, ControllerConfig, u8, u64)> = Vec::new();
        let mut attempt = || {
            self.next_key += 1;
            self.next_key
        };
        for u in self.units.values_mut() {
            next = [next, u.manager.timers(now)].into_iter().flatten().min();
            for (id, why) in u.manager.doomed() {
                u.manager.close(id);
                tracing::debug!(bridge = %u.settings.name, conn = id.0, %why, "connection closed");
                for a in u.controllers.iter_mut().flat_map(|c| &mut c.auxiliaries) {
                    if a.conn == Some(id) {
                        a.conn = None;
                        a.dialer.closed(now);
                    }
                }
                for c in u.controllers.iter_mut().filter(|c| c.conn == Some(id)) {
                    tracing::info!(bridge = %u.settings.name, controller = %c.config.target, %why, "controller lost");
                    c.conn = None;
                    c.auxiliaries.clear();
                    c.last_error = Some(why.clone());
                    if let Some(r) = &mut c.dialer {
                        r.closed(now);
                    }
                }
            }
            for c in &mut u.controllers {
                // "The switch must not initiate auxiliary connection before having completed the connection setup over the main connection"
                // (1.3.5, "Auxiliary Connections").
                if c.auxiliaries.is_empty() && c.conn.is_some_and(|main| u.manager.is_up(main)) {
                    let seed = u.settings.dpid() ^ c.key;
                    let config = backoff(&c.config);
                    let new = |n| Auxiliary {
                        dialer: Rconn::active(config, seed ^ u64::from(n) << 32, now),
                        conn: None,
                        attempt: 0,
                    };
                    c.auxiliaries = (1..=c.config.auxiliary).map(new).collect();
                }
                for (i, a) in c.auxiliaries.iter_mut().enumerate() {
                    if a.conn.is_some() {
                        continue;
                    }
                    match a.dialer.run(now) {
                        Some(Todo::Connect) => {
                            a.attempt = attempt();
                            dials.push((c.key, c.config.clone(), i as u8 + 1, a.attempt));
                        }
                        Some(_) => a.dialer.closed(now),
                        None => {}
                    }
                    next = [next, a.dialer.deadline()].into_iter().flatten().min();
                }
                let Some(r) = &mut c.dialer else { continue };
                match r.run(now) {
                    Some(Todo::Connect) => {
                        c.attempt = attempt();
                        dials.push((c.key, c.config.clone(), 0, c.attempt));
                    }
                    Some(Todo::Disconnect(why)) if c.conn.is_none() => {
                        c.last_error = Some(why.into());
                        r.closed(now);
                    }
                    _ => {}
                }
                if c.conn.is_none() {
                    next = [next, r.deadline()].into_iter().flatten().min();
                }
            }
            let (connected, monitored) = (u.manager.is_controlled(), u.manager.is_monitored());
            // Whoever only waits for controllers does not miss them.
            let configured = u.controllers.iter().any(|c| c.dialer.is_some());
            if (configured, connected) != u.controlled {
                u.controlled = (configured, connected);
                self.switch.set_controllers(u.id, configured, connected);
            }
            if monitored != u.monitored {
                u.monitored = monitored;
                self.switch.set_monitored(u.id, monitored);
            }
        }
        for (key, config, auxiliary_id, attempt) in dials {
            self.dial(key, config, auxiliary_id, attempt);
        }
        next
    }

    fn dial(&self, key: u64, config: ControllerConfig, auxiliary_id: u8, attempt: u64) {
        let (tls, done) = (self.tls.clone(), self.dialled.0.clone());
        tokio::task::spawn_local(async move {
            let outcome = io::dial(&config.target, config.name.as_deref(), &tls).await;
            let _ = done.send(Dialled { key, auxiliary_id, attempt, outcome }).await;
        });
    }

    fn options(kind: ConnKind, name: String, config: Option<&ControllerConfig>) -> ConnOptions {
        let mut o = ConnOptions::new(kind, name);
        if let Some(c) = config {
            o.rconn = RconnConfig {
                max_backoff: Duration::from_millis(c.max_backoff_ms),
                inactivity_probe: (c.inactivity_probe_ms > 0)
                    .then(|| Duration::from_millis(c.inactivity_probe_ms)),
            };
            o.packet_in_rate = (c.rate > 0).then_some((c.rate, c.burst.max(c.rate / 4)));
        }
        o
    }

    fn serve(&self, stream: Box<dyn Stream>) -> Pipe {
        let pipe = Pipe::new();
        tokio::task::spawn_local(io::serve(stream, pipe.clone(), self.wake.clone()));
        pipe
    }

    fn welcome(&mut self, a: Accepted) {
        let Some(door) = self.listeners.get(&a.key) else { return };
        let options = Self::options(door.kind, a.peer, door.config.as_ref());
        let bridge = door.bridge.clone();
        if self.units.get(&bridge).is_some_and(|u| u.manager.is_full()) {
            tracing::debug!(%bridge, peer = %options.name, "turned away: {MAX_CONNECTIONS} connections are open");
            return;
        }
        let pipe = self.serve(a.stream);
        let id = ConnId(self.key());
        if let Some(u) = self.units.get_mut(&bridge) {
            tracing::debug!(%bridge, conn = id.0, peer = %options.name, "connection accepted");
            u.manager.open(id, options, pipe, Instant::now());
        }
    }

    fn dial_done(&mut self, d: Dialled) {
        let now = Instant::now();
        let id = ConnId(self.key());
        let wake = self.wake.clone();
        for u in self.units.values_mut() {
            let bridge = &u.settings.name;
            let Some(c) = u.controllers.iter_mut().find(|c| c.key == d.key) else { continue };
            let auxiliary = usize::from(d.auxiliary_id).checked_sub(1);
            // The main connection may have gone while an auxiliary one was dialled.
            let attempt = auxiliary.map_or(Some(c.attempt), |i| c.auxiliaries.get(i).map(|a| a.attempt));
            if attempt != Some(d.attempt) {
                return;
            }
            let auxiliary = auxiliary.and_then(|i| c.auxiliaries.get_mut(i));
            let stream = match d.outcome {
                Ok(s) => s,
                Err(e) => {
                    if let Some(a) = auxiliary {
                        a.dialer.closed(now);
                        return;
                    }
                    if c.last_error.as_ref() != Some(&e) {
                        tracing::warn!(%bridge, controller = %c.config.target, error = %e, "cannot connect");
                    }
                    c.last_error = Some(e);
                    if let Some(r) = &mut c.dialer {
                        r.closed(now);
                    }
                    return;
                }
            };
            let pipe = Pipe::new();
            tokio::task::spawn_local(io::serve(stream, pipe.clone(), wake));
            let mut options =
                Self::options(ConnKind::Controller, c.config.target.to_string(), Some(&c.config));
            if let Some(a) = auxiliary {
                a.dialer.opened(now);
                a.dialer.greeted(now);
                a.conn = Some(id);
                options.auxiliary_id = d.auxiliary_id;
                options.main = c.conn;
            } else {
                if let Some(r) = &mut c.dialer {
                    r.opened(now);
                    r.greeted(now);
                }
                c.conn = Some(id);
                c.last_error = None;
                tracing::info!(%bridge, controller = %c.config.target, "controller connected");
            }
            u.manager.open(id, options, pipe, now);
            break;
        }
    }

    /// Takes everything down: sockets first, so that nobody is promised anything, then ports.
    fn stop(&mut self) {
        tracing::info!("stopping");
        self.control = None;
        self.metrics = None;
        self.listeners.clear();
        let now = Instant::now();
        let names: Vec<String> = self.units.keys().cloned().collect();
        for name in names {
            if let Err(e) = self.del_bridge(&name, now) {
                tracing::warn!(bridge = %name, error = %e, "shutdown");
            }
        }
    }
}

/// For dialling a controller; its connections are probed by the bridge's [`Manager`].
fn backoff(c: &ControllerConfig) -> RconnConfig {
    RconnConfig { max_backoff: Duration::from_millis(c.max_backoff_ms), inactivity_probe: None }
}

/// The refusal of a bridge name.
fn no_bridge(name: &str) -> String {
    format!("no bridge named {name} (see list-br)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Asked;
    use std::io::{Read, Write};
    use std::sync::atomic::Ordering;

    /// Workers that report new flows wake the loop all the time: commands and controllers are heard all the same.
    #[test]
    fn sockets_are_served_however_often_workers_wake_us() {
        if !datapath::port::sys::is_root() {
            eprintln!("skipped: a bridge's own interface needs root");
            return;
        }
        let dir = std::env::temp_dir().join(format!("daemon-wake-{}", std::process::id()));
        let bridge = format!("wake{}", std::process::id() % 1_000_000);
        let args = ["--run-dir".to_string(), dir.display().to_string(), "--bridge".to_string(), bridge];
        let Ok(Asked::Run(config)) = Config::from_args(args) else { panic!("a plain configuration") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let log = crate::logging::start("warn").unwrap();
            let mut d = Daemon::start(*config, log).await.unwrap();
            let storm = d.storm.clone();
            storm.store(true, Ordering::Relaxed);
            let path = dir.join("ofswitchd.sock");
            let client = std::thread::spawn(move || {
                let mut s = std::os::unix::net::UnixStream::connect(path).unwrap();
                s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                s.write_all(br#"{"method":"list-br","params":[],"id":1}"#).unwrap();
                let mut buf = [0; 256];
                let answer = s.read(&mut buf).map(|n| String::from_utf8_lossy(&buf[..n]).into_owned());
                storm.store(false, Ordering::Relaxed);
                let _ = s.write_all(br#"{"method":"exit","params":[],"id":2}"#);
                answer
            });
            d.run().await;
            let answer = client.join().unwrap().expect("an answer in the storm");
            assert!(answer.contains("\"error\":null"), "{answer}");
        });
        let _ = std::fs::remove_dir_all(&dir);
    }
}
