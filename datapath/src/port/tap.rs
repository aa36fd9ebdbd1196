//! `internal` ports: a tap device that we make, and that ends with us: the switch's way to the host's own network stack; a bridge's LOCAL
//! port is one. Needs /dev/net/tun and CAP_NET_ADMIN.
//!
//! A tap moves one frame a system call. Buffers, super-frames and partial checksums as for `system` ports ([`super::af_packet`]): the device
//! tells the stack that it takes both, so that a TCP stream from the host costs one call for 64 KiB.
//! Full queues: what the stack sends faster than we read waits in the device's queue (500 frames) and is then dropped by the kernel, which counts it
//! at the interface (`ip -s link`); what the stack does not take is dropped and counted (`tx_full`).

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::af_packet::{finish, link_info, offload_of, vnet_of};
use super::counters::{add, PortCounters, QueueCounters};
use super::monitor::{LinkMonitor, LinkWatcher};
use super::netlink::{LinkInfo, LinkSocket};
use super::{sys, Port, PortConfig, PortError, PortInfo, PortStats, Rxq, Txq};
use crate::packet::{Batch, Packet, MAX_FRAME};

const SMALL: usize = 2048;
const ETH: usize = 14;

/// Validated options of an `internal` port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Interface to make.
    pub name: String,
    /// `mac=xx:xx:xx:xx:xx:xx`; else one is made up by the kernel.
    pub mac: Option<[u8; 6]>,
    /// `mtu=N`.
    pub mtu: Option<u32>,
    /// `up=false` leaves it down.
    pub up: bool,
}

/// `xx:xx:xx:xx:xx:xx`.
pub fn parse_mac(s: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = s.split(':');
    for b in &mut mac {
        let p = parts.next().filter(|p| (1..=2).contains(&p.len()))?;
        *b = u8::from_str_radix(p, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

impl Config {
    /// Reads the options.
    ///
    /// # Errors
    /// An unknown option or a value out of range.
    pub fn new(c: &PortConfig) -> Result<Self, PortError> {
        let mut out = Self { name: c.name.clone(), mac: None, mtu: None, up: true };
        for (k, v) in &c.options {
            let bad = |right: &str| PortError::config(&c.name, format!("{k}={v}: write {right}"));
            match k.as_str() {
                "mac" => {
                    out.mac = Some(parse_mac(v).ok_or_else(|| bad("a unicast address as 02:00:00:00:00:01"))?)
                }
                "mtu" | "mtu_request" => {
                    out.mtu = Some(
                        v.parse()
                            .ok()
                            .filter(|n| (68..=65521).contains(n))
                            .ok_or_else(|| bad("68 to 65521"))?,
                    )
                }
                "up" => out.up = v.parse().map_err(|_| bad("true or false"))?,
                _ => {
                    return Err(PortError::config(
                        &c.name,
                        format!("an internal port has no option {k}; it has mac, mtu and up"),
                    ))
                }
            }
        }
        Ok(out)
    }
}

/// An `internal` port.
pub struct TapPort {
    shared: Arc<Shared>,
    rxq_taken: bool,
}

struct Shared {
    name: String,
    fd: OwnedFd,
    ctl: OwnedFd,
    link: Mutex<Option<LinkInfo>>,
    counters: PortCounters,
}

impl LinkWatcher for Shared {
    fn link_changed(&self, now: Option<&LinkInfo>) {
        // A device that was renamed or moved away stays our other end, and is ours again when its name comes back.
        *self.link.lock() = now.cloned();
    }
}

impl TapPort {
    /// Makes the device, sets address and MTU, and (unless `up=false`) sets it up.
    ///
    /// # Errors
    /// If the name is taken or the right is missing; then nothing is left.
    pub fn open(config: Config) -> Result<Self, PortError> {
        let name = config.name;
        let (fd, offloads) = sys::tap_open(&name).map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => PortError::system(
                &name,
                "making a tap device",
                "not permitted: run as root or give CAP_NET_ADMIN",
            ),
            Some(libc::EBUSY | libc::EINVAL) => {
                PortError::system(&name, "making a tap device", "an interface of this name exists already")
            }
            Some(libc::ENOENT | libc::ENODEV) => PortError::system(
                &name,
                "opening /dev/net/tun",
                "not there: `modprobe tun`, or make it available in the container",
            ),
            _ => PortError::system(&name, "making a tap device", e),
        })?;
        let ctl = sys::ioctl_socket().map_err(|e| PortError::system(&name, "opening a socket", e))?;
        if let Some(mac) = config.mac {
            sys::set_mac(ctl.as_fd(), &name, mac)
                .map_err(|e| PortError::system(&name, "setting its address", e))?;
        }
        if let Some(mtu) = config.mtu {
            sys::set_mtu(ctl.as_fd(), &name, mtu)
                .map_err(|e| PortError::system(&name, format!("setting MTU {mtu}"), e))?;
        }
        if config.up {
            sys::set_up(ctl.as_fd(), &name, true)
                .map_err(|e| PortError::system(&name, "setting it up", e))?;
        }
        let link = LinkSocket::find(&name).map_err(|e| PortError::system(&name, "reading interfaces", e))?;
        tracing::info!(
            "port {name}: tap device made; {offloads} are left to us, frames up to 64 KiB pass whole"
        );
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                fd,
                ctl,
                link: Mutex::new(link),
                counters: PortCounters::default(),
            }),
            rxq_taken: false,
        })
    }
}

