//! Link changes, followed: one thread that sleeps in `poll(2)` until the kernel reports a change of an interface that a port
//! stands on, lets the port re-attach, and then tells the control thread.
//!
//! The order matters: when a [`PortEvent`] arrives, the port already works on the interface as reported. Reports that change nothing are
//! swallowed. If the kernel's queue overflows, all interfaces are read anew, so that no change stays unseen.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::netlink::{LinkInfo, LinkSocket, LinkUpdate};
use super::sys;

/// A change of a port's interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEvent {
    /// The port's name.
    pub port: String,
    /// The interface as it now is; `None`: it has vanished (the port waits for it to come back).
    pub link: Option<LinkInfo>,
}

/// A port whose link the kernel does not report: it is asked every [`POLL_MS`].
pub trait LinkPoller: Send + Sync {
    /// The link now. Called on the monitor's thread.
    fn poll_link(&self) -> Option<LinkInfo>;
}

/// How often polled links are looked at, milliseconds: fast failover reacts within 50.
pub const POLL_MS: i32 = 20;

/// A port that stands on an interface.
pub trait LinkWatcher: Send + Sync {
    /// The interface changed, appeared or vanished. Called on the monitor's thread.
    fn link_changed(&self, now: Option<&LinkInfo>);
}

struct Watched {
    watcher: Weak<dyn LinkWatcher>,
    last: Option<LinkInfo>,
}

struct Polled {
    port: String,
    poller: Weak<dyn LinkPoller>,
    last: Option<LinkInfo>,
}

struct Shared {
    watched: Mutex<HashMap<String, Watched>>,
    polled: Mutex<Vec<Polled>>,
    wake: OwnedFd,
    stop: AtomicBool,
    on_event: Box<dyn Fn(PortEvent) + Send + Sync>,
}

/// The thread and what it watches. Dropping it ends the thread.
pub struct LinkMonitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LinkMonitor {
    /// Starts the thread in the caller's network namespace; `on_event` runs on it and must not block.
    ///
    /// # Errors
    /// The kernel's, if it has no rtnetlink or no thread.
    pub fn start(on_event: impl Fn(PortEvent) + Send + Sync + 'static) -> io::Result<Self> {
        let socket = LinkSocket::open()?;
        let shared = Arc::new(Shared {
            watched: Mutex::new(HashMap::new()),
            polled: Mutex::new(Vec::new()),
            wake: sys::eventfd()?,
            stop: AtomicBool::new(false),
            on_event: Box::new(on_event),
        });
        let s = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("links".into()).spawn(move || run(&s, socket))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Follows interface `name` for `watcher`, until that is dropped or [`LinkMonitor::unwatch`]. `attached` is what the port
    /// found when it attached; a change since then is reported at once.
    pub fn watch(&self, name: &str, watcher: Weak<dyn LinkWatcher>, attached: Option<LinkInfo>) {
        self.shared.watched.lock().insert(name.to_owned(), Watched { watcher, last: attached });
        sys::eventfd_wake(self.shared.wake.as_fd());
    }

    /// Looks at the link of port `name` every [`POLL_MS`], until `poller` is dropped.
    pub fn poll(&self, name: &str, poller: Weak<dyn LinkPoller>, last: Option<LinkInfo>) {
        self.shared.polled.lock().push(Polled { port: name.to_owned(), poller, last });
        sys::eventfd_wake(self.shared.wake.as_fd());
    }

    /// Follows `name` no more.
    pub fn unwatch(&self, name: &str) {
        self.shared.watched.lock().remove(name);
    }

    /// Reports an event that is not the kernel's (the link of a DPDK port).
    pub fn report(&self, event: PortEvent) {
        (self.shared.on_event)(event);
    }
}

impl Drop for LinkMonitor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        sys::eventfd_wake(self.shared.wake.as_fd());
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

fn run(s: &Shared, mut socket: LinkSocket) {
    loop {
        let ready = sys::poll_in(&[socket.as_fd(), s.wake.as_fd()], s.look()).unwrap_or([true, true]);
        if s.stop.load(Ordering::Relaxed) {
            return;
        }
        let mut refresh = ready[1];
        if ready[1] {
            sys::eventfd_clear(s.wake.as_fd());
        }
        if ready[0] {
            let got = socket.recv(&mut |u| match u {
                LinkUpdate::Present(i) => s.apply(&i.name.clone(), Some(i)),
                // A namesake may have appeared before this report was read: only the interface that the port stands on is gone.
                LinkUpdate::Gone { ifindex, name } => s.gone(&name, ifindex),
                LinkUpdate::Overrun => refresh = true,
            });
            if let Err(e) = got {
                tracing::warn!("rtnetlink: {e}; reading all interfaces anew");
                refresh = true;
            }
        }
        if refresh {
            match LinkSocket::list() {
                Ok(all) => s.apply_all(&all),
                Err(e) => tracing::warn!("rtnetlink: interfaces could not be read: {e}"),
            }
        }
    }
}

impl Shared {
    /// Looks at the polled links and reports news; how long to wait until the next look (-1: none is polled).
    fn look(&self) -> i32 {
        let mut news = Vec::new();
        let mut polled = self.polled.lock();
        polled.retain_mut(|p| {
            let Some(poller) = p.poller.upgrade() else { return false };
            let now = poller.poll_link();
            if now != p.last {
                p.last.clone_from(&now);
                news.push(PortEvent { port: p.port.clone(), link: now });
            }
            true
        });
        let wait = if polled.is_empty() { -1 } else { POLL_MS };
        drop(polled);
        for e in news {
            (self.on_event)(e);
        }
        wait
    }

