//! What the end-to-end tests stand on: hosts in network namespaces, the real `ofswitchd` and `ofctl`, controllers, raw frames.
//!
//! Code map:
//! - [`netns`]: namespaces and the cables between them; everything made is removed on drop, also after a panic.
//! - [`frames`]: raw Ethernet frames in and out of an interface, VLAN tags included.
//! - [`switch`]: start and stop the daemon, run `ofctl` and Debian's `ovs-ofctl` against it.
//! - [`controller`]: os-ken with an application from PyPI, and a plain OpenFlow 1.3 peer built from bytes, so that the
//!   tests do not judge our encoder by our decoder.
//!
//! The tests themselves are in `traffic/`. They need root. Each has namespaces and directories of its own and may run beside
//! others; those that measure time or CPU take [`alone`].

pub mod controller;
pub mod frames;
pub mod netns;
pub mod switch;

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

static QUIET: RwLock<()> = RwLock::new(());

/// Held by a test that does not mind others beside it.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Held by a test that measures: no other test of this process runs meanwhile.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Wait until `check` gives a value; panics with `what` when `timeout` has passed.
pub fn wait_for<T>(what: &str, timeout: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "waited {timeout:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
