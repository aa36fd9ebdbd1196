//! Which PMD serves which receive queue: settings, the plan, and how busy queues have been.
//!
//! [`plan`] is a pure function, so that every rule below is a test. In order:
//! 1. A queue pinned to a core (`pmd-rxq-affinity`) goes there; with `pmd-rxq-isolate` that PMD then serves pinned queues only. A pin to a core without
//!    PMD is ignored, with a warning.
//! 2. Other queues go to PMDs of their device's NUMA node that are not isolated; if it has none, to any that is not isolated; if all
//!    are isolated, to any: a queue is never left unserved.
//! 3. Among these `cycles` gives the busiest queue first to the least busy PMD, `roundrobin` the next queue to the PMD with the fewest.
//!
//! When ports or cores change, queues that may stay where they are stay (their PMD's caches know their traffic); a rebalance plans all anew, and
//! leaves a queue where it is only if another place is no better.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How queues are spread over PMDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Assign {
    /// By the cycles their packets took lately.
    #[default]
    Cycles,
    /// In turn.
    RoundRobin,
}

/// What an operator can set of PMDs, at any time. Words and defaults are Open vSwitch's where it has them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PmdSettings {
    /// Cores with a PMD; none: one PMD on the last core as soon as a port needs it.
    pub cores: Vec<usize>,
    /// `pmd-rxq-assign`.
    pub assign: Assign,
    /// `pmd-rxq-isolate`.
    pub isolate: bool,
    /// `pmd-sleep-max`, microseconds; 0: never sleeps.
    pub sleep_max_us: u32,
    /// `pmd-auto-lb`.
    pub auto_lb: bool,
    /// `pmd-auto-lb-rebal-interval`.
    pub auto_lb_interval: Duration,
    /// `pmd-auto-lb-load-threshold`, percent: a PMD must be busier than this before anything moves.
    pub auto_lb_load_percent: u32,
    /// `pmd-auto-lb-improvement-threshold`, percent by which the variance of the PMDs' loads must shrink.
    pub auto_lb_improvement_percent: u32,
}

impl Default for PmdSettings {
    fn default() -> Self {
        Self {
            cores: Vec::new(),
            assign: Assign::Cycles,
            isolate: true,
            sleep_max_us: 0,
            auto_lb: false,
            auto_lb_interval: Duration::from_secs(60),
            auto_lb_load_percent: 95,
            auto_lb_improvement_percent: 25,
        }
    }
}

/// `1,2-3` as a list of cores.
///
/// # Errors
/// What would be right.
pub fn core_list(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("{text:?} is not a list of cores such as 1,2-3");
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        let (a, b): (usize, usize) =
            (a.trim().parse().map_err(|_| wrong())?, b.trim().parse().map_err(|_| wrong())?);
        if a > b || b >= libc::CPU_SETSIZE as usize {
            return Err(wrong());
        }
        out.extend(a..=b);
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// `0x6` as a list of cores.
///
/// # Errors
/// What would be right.
pub fn core_mask(text: &str) -> Result<Vec<usize>, String> {
    let digits = text.trim_start_matches("0x").trim_start_matches("0X");
    let wrong = || format!("{text:?} is not a hexadecimal mask of cores such as 0x6");
    if digits.is_empty() || digits.len() > libc::CPU_SETSIZE as usize / 4 {
        return Err(wrong());
    }
    let mut cores = Vec::new();
    for (i, c) in digits.chars().rev().enumerate() {
        let nibble = c.to_digit(16).ok_or_else(wrong)?;
        cores.extend((0..4).filter(|b| nibble >> b & 1 == 1).map(|b| i * 4 + b));
    }
    Ok(cores)
}

/// `0:3,1:7`: queue 0 on core 3, queue 1 on core 7.
///
/// # Errors
/// What would be right.
pub fn affinity(text: &str) -> Result<Vec<(usize, usize)>, String> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for w in text.split(',').filter(|w| !w.trim().is_empty()) {
        let pair = w
            .split_once(':')
            .and_then(|(q, c)| Some((q.trim().parse().ok()?, c.trim().parse().ok()?)))
            .filter(|(_, core): &(usize, usize)| *core < libc::CPU_SETSIZE as usize);
        let Some((queue, core)) = pair else {
            return Err(format!("pmd-rxq-affinity={text}: write QUEUE:CORE,... such as 0:3,1:7"));
        };
        if out.iter().any(|(q, _)| *q == queue) {
            return Err(format!("pmd-rxq-affinity={text}: queue {queue} is named twice"));
        }
        out.push((queue, core));
    }
    Ok(out)
}