    /// Records what is now known of `name`; tells the port and the control thread if it is news.
    fn apply(&self, name: &str, now: Option<LinkInfo>) {
        let watcher = {
            let mut w = self.watched.lock();
            // A renamed interface is, for a port that knows it by name, gone.
            let renamed: Vec<String> = match &now {
                Some(i) => w
                    .iter()
                    .filter(|(n, x)| {
                        n.as_str() != name && x.last.as_ref().is_some_and(|l| l.ifindex == i.ifindex)
                    })
                    .map(|(n, _)| n.clone())
                    .collect(),
                None => Vec::new(),
            };
            for old in renamed {
                drop(w);
                self.apply(&old, None);
                w = self.watched.lock();
            }
            let Some(x) = w.get_mut(name) else { return };
            if x.last == now {
                return;
            }
            x.last.clone_from(&now);
            x.watcher.upgrade()
        };
        if let Some(p) = watcher {
            p.link_changed(now.as_ref());
            (self.on_event)(PortEvent { port: name.to_owned(), link: now });
        }
    }

    fn gone(&self, name: &str, ifindex: u32) {
        let ours = self
            .watched
            .lock()
            .get(name)
            .is_some_and(|x| x.last.as_ref().is_some_and(|l| l.ifindex == ifindex));
        if ours {
            self.apply(name, None);
        }
    }

    fn apply_all(&self, all: &[LinkInfo]) {
        let names: Vec<String> = self.watched.lock().keys().cloned().collect();
        for n in names {
            self.apply(&n, all.iter().find(|i| i.name == n).cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    struct Fake(AtomicBool);

    impl LinkPoller for Fake {
        fn poll_link(&self) -> Option<LinkInfo> {
            Some(LinkInfo {
                ifindex: 1,
                name: "d0".into(),
                admin_up: true,
                carrier: self.0.load(Ordering::Relaxed),
                mtu: 1500,
                mac: [0; 6],
            })
        }
    }

    #[test]
    fn a_polled_link_is_reported_once_for_each_change() {
        let (tell, events) = mpsc::channel();
        let monitor = LinkMonitor::start(move |e| {
            let _ = tell.send(e);
        })
        .expect("netlink");
        let port = Arc::new(Fake(AtomicBool::new(true)));
        let weak: Weak<Fake> = Arc::downgrade(&port);
        monitor.poll("d0", weak, port.poll_link());
        for up in [false, true] {
            port.0.store(up, Ordering::Relaxed);
            let e = events.recv_timeout(Duration::from_secs(5)).expect("an event");
            assert_eq!((e.port.as_str(), e.link.map(|l| l.link_up())), ("d0", Some(up)));
        }
        assert!(
            events.recv_timeout(Duration::from_millis(3 * POLL_MS as u64)).is_err(),
            "no change, no event"
        );
    }
}
