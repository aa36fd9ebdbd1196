//! Network interfaces as the kernel reports them: rtnetlink link messages, parsed; no I/O but the socket it is given.
//!
//! [`LinkSocket`] subscribes to link changes of the current network namespace and can ask for all interfaces. A kernel queue
//! that overflowed ([`LinkUpdate::Overrun`]) means that changes were lost: ask for all again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sys;

/// One interface as last reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Kernel's number of the interface; a device that comes back has a new one.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// `IFF_UP`: the administrator wants it up.
    pub admin_up: bool,
    /// `IFF_LOWER_UP`/`IFF_RUNNING`: carrier is there.
    pub carrier: bool,
    /// Largest payload of a frame, bytes.
    pub mtu: u32,
    /// Hardware address.
    pub mac: [u8; 6],
}

impl LinkInfo {
    /// Up and carrying.
    pub fn link_up(&self) -> bool {
        self.admin_up && self.carrier
    }
}

/// What the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkUpdate {
    /// The interface exists, with these properties.
    Present(LinkInfo),
    /// The interface is gone (deleted or moved to another namespace).
    Gone {
        /// Its number.
        ifindex: u32,
        /// Its name.
        name: String,
    },
    /// Messages were lost.
    Overrun,
}

const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const NLMSG_HDR: usize = 16;
const IFINFO: usize = 16;

/// An rtnetlink socket that hears of link changes.
#[derive(Debug)]
pub struct LinkSocket {
    fd: OwnedFd,
    buf: Vec<u8>,
}

impl LinkSocket {
    /// Subscribes to link changes of the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's, if it has no rtnetlink.
    pub fn open() -> io::Result<Self> {
        Ok(Self { fd: sys::netlink_route_socket(libc::RTMGRP_LINK as u32)?, buf: vec![0; 64 << 10] })
    }

    /// Asks for a report of every interface; it arrives by [`LinkSocket::recv`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn request_all(&self) -> io::Result<()> {
        let mut m = [0u8; NLMSG_HDR + IFINFO];
        let len = m.len() as u32;
        m[0..4].copy_from_slice(&len.to_ne_bytes());
        m[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
        m[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
        sys::send(self.fd.as_fd(), &m)
    }

    /// All interfaces now (a private socket, so that no change is taken from a subscriber).
    ///
    /// # Errors
    /// The kernel's.
    pub fn list() -> io::Result<Vec<LinkInfo>> {
        let mut s = Self { fd: sys::netlink_route_socket(0)?, buf: vec![0; 64 << 10] };
        s.request_all()?;
        let mut out = Vec::new();
        loop {
            sys::poll_in(&[s.fd.as_fd()], -1)?;
            let n = sys::recv(s.fd.as_fd(), &mut s.buf)?;
            let mut done = false;
            parse(
                &s.buf[..n],
                &mut |u| {
                    if let LinkUpdate::Present(i) = u {
                        out.push(i);
                    }
                },
                &mut done,
            );
            if done {
                return Ok(out);
            }
        }
    }

    /// The interface called `name`, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn find(name: &str) -> io::Result<Option<LinkInfo>> {
        Ok(Self::list()?.into_iter().find(|i| i.name == name))
    }