/// Names of the settings, as [`PmdSettings::set`] takes them.
pub const SETTINGS: [&str; 9] = [
    "pmd-cores",
    "pmd-cpu-mask",
    "pmd-rxq-assign",
    "pmd-rxq-isolate",
    "pmd-sleep-max",
    "pmd-auto-lb",
    "pmd-auto-lb-rebal-interval",
    "pmd-auto-lb-load-threshold",
    "pmd-auto-lb-improvement-threshold",
];

impl PmdSettings {
    /// Sets one by its name (`-` or `_`) and a text; only the value changes, nothing is applied.
    ///
    /// # Errors
    /// One line: what would be right.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name = name.replace('_', "-");
        let wrong = |right: &str| format!("{name}={value}: write {right}");
        let flag = || value.parse::<bool>().map_err(|_| wrong("true or false"));
        let number = |max: u32| match value.parse::<u32>() {
            Ok(n) if n <= max => Ok(n),
            _ => Err(wrong(&format!("0 to {max}"))),
        };
        match name.as_str() {
            "pmd-cores" => self.cores = core_list(value).map_err(|e| format!("{name}: {e}"))?,
            "pmd-cpu-mask" => self.cores = core_mask(value).map_err(|e| format!("{name}: {e}"))?,
            "pmd-rxq-assign" => {
                self.assign = match value {
                    // Open vSwitch's `group` is what `cycles` does here.
                    "cycles" | "group" => Assign::Cycles,
                    "roundrobin" => Assign::RoundRobin,
                    _ => return Err(wrong("cycles or roundrobin")),
                }
            }
            "pmd-rxq-isolate" => self.isolate = flag()?,
            "pmd-sleep-max" => self.sleep_max_us = number(10_000)?,
            "pmd-auto-lb" => self.auto_lb = flag()?,
            "pmd-auto-lb-rebal-interval" => {
                // Minutes, as in Open vSwitch; or with a unit.
                let (digits, unit) = match value.strip_suffix('s') {
                    Some(v) => (v, 1),
                    None => (value.strip_suffix('m').unwrap_or(value), 60),
                };
                let n = digits.parse::<u64>().ok().filter(|n| (1..=1_200_000).contains(&(n * unit)));
                self.auto_lb_interval = Duration::from_secs(
                    unit * n.ok_or_else(|| wrong("minutes (1 to 20000) or seconds, such as 30s"))?,
                );
            }
            "pmd-auto-lb-load-threshold" => self.auto_lb_load_percent = number(100)?,
            "pmd-auto-lb-improvement-threshold" => self.auto_lb_improvement_percent = number(100)?,
            _ => return Err(format!("{name}: unknown; there are {}", SETTINGS.join(", "))),
        }
        Ok(())
    }

    /// All by name, each as [`PmdSettings::set`] takes it.
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let Self {
            cores,
            assign,
            isolate,
            sleep_max_us,
            auto_lb,
            auto_lb_interval,
            auto_lb_load_percent,
            auto_lb_improvement_percent,
        } = self;
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        let assign = match assign {
            Assign::Cycles => "cycles",
            Assign::RoundRobin => "roundrobin",
        };
        vec![
            ("pmd-cores", cores.join(",")),
            ("pmd-rxq-assign", assign.into()),
            ("pmd-rxq-isolate", isolate.to_string()),
            ("pmd-sleep-max", sleep_max_us.to_string()),
            ("pmd-auto-lb", auto_lb.to_string()),
            ("pmd-auto-lb-rebal-interval", format!("{}s", auto_lb_interval.as_secs())),
            ("pmd-auto-lb-load-threshold", auto_lb_load_percent.to_string()),
            ("pmd-auto-lb-improvement-threshold", auto_lb_improvement_percent.to_string()),
        ]
    }
}

