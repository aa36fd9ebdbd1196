//! When to connect, when to ask whether the peer lives, when to give up. No I/O: the caller says what happened and what
//! time it is, and is told what to do.
//!
//! ```text
//!            Connect            opened()            greeted()
//!  Waiting ----------> Dialing ----------> Greeting ----------> Active <---> Probing (echo sent)
//!     ^                   |                   |                   |             |
//!     +-------------------+-------------------+--- closed() ------+-------------+
//! ```
//! The first retry is made at once; the pauses after it double from [`FIRST_PAUSE`] to `max_backoff`, each cut by up to a quarter at
//! random so that many switches do not come back in step. A connection that lived for `max_backoff` starts the count afresh.

use crate::flow::mix;
use openflow::header::OFP13_VERSION;
use std::time::{Duration, Instant};

/// Pause before the second retry.
pub const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long a dial may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a peer may take to send its HELLO.
pub const GREET_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operator may set for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RconnConfig {
    /// Longest pause between attempts.
    pub max_backoff: Duration,
    /// Silence after which the peer is asked for a sign of life; as much again without one ends the connection. `None`: never.
    pub inactivity_probe: Option<Duration>,
}

impl Default for RconnConfig {
    fn default() -> Self {
        Self { max_backoff: Duration::from_secs(1), inactivity_probe: Some(Duration::from_secs(5)) }
    }
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Dial the peer; tell the outcome by [`Rconn::opened`] or [`Rconn::closed`].
    Connect,
    /// Send an echo request.
    Probe,
    /// Drop the connection, then call [`Rconn::closed`].
    Disconnect(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting {
        until: Instant,
    },
    Dialing {
        since: Instant,
    },
    Greeting {
        since: Instant,
    },
    Active {
        since: Instant,
        heard: Instant,
    },
    Probing {
        since: Instant,
        sent: Instant,
    },
    /// The end of an accepted connection: nobody dials again.
    Over,
}

/// The life of one connection.
#[derive(Debug)]
pub struct Rconn {
    config: RconnConfig,
    state: State,
    /// Whether we dial. An accepted connection ends when it closes.
    active: bool,
    failures: u32,
    random: u64,
}

impl Rconn {
    /// A connection that we dial, at once. `seed` feeds the jitter.
    pub fn active(config: RconnConfig, seed: u64, now: Instant) -> Self {
        // Seeds that differ in a bit or two (datapath ids do) must not jitter alike.
        let random = mix(seed, 0) | 1;
        Self { config, state: State::Waiting { until: now }, active: true, failures: 0, random }
    }
    /// A connection that a peer opened just now.
    pub fn accepted(config: RconnConfig, now: Instant) -> Self {
        Self { config, state: State::Greeting { since: now }, active: false, failures: 0, random: 1 }
    }