    /// Takes what has arrived, without waiting.
    ///
    /// # Errors
    /// The kernel's, other than "nothing there" and "messages were lost".
    pub fn recv(&mut self, each: &mut dyn FnMut(LinkUpdate)) -> io::Result<()> {
        loop {
            match sys::recv(self.fd.as_fd(), &mut self.buf) {
                Ok(n) => parse(&self.buf[..n], each, &mut false),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => each(LinkUpdate::Overrun),
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for LinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn u16_at(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// Cuts a datagram into messages; a broken one ends it.
fn parse(mut b: &[u8], each: &mut dyn FnMut(LinkUpdate), done: &mut bool) {
    while let (Some(len), Some(kind)) = (u32_at(b, 0), u16_at(b, 4)) {
        let len = len as usize;
        if len < NLMSG_HDR || len > b.len() {
            return;
        }
        match kind {
            NLMSG_DONE | NLMSG_ERROR => *done = true,
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                if let Some(info) = parse_link(&b[NLMSG_HDR..len]) {
                    each(if kind == libc::RTM_NEWLINK {
                        LinkUpdate::Present(info)
                    } else {
                        LinkUpdate::Gone { ifindex: info.ifindex, name: info.name }
                    });
                }
            }
            _ => {}
        }
        b = &b[(len.next_multiple_of(4)).min(b.len())..];
    }
}

fn parse_link(b: &[u8]) -> Option<LinkInfo> {
    // `ifi_family:1 pad:1 ifi_type:2 ifi_index:4 ifi_flags:4 ifi_change:4`, then attributes. AF_BRIDGE reports are about
    // bridge ports: an RTM_DELLINK among them means "left the bridge", not "gone".
    if *b.first()? != 0 {
        return None;
    }
    let flags = u32_at(b, 8)?;
    let mut info = LinkInfo {
        ifindex: u32_at(b, 4)?,
        name: String::new(),
        admin_up: flags & libc::IFF_UP as u32 != 0,
        carrier: flags & libc::IFF_LOWER_UP as u32 != 0 || flags & libc::IFF_RUNNING as u32 != 0,
        mtu: 0,
        mac: [0; 6],
    };
    let mut attrs = b.get(IFINFO..)?;
    while let (Some(len), Some(kind)) = (u16_at(attrs, 0), u16_at(attrs, 2)) {
        let len = len as usize;
        if len < 4 || len > attrs.len() {
            break;
        }
        let v = &attrs[4..len];
        match kind {
            libc::IFLA_IFNAME => {
                let end = v.iter().position(|c| *c == 0).unwrap_or(v.len());
                info.name = String::from_utf8_lossy(&v[..end]).into_owned();
            }
            libc::IFLA_MTU => info.mtu = u32_at(v, 0)?,
            libc::IFLA_ADDRESS if v.len() == 6 => info.mac.copy_from_slice(v),
            _ => {}
        }
        attrs = &attrs[(len.next_multiple_of(4)).min(attrs.len())..];
    }
    (!info.name.is_empty()).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, v: &[u8]) -> Vec<u8> {
        let mut a = Vec::new();
        a.extend_from_slice(&((v.len() + 4) as u16).to_ne_bytes());
        a.extend_from_slice(&kind.to_ne_bytes());
        a.extend_from_slice(v);
        a.resize(a.len().next_multiple_of(4), 0);
        a
    }

    fn link(kind: u16, flags: u32) -> Vec<u8> {
        let mut b = vec![0u8; IFINFO];
        b[4..8].copy_from_slice(&7u32.to_ne_bytes());
        b[8..12].copy_from_slice(&flags.to_ne_bytes());
        b.extend(attr(libc::IFLA_IFNAME, b"veth7\0"));
        b.extend(attr(libc::IFLA_MTU, &1400u32.to_ne_bytes()));
        b.extend(attr(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7]));
        let mut m = Vec::new();
        m.extend_from_slice(&((b.len() + NLMSG_HDR) as u32).to_ne_bytes());
        m.extend_from_slice(&kind.to_ne_bytes());
        m.resize(NLMSG_HDR, 0);
        m.extend(b);
        m
    }

    fn all(b: &[u8]) -> Vec<LinkUpdate> {
        let mut out = Vec::new();
        parse(b, &mut |u| out.push(u), &mut false);
        out
    }

    #[test]
    fn reads_links_that_come_and_go() {
        let mut b = link(libc::RTM_NEWLINK, (libc::IFF_UP | libc::IFF_LOWER_UP) as u32);
        b.extend(link(libc::RTM_DELLINK, 0));
        let got = all(&b);
        let info = LinkInfo {
            ifindex: 7,
            name: "veth7".into(),
            admin_up: true,
            carrier: true,
            mtu: 1400,
            mac: [2, 0, 0, 0, 0, 7],
        };
        assert!(info.link_up());
        assert_eq!(got, [LinkUpdate::Present(info), LinkUpdate::Gone { ifindex: 7, name: "veth7".into() }]);
    }

    #[test]
    fn a_cut_or_altered_message_is_no_panic() {
        let b = link(libc::RTM_NEWLINK, 0);
        for cut in 0..b.len() {
            assert!(all(&b[..cut]).is_empty());
            for v in [0, 1, 0x7f, 0xff] {
                let mut x = b.clone();
                x[cut] = v;
                all(&x);
            }
        }
    }

    #[test]
    fn the_loopback_interface_is_listed() {
        let lo = LinkSocket::find("lo").unwrap().unwrap();
        assert!(lo.mtu >= 1500 && lo.ifindex > 0);
    }
}