/// A queue to be planned.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct QueueToPlan {
    /// NUMA node of its device, if it has one.
    pub numa: Option<u32>,
    /// Cycles a second that its packets took lately.
    pub load: f64,
    /// Core it is pinned to.
    pub pin: Option<usize>,
    /// Place in the list of PMDs where it is now.
    pub now: Option<usize>,
}

/// A PMD to plan for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PmdToPlan {
    /// Core.
    pub core: usize,
    /// Its NUMA node.
    pub numa: u32,
}

/// Who serves what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// For each queue the place of its PMD in the list.
    pub to: Vec<usize>,
    /// PMDs that serve pinned queues only.
    pub isolated: Vec<bool>,
    /// Queues whose pin names a core without PMD.
    pub pins_ignored: Vec<usize>,
}

/// See the module. `pmds` is not empty; `stay`: queues that may stay where they are do.
pub fn plan(queues: &[QueueToPlan], pmds: &[PmdToPlan], assign: Assign, isolate: bool, stay: bool) -> Plan {
    let mut p = Plan {
        to: vec![usize::MAX; queues.len()],
        isolated: vec![false; pmds.len()],
        pins_ignored: Vec::new(),
    };
    // Load and number of queues so far.
    let mut has = vec![(0.0f64, 0usize); pmds.len()];
    let give = |to: &mut Vec<usize>, has: &mut Vec<(f64, usize)>, q: usize, pmd: usize| {
        to[q] = pmd;
        has[pmd] = (has[pmd].0 + queues[q].load, has[pmd].1 + 1);
    };
    for (i, q) in queues.iter().enumerate() {
        let Some(core) = q.pin else { continue };
        match pmds.iter().position(|m| m.core == core) {
            Some(at) => {
                give(&mut p.to, &mut has, i, at);
                p.isolated[at] |= isolate;
            }
            None => p.pins_ignored.push(i),
        }
    }
    let candidates = |q: &QueueToPlan, isolated: &[bool]| -> Vec<usize> {
        let free = |at: &usize| !isolated[*at];
        let near: Vec<usize> =
            (0..pmds.len()).filter(|at| free(at) && q.numa.is_none_or(|n| n == pmds[*at].numa)).collect();
        let any: Vec<usize> = (0..pmds.len()).filter(free).collect();
        match (near.is_empty(), any.is_empty()) {
            (false, _) => near,
            (true, false) => any,
            (true, true) => (0..pmds.len()).collect(),
        }
    };
    for (i, q) in queues.iter().enumerate().filter(|_| stay) {
        if let Some(at) = q.now.filter(|at| p.to[i] == usize::MAX && candidates(q, &p.isolated).contains(at))
        {
            give(&mut p.to, &mut has, i, at);
        }
    }
    let mut rest: Vec<usize> = (0..queues.len()).filter(|i| p.to[*i] == usize::MAX).collect();
    if assign == Assign::Cycles {
        rest.sort_by(|a, b| queues[*b].load.total_cmp(&queues[*a].load));
    }
    for i in rest {
        let better = |a: &usize, b: &usize| {
            let load = match assign {
                Assign::Cycles => has[*a].0.total_cmp(&has[*b].0),
                Assign::RoundRobin => std::cmp::Ordering::Equal,
            };
            let elsewhere = |at: usize| queues[i].now != Some(at);
            load.then(has[*a].1.cmp(&has[*b].1)).then(elsewhere(*a).cmp(&elsewhere(*b)))
        };
        let best = candidates(&queues[i], &p.isolated).into_iter().min_by(better).unwrap_or(0);
        give(&mut p.to, &mut has, i, best);
    }
    p
}

/// By how many percent the variance of the PMDs' loads shrinks from `before` to `after`.
pub fn improvement_percent(before: &[f64], after: &[f64]) -> f64 {
    let variance = |v: &[f64]| {
        let n = v.len().max(1) as f64;
        let mean = v.iter().sum::<f64>() / n;
        v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n
    };
    let (a, b) = (variance(before), variance(after));
    if a <= f64::EPSILON {
        0.0
    } else {
        (a - b) * 100.0 / a
    }
}