    /// Whether messages may flow.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. } | State::Probing { .. })
    }
    /// In one word, as `ofctl` shows it.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Waiting { .. } => "BACKOFF",
            State::Dialing { .. } => "CONNECTING",
            State::Greeting { .. } => "HELLO",
            State::Active { .. } => "ACTIVE",
            State::Probing { .. } => "IDLE",
            State::Over => "VOID",
        }
    }
    /// Takes new settings, from the next decision on.
    pub fn set_config(&mut self, config: RconnConfig) {
        self.config = config;
    }

    /// The dial succeeded.
    pub fn opened(&mut self, now: Instant) {
        if matches!(self.state, State::Dialing { .. }) {
            self.state = State::Greeting { since: now };
        }
    }
    /// Both HELLOs are through.
    pub fn greeted(&mut self, now: Instant) {
        if matches!(self.state, State::Greeting { .. }) {
            self.state = State::Active { since: now, heard: now };
        }
    }
    /// Bytes came in (or wait to be read because we are behind: then the peer is not idle).
    pub fn heard(&mut self, now: Instant) {
        match self.state {
            State::Active { since, .. } | State::Probing { since, .. } => {
                self.state = State::Active { since, heard: now };
            }
            _ => {}
        }
    }
    /// The dial failed or the connection ended.
    pub fn closed(&mut self, now: Instant) {
        let lived = match self.state {
            State::Active { since, .. } | State::Probing { since, .. } => {
                now.saturating_duration_since(since)
            }
            _ => Duration::ZERO,
        };
        if !self.active {
            self.state = State::Over;
            return;
        }
        if lived >= self.config.max_backoff {
            self.failures = 0;
        }
        let pause = self.pause();
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: now + pause };
    }

    fn pause(&mut self) -> Duration {
        if self.failures == 0 {
            return Duration::ZERO;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(16));
        let full = doubled.min(self.config.max_backoff);
        // xorshift64: enough to spread switches out.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let cut = (full / 4).mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64);
        full - cut
    }

    /// What is to be done at `now`, if anything. Call again after doing it.
    pub fn run(&mut self, now: Instant) -> Option<Todo> {
        if self.deadline().is_none_or(|d| now < d) {
            return None;
        }
        match self.state {
            State::Waiting { .. } => {
                self.state = State::Dialing { since: now };
                Some(Todo::Connect)
            }
            State::Dialing { .. } => Some(Todo::Disconnect("connection attempt timed out")),
            State::Greeting { .. } => Some(Todo::Disconnect("no HELLO from the peer")),
            State::Active { since, .. } => {
                self.state = State::Probing { since, sent: now };
                Some(Todo::Probe)
            }
            State::Probing { .. } => Some(Todo::Disconnect("no response to inactivity probe")),
            State::Over => None,
        }
    }

    /// When [`Rconn::run`] will next have something to say.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Dialing { since } => Some(since + DIAL_TIMEOUT),
            State::Greeting { since } => Some(since + GREET_TIMEOUT),
            State::Active { heard, .. } => Some(heard + self.config.inactivity_probe?),
            State::Probing { sent, .. } => Some(sent + self.config.inactivity_probe?),
            State::Over => None,
        }
    }
}

/// Which version to speak after the peer's HELLO said `version` in its header and perhaps sent a bitmap. `ours` has bit n set for
/// each wire version n that we speak.
///
/// # Errors
/// The text for HELLO_FAILED/INCOMPATIBLE.
pub fn negotiate(ours: u32, version: u8, bitmap: Option<u32>) -> Result<u8, String> {
    let ours_name = names(ours);
    let refuse = || {
        let they = match bitmap {
            Some(b) => names(b & !1),
            None => format!("at most {}", names(1u32.checked_shl(version.into()).unwrap_or(0))),
        };
        Err(format!("we speak {ours_name}, you offered {they}"))
    };
    match bitmap {
        // Bit 0 is no version.
        Some(theirs) => match theirs & ours & !1 {
            0 => refuse(),
            common => Ok((31 - common.leading_zeros()) as u8),
        },
        None => {
            // The smaller of the two highest must be spoken by us (OpenFlow 1.3.5, "Connection Setup").
            let highest = if ours == 0 { 0 } else { 31 - ours.leading_zeros() };
            let v = u32::from(version).min(highest);
            if v != 0 && ours & (1 << v) != 0 {
                Ok(v as u8)
            } else {
                refuse()
            }
        }
    }
}

fn names(bitmap: u32) -> String {
    let list: Vec<String> = (1..32u32)
        .filter(|v| bitmap & (1 << v) != 0)
        .map(|v| if v <= 6 { format!("OpenFlow 1.{}", v - 1) } else { format!("version 0x{v:02x}") })
        .collect();
    if list.is_empty() {
        "nothing".into()
    } else {
        list.join(", ")
    }
}

