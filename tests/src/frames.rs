//! Raw Ethernet frames on an interface: what a host would see on its cable, with VLAN tags where they belong.

use crate::netns::Netns;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A raw socket on one interface. It sees what arrives, not what this host sends.
#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
}

// linux/if_packet.h
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_OUTGOING: u8 = 4;
// asm-generic/socket.h; what a control message with the stamp is called, too
const SO_TIMESTAMPNS: libc::c_int = 35;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

impl Wire {
    /// Open it on interface `dev` of `ns`.
    pub fn open(ns: &Netns, dev: &str) -> Self {
        let dev = dev.to_string();
        ns.enter(move || Wire::open_here(&dev).expect("raw socket"))
    }

    fn open_here(dev: &str) -> io::Result<Self> {
        let proto = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain system call; the result is checked.
        let raw =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(proto)) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is an open descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let name = std::ffi::CString::new(dev)?;
        // SAFETY: `name` is a NUL-terminated string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: an all-zero sockaddr_ll is valid.
        let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        addr.sll_family = libc::AF_PACKET as u16;
        addr.sll_protocol = proto;
        addr.sll_ifindex = index as i32;
        for (level, name, value) in [
            (libc::SOL_PACKET, PACKET_AUXDATA, 1),
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20),
            (libc::SOL_SOCKET, SO_TIMESTAMPNS, 1),
        ] {
            let value: libc::c_int = value;
            // SAFETY: the option value is an int that lives across the call.
            unsafe {
                libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(&value).cast(), 4);
            }
        }
        // SAFETY: `addr` is a sockaddr_ll of the length given.
        let rc = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                std::ptr::from_ref(&addr).cast(),
                std::mem::size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Wire { fd })
    }

    /// Send a frame as it is.
    pub fn send(&self, frame: &[u8]) {
        self.try_send(frame).expect("send");
    }

    /// Send a frame; the error if the interface does not take it.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are of the slice.
        let n = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if n < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The next frame that arrives within `timeout`.
    pub fn recv(&self, timeout: Duration) -> Option<Vec<u8>> {
        self.recv_at(timeout).map(|(_, frame)| frame)
    }

    /// The same, with the kernel's time of its arrival: however late this process gets to see it.
    pub fn recv_at(&self, timeout: Duration) -> Option<(Duration, Vec<u8>)> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd.
            let n = unsafe { libc::poll(&mut poll, 1, left.as_millis() as i32) };
            if n <= 0 {
                return None;
            }
            if let Some(frame) = self.recv_now() {
                return Some(frame);
            }
        }
    }

    /// The next frame within `timeout` of which `pick` makes something.
    pub fn expect<T>(&self, what: &str, timeout: Duration, mut pick: impl FnMut(&[u8]) -> Option<T>) -> T {
        let end = Instant::now() + timeout;
        let mut others = 0;
        while let Some(frame) = self.recv(end.saturating_duration_since(Instant::now())) {
            if let Some(value) = pick(&frame) {
                return value;
            }
            others += 1;
        }
        panic!("no {what} within {timeout:?} ({others} other frames)");
    }

    /// All frames that arrive within `quiet` of each other.
    pub fn drain(&self, quiet: Duration) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.recv(quiet)).collect()
    }

    fn recv_now(&self) -> Option<(Duration, Vec<u8>)> {
        let mut frame = vec![0u8; 70_000];
        let mut control = [0u64; 32];
        // SAFETY: all-zero sockaddr_ll and msghdr are valid.
        let (mut from, mut msg): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut iov = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        msg.msg_name = std::ptr::from_mut(&mut from).cast();
        msg.msg_namelen = std::mem::size_of::<libc::sockaddr_ll>() as u32;
        msg.msg_iov = &mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = std::mem::size_of_val(&control);
        // SAFETY: every pointer in `msg` is to a live buffer of the length given.
        let n = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut msg, libc::MSG_DONTWAIT) };
        if n < 0 || from.sll_pkttype == PACKET_OUTGOING {
            return None;
        }
        frame.truncate(n as usize);
        // SAFETY: the control buffer was filled by recvmsg, the CMSG functions stay inside it.
        let (aux, at) = unsafe {
            let mut cmsg = libc::CMSG_FIRSTHDR(&msg);
            let (mut aux, mut at) = (None, Duration::ZERO);
            while !cmsg.is_null() {
                if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == SO_TIMESTAMPNS {
                    let t = std::ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast::<libc::timespec>());
                    at = Duration::new(t.tv_sec as u64, t.tv_nsec as u32);
                }
                if (*cmsg).cmsg_level == libc::SOL_PACKET && (*cmsg).cmsg_type == PACKET_AUXDATA {
                    aux =
                        Some(std::ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast::<libc::tpacket_auxdata>()));
                }
                cmsg = libc::CMSG_NXTHDR(&msg, cmsg);
            }
            (aux, at)
        };
        if let Some(aux) = aux.filter(|a| a.tp_status & TP_STATUS_VLAN_VALID != 0) {
            let tpid = if aux.tp_status & TP_STATUS_VLAN_TPID_VALID != 0 { aux.tp_vlan_tpid } else { 0x8100 };
            let mut tag = tpid.to_be_bytes().to_vec();
            tag.extend(aux.tp_vlan_tci.to_be_bytes());
            frame.splice(12..12, tag);
        }
        Some((at, frame))
    }
}

/// An Ethernet frame: destination and source by their last byte, type, payload; padded to 60 bytes.
pub fn ether(dst: u8, src: u8, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src];
    f.extend(ethertype.to_be_bytes());
    f.extend(payload);
    f.resize(f.len().max(60), 0);
    f
}

/// An 802.1Q (or other `tpid`) tag and the inner type, as payload for [`ether`].
pub fn tagged(vid: u16, pcp: u8, inner_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = ((u16::from(pcp) << 13) | vid).to_be_bytes().to_vec();
    f.extend(inner_type.to_be_bytes());
    f.extend(payload);
    f
}

/// An IPv4/UDP packet, checksums filled in, as payload for [`ether`].
pub fn udp(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let len = 28 + data.len();
    let mut p = vec![0x45, 0, (len >> 8) as u8, len as u8, 0, 1, 0, 0, 64, 17, 0, 0];
    p.extend(src);
    p.extend(dst);
    let sum = checksum(&p, 0);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    let ulen = (8 + data.len()) as u16;
    let mut u = sport.to_be_bytes().to_vec();
    u.extend(dport.to_be_bytes());
    u.extend(ulen.to_be_bytes());
    u.extend([0, 0]);
    u.extend(data);
    let pseudo: u32 =
        src.chunks(2).chain(dst.chunks(2)).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    let sum = checksum(&u, pseudo + 17 + u32::from(ulen));
    u[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
    p.extend(u);
    p
}

/// The Internet checksum of `data`, started with `init`.
pub fn checksum(data: &[u8], init: u32) -> u16 {
    let mut sum = init;
    for c in data.chunks(2) {
        sum += u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