impl Port for TapPort {
    fn info(&self) -> PortInfo {
        link_info(&self.shared.name, "internal", self.shared.link.lock().as_ref())
    }

    fn stats(&self) -> PortStats {
        self.shared.counters.stats()
    }

    fn take_rxqs(&mut self) -> Vec<Box<dyn Rxq>> {
        if std::mem::replace(&mut self.rxq_taken, true) {
            return Vec::new();
        }
        vec![Box::new(TapRxq {
            counters: self.shared.counters.new_rx(),
            shared: Arc::clone(&self.shared),
            spare: None,
            overflow: vec![0; MAX_FRAME - SMALL].into_boxed_slice(),
        })]
    }

    fn new_txq(&mut self) -> Result<Box<dyn Txq>, PortError> {
        Ok(Box::new(TapTxq { counters: self.shared.counters.new_tx(), shared: Arc::clone(&self.shared) }))
    }

    fn set_mtu(&mut self, mtu: u32) -> Result<(), PortError> {
        let s = &self.shared;
        sys::set_mtu(s.ctl.as_fd(), &s.name, mtu)
            .map_err(|e| PortError::system(&s.name, format!("setting MTU {mtu}"), e))
    }

    fn set_admin_up(&mut self, up: bool) -> Result<(), PortError> {
        let s = &self.shared;
        sys::set_up(s.ctl.as_fd(), &s.name, up)
            .map_err(|e| PortError::system(&s.name, if up { "setting it up" } else { "setting it down" }, e))
    }

    fn watch(&mut self, monitor: &LinkMonitor) {
        let s: Weak<Shared> = Arc::downgrade(&self.shared);
        let attached = self.shared.link.lock().clone();
        monitor.watch(&self.shared.name, s, attached);
    }

    fn xstats(&self) -> Vec<(String, u64)> {
        self.shared.counters.xstats()
    }
}

struct TapRxq {
    shared: Arc<Shared>,
    spare: Option<Packet>,
    overflow: Box<[u8]>,
    counters: Arc<QueueCounters>,
}

impl Rxq for TapRxq {
    fn recv(&mut self, batch: &mut Batch) -> usize {
        let (mut n, mut bytes) = (0, 0);
        while !batch.is_full() {
            let mut p = self.spare.take().unwrap_or_else(|| Packet::alloc(SMALL));
            match sys::tap_read(self.shared.fd.as_fd(), &mut p.room_mut()[..SMALL], &mut self.overflow) {
                Ok(Some((len, v))) => match offload_of(&v, len) {
                    Some(o) if len >= ETH => {
                        let mut p = finish(p, len, &self.overflow);
                        p.offload = o;
                        n += 1;
                        bytes += p.len() as u64;
                        batch.push(p);
                    }
                    _ => {
                        add(&self.counters.errors, 1);
                        self.spare = Some(p);
                    }
                },
                Ok(None) => {
                    self.spare = Some(p);
                    break;
                }
                Err(e) => {
                    // The device is down (EIO) or gone (EBADFD).
                    if !matches!(e.raw_os_error(), Some(libc::EIO | libc::EBADFD | libc::EINTR)) {
                        add(&self.counters.errors, 1);
                    }
                    self.spare = Some(p);
                    break;
                }
            }
        }
        self.counters.passed(n, bytes);
        n as usize
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.shared.fd.as_raw_fd())
    }
}

struct TapTxq {
    shared: Arc<Shared>,
    counters: Arc<QueueCounters>,
}

impl Txq for TapTxq {
    fn send(&mut self, batch: &mut Batch) {
        for p in batch.drain() {
            match sys::tap_write(self.shared.fd.as_fd(), p.data(), &vnet_of(&p)) {
                Ok(()) => self.counters.passed(1, p.len() as u64),
                Err(e) => add(
                    match e.raw_os_error() {
                        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => &self.counters.full,
                        Some(libc::EIO | libc::EBADFD) => &self.counters.down,
                        Some(libc::EMSGSIZE) => &self.counters.too_long,
                        _ => &self.counters.errors,
                    },
                    1,
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(options: &[(&str, &str)]) -> Result<Config, PortError> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::new(&PortConfig { name: "i0".into(), kind: "internal".into(), options })
    }

    #[test]
    fn options_are_checked_before_anything_is_made() {
        let c = config(&[("mac", "02:00:00:00:00:0a"), ("mtu", "9000"), ("up", "false")]).unwrap();
        assert_eq!((c.mac, c.mtu, c.up), (Some([2, 0, 0, 0, 0, 10]), Some(9000), false));
        for bad in [
            ("mac", "01:00:00:00:00:0a"),
            ("mac", "02:00:00:00:00"),
            ("mtu", "67"),
            ("up", "maybe"),
            ("color", "red"),
        ] {
            let e = config(&[bad]).unwrap_err().to_string();
            assert!(e.starts_with("port i0: ") && e.contains(bad.0), "{e}");
        }
    }
}