/// The versions this switch speaks unless told otherwise.
pub const OUR_VERSIONS: u32 = 1 << OFP13_VERSION;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_retry_is_at_once_then_pauses_grow_to_the_limit() {
        let t0 = Instant::now();
        let mut c = Rconn::active(RconnConfig::default(), 42, t0);
        let mut now = t0;
        let mut pauses = Vec::new();
        assert_eq!(c.run(now), Some(Todo::Connect));
        for _ in 0..12 {
            now += MS;
            c.closed(now);
            let at = c.deadline().unwrap();
            pauses.push(at - now);
            assert!(at == now || c.run(at - MS).is_none());
            now = at;
            assert_eq!(c.run(now), Some(Todo::Connect));
        }
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses[1] <= FIRST_PAUSE && pauses[1] >= FIRST_PAUSE * 3 / 4, "{pauses:?}");
        assert!(pauses[6..].iter().all(|p| *p <= Duration::from_secs(1) && *p >= 750 * MS), "{pauses:?}");
        assert!(pauses[6..].windows(2).any(|w| w[0] != w[1]), "jitter");
    }

    #[test]
    fn switches_with_like_names_do_not_come_back_in_step() {
        let t0 = Instant::now();
        let second = |seed| {
            let mut c = Rconn::active(RconnConfig::default(), seed, t0);
            c.run(t0);
            c.closed(t0);
            c.run(t0);
            c.closed(t0);
            c.deadline().unwrap() - t0
        };
        // As Mininet's are: 1, 2, 3, ...
        let pauses: Vec<Duration> = (1..=16).map(second).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*most - *least > FIRST_PAUSE / 8, "{pauses:?}");
    }

    #[test]
    fn a_connection_that_held_is_retried_at_once_and_one_that_flaps_is_not() {
        let t0 = Instant::now();
        let mut c = Rconn::active(RconnConfig::default(), 1, t0);
        let mut now = t0;
        for _ in 0..5 {
            assert_eq!(c.run(now), Some(Todo::Connect));
            c.opened(now);
            c.greeted(now);
            c.closed(now);
            now = c.deadline().unwrap();
        }
        assert!(now > t0 + 200 * MS, "flapping backs off");
        c.run(now);
        c.opened(now);
        c.greeted(now);
        now += Duration::from_secs(2);
        c.closed(now);
        assert_eq!(c.deadline(), Some(now));
    }

    #[test]
    fn only_silence_is_probed_and_only_a_silent_probe_kills() {
        let t0 = Instant::now();
        let mut c = Rconn::accepted(RconnConfig::default(), t0);
        c.greeted(t0);
        let s = Duration::from_secs;
        c.heard(t0 + s(4));
        assert_eq!(c.run(t0 + s(8)), None);
        assert_eq!(c.run(t0 + s(9)), Some(Todo::Probe));
        assert_eq!(c.run(t0 + s(10)), None);
        c.heard(t0 + s(11));
        assert_eq!(c.run(t0 + s(15)), None);
        assert_eq!(c.run(t0 + s(16)), Some(Todo::Probe));
        assert_eq!(c.run(t0 + s(21)), Some(Todo::Disconnect("no response to inactivity probe")));
        c.closed(t0 + s(21));
        assert_eq!((c.deadline(), c.state_name()), (None, "VOID"));
    }

    #[test]
    fn a_peer_that_never_greets_is_dropped() {
        let t0 = Instant::now();
        let mut c = Rconn::accepted(RconnConfig::default(), t0);
        assert_eq!(c.run(t0 + GREET_TIMEOUT), Some(Todo::Disconnect("no HELLO from the peer")));
        let mut c = Rconn::active(RconnConfig::default(), 1, t0);
        c.run(t0);
        assert_eq!(c.run(t0 + DIAL_TIMEOUT), Some(Todo::Disconnect("connection attempt timed out")));
    }

    #[test]
    fn versions_are_agreed_as_the_specification_says() {
        let v13 = OUR_VERSIONS;
        assert_eq!(negotiate(v13, 4, None), Ok(4));
        assert_eq!(negotiate(v13, 6, None), Ok(4), "a newer peer without bitmap");
        assert_eq!(negotiate(v13, 1, Some(1 << 1 | 1 << 4)), Ok(4), "the bitmap counts, not the header");
        assert_eq!(negotiate(v13, 6, Some(1 << 4 | 1 << 6)), Ok(4));
        assert_eq!(
            negotiate(v13, 1, None).unwrap_err(),
            "we speak OpenFlow 1.3, you offered at most OpenFlow 1.0"
        );
        assert_eq!(
            negotiate(v13, 6, Some(1 << 5 | 1 << 6)).unwrap_err(),
            "we speak OpenFlow 1.3, you offered OpenFlow 1.4, OpenFlow 1.5"
        );
        assert!(negotiate(v13, 0, None).is_err());
        assert!(negotiate(v13, 255, Some(0)).is_err(), "an empty bitmap has nothing in common");
        assert_eq!(negotiate(v13, 255, None), Ok(4));
    }
}