/// A counter's values over the last minute, one a second.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<(Instant, u64)>);

/// How far back [`History`] looks.
pub const WINDOW: Duration = Duration::from_secs(60);

impl History {
    /// Starts (again) here.
    pub fn start(&mut self, now: Instant, value: u64) {
        self.0.clear();
        self.0.push_back((now, value));
    }
    /// Takes a sample.
    pub fn push(&mut self, now: Instant, value: u64) {
        self.0.push_back((now, value));
        while self.0.len() > 2 && self.0.get(1).is_some_and(|s| now.duration_since(s.0) >= WINDOW) {
            self.0.pop_front();
        }
    }
    /// Mean growth a second over the last `span` (or as much of it as is known).
    pub fn rate(&self, now: Instant, value: u64, span: Duration) -> f64 {
        let since = self.0.iter().rev().find(|s| now.duration_since(s.0) >= span).or(self.0.front());
        let Some((t, v)) = since else { return 0.0 };
        let seconds = now.duration_since(*t).as_secs_f64();
        if seconds <= 0.0 {
            0.0
        } else {
            value.wrapping_sub(*v) as f64 / seconds
        }
    }
}

/// NUMA node of a core; 0 where the system does not say.
pub fn numa_of_core(core: usize) -> u32 {
    let dir = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}"));
    dir.into_iter()
        .flatten()
        .flatten()
        .find_map(|e| e.file_name().to_string_lossy().strip_prefix("node")?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(load: f64) -> QueueToPlan {
        QueueToPlan { load, ..QueueToPlan::default() }
    }
    fn on(numa: u32, load: f64) -> QueueToPlan {
        QueueToPlan { numa: Some(numa), load, ..QueueToPlan::default() }
    }
    fn pinned(core: usize) -> QueueToPlan {
        QueueToPlan { pin: Some(core), ..QueueToPlan::default() }
    }
    fn pmds(list: &[(usize, u32)]) -> Vec<PmdToPlan> {
        list.iter().map(|(core, numa)| PmdToPlan { core: *core, numa: *numa }).collect()
    }

    #[test]
    fn roundrobin_takes_turns_and_cycles_evens_loads() {
        let two = pmds(&[(1, 0), (2, 0)]);
        let loads = [q(10.0), q(1.0), q(9.0), q(2.0)];
        assert_eq!(plan(&loads, &two, Assign::RoundRobin, true, false).to, [0, 1, 0, 1]);
        // 10 + 1 against 9 + 2.
        assert_eq!(plan(&loads, &two, Assign::Cycles, true, false).to, [0, 0, 1, 1]);
        assert_eq!(plan(&[q(0.0), q(0.0), q(0.0)], &two, Assign::Cycles, true, false).to, [0, 1, 0]);
    }

    #[test]
    fn pinned_queues_isolate_their_pmd_unless_told_not_to() {
        let two = pmds(&[(1, 0), (2, 0)]);
        let queues = [pinned(2), q(1.0), q(1.0)];
        let p = plan(&queues, &two, Assign::Cycles, true, false);
        assert_eq!((p.to, p.isolated), (vec![1, 0, 0], vec![false, true]));
        let p = plan(&queues, &two, Assign::RoundRobin, false, false);
        assert_eq!((p.to, p.isolated), (vec![1, 0, 0], vec![false, false]));
        // All isolated: nobody is left unserved. No such core: as if not pinned.
        let p = plan(&[pinned(1), pinned(2), q(1.0), pinned(7)], &two, Assign::Cycles, true, false);
        assert!(p.to.iter().all(|t| *t < 2) && p.to[..2] == [0, 1]);
        assert_eq!(p.pins_ignored, [3]);
    }

    #[test]
    fn queues_go_to_their_numa_node_if_it_has_a_pmd() {
        let both = pmds(&[(1, 0), (9, 1)]);
        let p = plan(&[on(1, 5.0), on(1, 5.0), on(0, 1.0), on(2, 1.0)], &both, Assign::Cycles, true, false);
        assert_eq!(p.to, [1, 1, 0, 0], "node 2 has no PMD: the least busy one serves it");
    }

    #[test]
    fn queues_that_may_stay_stay() {
        let two = pmds(&[(1, 0), (2, 0)]);
        let here = |load, at| QueueToPlan { load, now: Some(at), ..QueueToPlan::default() };
        let queues = [here(9.0, 0), here(8.0, 0), q(0.0)];
        assert_eq!(plan(&queues, &two, Assign::Cycles, true, true).to, [0, 0, 1]);
        // Anew: the loads are evened, and nothing moves for nothing.
        assert_eq!(plan(&queues, &two, Assign::Cycles, true, false).to, [0, 1, 1]);
        let swapped = [here(9.0, 1), here(8.0, 0)];
        for assign in [Assign::Cycles, Assign::RoundRobin] {
            assert_eq!(plan(&swapped, &two, assign, true, false).to, [1, 0]);
        }
        // A PMD that became isolated sends the others away.
        let p = plan(&[here(9.0, 0), pinned(1)], &two, Assign::Cycles, true, true);
        assert_eq!(p.to, [1, 0]);
    }

    #[test]
    fn improvement_is_of_the_variance() {
        assert!((improvement_percent(&[100.0, 0.0], &[50.0, 50.0]) - 100.0).abs() < 1e-9);
        assert!((improvement_percent(&[100.0, 0.0], &[75.0, 25.0]) - 75.0).abs() < 1e-9);
        assert_eq!(improvement_percent(&[5.0, 5.0], &[10.0, 0.0]), 0.0);
    }

    #[test]
    fn history_tells_the_rate_of_its_last_part() {
        let t0 = Instant::now();
        let at = |s: u64| t0 + Duration::from_secs(s);
        let mut h = History::default();
        h.start(t0, 0);
        for s in 1..=100u64 {
            // Idle for 90 s, then 1000 a second.
            h.push(at(s), s.saturating_sub(90) * 1000);
        }
        assert_eq!(h.rate(at(100), 10_000, Duration::from_secs(5)), 1000.0);
        assert!((h.rate(at(100), 10_000, WINDOW) - 10_000.0 / 60.0).abs() < 5.0);
        assert!(h.0.len() <= 62);
    }

    #[test]
    fn settings_are_read_as_they_are_shown_and_refusals_say_what_is_right() {
        let mut s = PmdSettings::default();
        for (k, v) in [
            ("pmd-cpu-mask", "0x16"),
            ("pmd-rxq-assign", "roundrobin"),
            ("pmd_rxq_isolate", "false"),
            ("pmd-sleep-max", "50"),
            ("pmd-auto-lb", "true"),
            ("pmd-auto-lb-rebal-interval", "2"),
            ("pmd-auto-lb-load-threshold", "70"),
            ("pmd-auto-lb-improvement-threshold", "10"),
        ] {
            s.set(k, v).unwrap();
        }
        assert_eq!((s.cores.as_slice(), s.sleep_max_us), (&[1, 2, 4][..], 50));
        assert_eq!(s.auto_lb_interval, Duration::from_secs(120));
        let mut again = PmdSettings::default();
        for (k, v) in s.named() {
            again.set(k, &v).unwrap();
        }
        assert_eq!(again, s);
        for (k, v, says) in [
            ("pmd-cores", "x", "list of cores"),
            ("pmd-cpu-mask", "0xg", "hexadecimal mask"),
            ("pmd-cpu-mask", "", "hexadecimal mask"),
            ("pmd-rxq-assign", "best", "write cycles or roundrobin"),
            ("pmd-sleep-max", "20000", "write 0 to 10000"),
            ("pmd-auto-lb", "yes", "true or false"),
            ("pmd-auto-lb-rebal-interval", "0", "minutes"),
            ("pmd-color", "red", "unknown; there are pmd-cores"),
        ] {
            let e = s.set(k, v).unwrap_err();
            assert!(e.contains(says) && !e.contains('\n'), "{e}");
        }
        assert_eq!(affinity("0:3,1:7").unwrap(), [(0, 3), (1, 7)]);
        for bad in ["0", "0:x", "0:1,0:2", "0:9999"] {
            assert!(affinity(bad).is_err(), "{bad}");
        }
    }
}
