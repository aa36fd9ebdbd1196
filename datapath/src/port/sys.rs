//! Raw system calls of the Linux ports, each under a safe name. No policy here: who calls decides what an error means.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Frames that one call receives or sends at most.
pub const BURST: usize = 32;
/// Bytes of a virtio-net header as tap and packet sockets speak it.
pub const VNET_HDR_LEN: usize = 10;

// From linux/if_packet.h, linux/if_tun.h, linux/virtio_net.h, linux/ethtool.h, linux/sockios.h.
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const PACKET_STATISTICS: libc::c_int = 6;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const TP_STATUS_CSUM_VALID: u32 = 1 << 7;
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
const VIRTIO_NET_HDR_F_DATA_VALID: u8 = 2;
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUN_F_CSUM: libc::c_ulong = 1;
const TUN_F_TSO4: libc::c_ulong = 2;
const TUN_F_TSO6: libc::c_ulong = 4;
const TUN_F_TSO_ECN: libc::c_ulong = 8;
const TUN_F_USO4: libc::c_ulong = 0x20;
const TUN_F_USO6: libc::c_ulong = 0x40;
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_LRO: u32 = 1 << 15;
const ETHTOOL_GLINKSETTINGS: u32 = 0x4c;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Turns -1 into the error number.
fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(r)
    }
}

fn check_len(r: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(r).map_err(|_| io::Error::last_os_error())
}

fn owned(r: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(r)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_opt<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, v: &T) -> io::Result<()> {
    // SAFETY: `v` is a live value of `size_of::<T>()` bytes, only read.
    check(unsafe {
        libc::setsockopt(fd, level, name, std::ptr::from_ref(v).cast(), size_of::<T>() as libc::socklen_t)
    })?;
    Ok(())
}

/// A bound, non-blocking rtnetlink socket.
pub fn netlink_route_socket(groups: u32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = owned(unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            libc::NETLINK_ROUTE,
        )
    })?;
    set_opt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, &(1i32 << 20))?;
    // SAFETY: sockaddr_nl is plain data for which zero is valid.
    let mut sa: libc::sockaddr_nl = unsafe { zeroed() };
    sa.nl_family = libc::AF_NETLINK as u16;
    sa.nl_groups = groups;
    // SAFETY: `sa` is a live sockaddr_nl of the given length.
    check(unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&sa).cast(), size_of::<libc::sockaddr_nl>() as u32)
    })?;
    Ok(fd)
}

/// `send(2)`.
pub fn send(fd: BorrowedFd<'_>, m: &[u8]) -> io::Result<()> {
    // SAFETY: `m` is a live slice of that length, only read.
    check_len(unsafe { libc::send(fd.as_raw_fd(), m.as_ptr().cast(), m.len(), libc::MSG_NOSIGNAL) })?;
    Ok(())
}

/// `recv(2)` without waiting.
pub fn recv(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buf` is a live, exclusive slice of that length.
    check_len(unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) })
}

/// Waits until one of `fds` is readable (or broken), at most `timeout_ms` (-1: for ever). Says which are; an interruption: none.
pub fn poll_in<const N: usize>(fds: &[BorrowedFd<'_>; N], timeout_ms: i32) -> io::Result<[bool; N]> {
    let mut p = fds.map(|f| libc::pollfd { fd: f.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: `p` is a live array of N pollfds.
    match check(unsafe { libc::poll(p.as_mut_ptr(), N as libc::nfds_t, timeout_ms) }) {
        Ok(_) => Ok(p.map(|x| x.revents != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
    }
}

/// Waits until a descriptor number is readable (or broken); whether it is. A closed number is "broken".
pub fn poll_raw(fd: RawFd, timeout_ms: i32) -> bool {
    let mut p = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd; any number may stand in it.
    unsafe { libc::poll(&mut p, 1, timeout_ms) > 0 }
}

/// Waits until one of the descriptor numbers is readable.
pub fn poll_many(fds: &[RawFd], timeout_ms: i32) -> bool {
    let mut p: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: a live array of that many pollfds.
    unsafe { libc::poll(p.as_mut_ptr(), p.len() as libc::nfds_t, timeout_ms) > 0 }
}

/// CPU time that the calling thread has used, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// A counter that wakes a poller.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Adds one to an eventfd.
pub fn eventfd_wake(fd: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight live bytes, only read. It can fail only if the counter is full: then the poller is awake anyway.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), 8) };
}

/// Resets an eventfd.
pub fn eventfd_clear(fd: BorrowedFd<'_>) {
    let mut b = [0u8; 8];
    // SAFETY: eight live, exclusive bytes.
    unsafe { libc::read(fd.as_raw_fd(), b.as_mut_ptr().cast(), 8) };
}

/// What remains to be done to a frame, and what is known of it: a virtio-net header in host form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// A checksum is pending at `csum_start + csum_offset`.
    pub needs_csum: bool,
    /// The kernel has verified the checksum.
    pub data_valid: bool,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Bytes of headers before the payload.
    pub hdr_len: u16,
    /// Bytes of payload a segment.
    pub gso_size: u16,
    /// From the start of the frame.
    pub csum_start: u16,
    /// From `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// `flags:1 gso_type:1 hdr_len:2 gso_size:2 csum_start:2 csum_offset:2`, host byte order.
    pub fn parse(b: &[u8; VNET_HDR_LEN]) -> Self {
        let h = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
        Self {
            needs_csum: b[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0,
            data_valid: b[0] & VIRTIO_NET_HDR_F_DATA_VALID != 0,
            gso_type: b[1],
            hdr_len: h(2),
            gso_size: h(4),
            csum_start: h(6),
            csum_offset: h(8),
        }
    }

    /// The inverse of [`VnetHdr::parse`].
    pub fn emit(&self) -> [u8; VNET_HDR_LEN] {
        let mut b = [0; VNET_HDR_LEN];
        b[0] = u8::from(self.needs_csum) * VIRTIO_NET_HDR_F_NEEDS_CSUM
            + u8::from(self.data_valid) * VIRTIO_NET_HDR_F_DATA_VALID;
        b[1] = self.gso_type;
        b[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        b[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        b[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        b[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        b
    }
}

/// Bytes of control messages a frame may carry (one `tpacket_auxdata`).
const CTRL: usize = 64;

/// `tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AuxData {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// One received frame's particulars.
#[derive(Debug, Clone, Copy, Default)]
pub struct RxMeta {
    /// Bytes of the frame, the virtio-net header not counted.
    pub len: usize,
    /// The frame did not fit and was cut.
    pub truncated: bool,
    /// The virtio-net header.
    pub vnet: VnetHdr,
    /// A stripped VLAN tag: TPID and TCI.
    pub vlan: Option<(u16, u16)>,
}

/// The arrays of `recvmmsg(2)`/`sendmmsg(2)` over a packet socket with virtio-net headers. Pointers in it are set anew before each
/// call, so it may move between calls.
pub struct MsgRing {
    msgs: Box<[libc::mmsghdr; BURST]>,
    iovs: Box<[[libc::iovec; 3]; BURST]>,
    vnet: Box<[[u8; VNET_HDR_LEN]; BURST]>,
    ctrl: Box<[[u64; CTRL / 8]; BURST]>,
}

// SAFETY: the raw pointers inside are dead between calls (each call writes all it uses first), so any thread may own it.
unsafe impl Send for MsgRing {}

impl Default for MsgRing {
    fn default() -> Self {
        Self::new()
    }
}

impl MsgRing {
    /// Room for [`BURST`] frames.
    pub fn new() -> Self {
        // SAFETY: mmsghdr and iovec are plain C structures for which zero is valid.
        let (msgs, iovs) = unsafe { (Box::new(zeroed()), Box::new(zeroed())) };
        Self {
            msgs,
            iovs,
            vnet: Box::new([[0; VNET_HDR_LEN]; BURST]),
            ctrl: Box::new([[0; CTRL / 8]; BURST]),
        }
    }

    /// Receives up to `bufs.len()` frames without waiting: each into its buffer and, what does not fit, into its overflow
    /// (both must be as many; at most [`BURST`]). `meta(i)` tells about each.
    pub fn recv(
        &mut self,
        fd: BorrowedFd<'_>,
        bufs: &mut [&mut [u8]],
        overflow: &mut [Box<[u8]>],
    ) -> io::Result<usize> {
        let n = bufs.len().min(overflow.len()).min(BURST);
        for i in 0..n {
            self.iovs[i] = [
                libc::iovec { iov_base: self.vnet[i].as_mut_ptr().cast(), iov_len: VNET_HDR_LEN },
                libc::iovec { iov_base: bufs[i].as_mut_ptr().cast(), iov_len: bufs[i].len() },
                libc::iovec { iov_base: overflow[i].as_mut_ptr().cast(), iov_len: overflow[i].len() },
            ];
            let h = &mut self.msgs[i].msg_hdr;
            h.msg_name = std::ptr::null_mut();
            h.msg_namelen = 0;
            h.msg_iov = self.iovs[i].as_mut_ptr();
            h.msg_iovlen = 3;
            h.msg_control = self.ctrl[i].as_mut_ptr().cast();
            h.msg_controllen = CTRL;
            h.msg_flags = 0;
        }
        // SAFETY: the first `n` headers have just been filled with pointers to live, exclusive buffers (`self`'s and the callers'),
        // each with its true length, that outlive the call.
        let got = check(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.msgs.as_mut_ptr(),
                n as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        })?;
        Ok(got as usize)
    }

    /// About frame `i` of the last `recv`.
    pub fn meta(&self, i: usize) -> RxMeta {
        let m = &self.msgs[i];
        let mut out = RxMeta {
            len: (m.msg_len as usize).saturating_sub(VNET_HDR_LEN),
            truncated: m.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            vnet: VnetHdr::parse(&self.vnet[i]),
            vlan: None,
        };
        if m.msg_hdr.msg_controllen >= size_of::<libc::cmsghdr>() + size_of::<AuxData>() {
            // SAFETY: the buffer is 8-aligned, CTRL bytes long and was zero or kernel-written, so a cmsghdr may be read from it.
            let c: libc::cmsghdr = unsafe { std::ptr::read(self.ctrl[i].as_ptr().cast()) };
            if c.cmsg_level == libc::SOL_PACKET && c.cmsg_type == PACKET_AUXDATA {
                // SAFETY: the length was checked above: header and auxdata lie inside the buffer; plain integers.
                let a: AuxData = unsafe {
                    std::ptr::read(self.ctrl[i].as_ptr().cast::<u8>().add(size_of::<libc::cmsghdr>()).cast())
                };
                if a.status & TP_STATUS_VLAN_VALID != 0 {
                    let tpid = if a.status & TP_STATUS_VLAN_TPID_VALID != 0 { a.vlan_tpid } else { 0x8100 };
                    out.vlan = Some((tpid, a.vlan_tci));
                }
                out.vnet.data_valid |=
                    a.status & TP_STATUS_CSUM_VALID != 0 && a.status & TP_STATUS_CSUMNOTREADY == 0;
            }
        }
        out
    }

    /// Sends up to [`BURST`] frames without waiting, each under its virtio-net header. Returns how many the kernel took (at least
    /// one); an error means that it refused the first.
    pub fn send(&mut self, fd: BorrowedFd<'_>, frames: &[(&[u8], VnetHdr)]) -> io::Result<usize> {
        let n = frames.len().min(BURST);
        for (i, (f, v)) in frames.iter().take(n).enumerate() {
            self.vnet[i] = v.emit();
            self.iovs[i][0] =
                libc::iovec { iov_base: self.vnet[i].as_mut_ptr().cast(), iov_len: VNET_HDR_LEN };
            self.iovs[i][1] = libc::iovec { iov_base: f.as_ptr().cast_mut().cast(), iov_len: f.len() };
            let h = &mut self.msgs[i].msg_hdr;
            h.msg_name = std::ptr::null_mut();
            h.msg_namelen = 0;
            h.msg_iov = self.iovs[i].as_mut_ptr();
            h.msg_iovlen = 2;
            h.msg_control = std::ptr::null_mut();
            h.msg_controllen = 0;
            h.msg_flags = 0;
        }
        // SAFETY: the first `n` headers point to live buffers of the given lengths; the kernel only reads the frames.
        let sent = check(unsafe {
            libc::sendmmsg(fd.as_raw_fd(), self.msgs.as_mut_ptr(), n as u32, libc::MSG_DONTWAIT)
        })?;
        Ok(sent as usize)
    }
}

/// A packet socket that hears nothing until [`packet_bind`]: virtio-net headers, auxiliary data, own transmissions ignored.
pub fn packet_socket(rcvbuf_bytes: i32, sndbuf_bytes: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = owned(unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    })?;
    let raw = fd.as_raw_fd();
    set_opt(raw, libc::SOL_PACKET, PACKET_VNET_HDR, &1i32)?;
    set_opt(raw, libc::SOL_PACKET, PACKET_AUXDATA, &1i32)?;
    set_opt(raw, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
    // Beyond net.core.[rw]mem_max with CAP_NET_ADMIN; up to it without.
    if set_opt(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &rcvbuf_bytes).is_err() {
        set_opt(raw, libc::SOL_SOCKET, libc::SO_RCVBUF, &rcvbuf_bytes)?;
    }
    if set_opt(raw, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &sndbuf_bytes).is_err() {
        set_opt(raw, libc::SOL_SOCKET, libc::SO_SNDBUF, &sndbuf_bytes)?;
    }
    Ok(fd)
}

/// Binds (again) to an interface, all protocols, promiscuous.
pub fn packet_bind(fd: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data for which zero is valid.
    let mut sa: libc::sockaddr_ll = unsafe { zeroed() };
    sa.sll_family = libc::AF_PACKET as u16;
    sa.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    sa.sll_ifindex = ifindex as i32;
    // SAFETY: `sa` is a live sockaddr_ll of the given length.
    check(unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&sa).cast(), size_of::<libc::sockaddr_ll>() as u32)
    })?;
    let mreq = libc::packet_mreq {
        mr_ifindex: ifindex as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_opt(fd.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &mreq)?;
    Ok(())
}

/// Frames that the kernel dropped on this socket since the last call because its queue was full.
pub fn packet_drops(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut st = [0u32; 3]; // tp_packets, tp_drops (tp_freeze_q_cnt with V3 rings)
    let mut len = size_of::<[u32; 2]>() as libc::socklen_t;
    // SAFETY: `st` is live and longer than `len`.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            st.as_mut_ptr().cast(),
            &mut len,
        )
    })?;
    Ok(st[1])
}

/// Takes (and so clears) a socket's pending error.
pub fn take_socket_error(fd: BorrowedFd<'_>) -> Option<io::Error> {
    let (mut e, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: `e` is live and `len` its size.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            std::ptr::from_mut(&mut e).cast(),
            &mut len,
        )
    })
    .ok()?;
    (e != 0).then(|| io::Error::from_raw_os_error(e))
}

/// Reads one frame of a tap device with its virtio-net header. `Ok(None)`: nothing there.
pub fn tap_read(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    overflow: &mut [u8],
) -> io::Result<Option<(usize, VnetHdr)>> {
    let mut h = [0u8; VNET_HDR_LEN];
    let iov = [
        libc::iovec { iov_base: h.as_mut_ptr().cast(), iov_len: VNET_HDR_LEN },
        libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() },
        libc::iovec { iov_base: overflow.as_mut_ptr().cast(), iov_len: overflow.len() },
    ];
    // SAFETY: three live, exclusive buffers with their true lengths.
    match check_len(unsafe { libc::readv(fd.as_raw_fd(), iov.as_ptr(), 3) }) {
        Ok(n) => Ok(Some((n.saturating_sub(VNET_HDR_LEN), VnetHdr::parse(&h)))),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes one frame to a tap device.
pub fn tap_write(fd: BorrowedFd<'_>, frame: &[u8], vnet: &VnetHdr) -> io::Result<()> {
    let mut h = vnet.emit();
    let iov = [
        libc::iovec { iov_base: h.as_mut_ptr().cast(), iov_len: VNET_HDR_LEN },
        libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
    ];
    // SAFETY: two live buffers with their true lengths, only read.
    check_len(unsafe { libc::writev(fd.as_raw_fd(), iov.as_ptr(), 2) })?;
    Ok(())
}

/// An `ifreq` for `name`. Names are at most 15 bytes.
fn ifreq(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data for which zero is valid.
    let mut r: libc::ifreq = unsafe { zeroed() };
    let b = name.as_bytes();
    if b.is_empty()
        || b.len() >= r.ifr_name.len()
        || b.contains(&0)
        || b.contains(&b'/')
        || name == "."
        || name == ".."
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an interface name has 1 to 15 bytes, no slash",
        ));
    }
    for (d, s) in r.ifr_name.iter_mut().zip(b) {
        *d = *s as libc::c_char;
    }
    Ok(r)
}

/// A socket for interface ioctls, in the calling thread's namespace at the time.
pub fn ioctl_socket() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })
}

fn if_ioctl(ctl: BorrowedFd<'_>, req: libc::c_ulong, r: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every request used here reads and writes at most one ifreq.
    check(unsafe { libc::ioctl(ctl.as_raw_fd(), req as _, std::ptr::from_mut(r)) })?;
    Ok(())
}

/// Creates a tap device (gone when the descriptor closes) with virtio-net headers; says which offloads the kernel accepted.
pub fn tap_open(name: &str) -> io::Result<(OwnedFd, &'static str)> {
    let path = CString::new("/dev/net/tun").map_err(io::Error::other)?;
    // SAFETY: a valid C string.
    let fd = owned(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let mut r = ifreq(name)?;
    r.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF as _, std::ptr::from_mut(&mut r)) })?;
    let size = VNET_HDR_LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ as _, std::ptr::from_ref(&size)) })?;
    let tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
    for (flags, what) in [
        (tso | TUN_F_USO4 | TUN_F_USO6, "checksums, TSO and USO"),
        (tso, "checksums and TSO"),
        (TUN_F_CSUM, "checksums"),
    ] {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        if unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD as _, flags) } == 0 {
            return Ok((fd, what));
        }
    }
    Ok((fd, "nothing"))
}

/// Sets or clears `IFF_UP`.
pub fn set_up(ctl: BorrowedFd<'_>, name: &str, up: bool) -> io::Result<()> {
    let mut r = ifreq(name)?;
    if_ioctl(ctl, libc::SIOCGIFFLAGS as _, &mut r)?;
    // SAFETY: SIOCGIFFLAGS has filled `ifru_flags`; any bit pattern is a valid i16.
    let now = unsafe { r.ifr_ifru.ifru_flags };
    let want = if up { now | libc::IFF_UP as i16 } else { now & !(libc::IFF_UP as i16) };
    if now == want {
        return Ok(());
    }
    r.ifr_ifru.ifru_flags = want;
    if_ioctl(ctl, libc::SIOCSIFFLAGS as _, &mut r)
}

/// Sets the MTU.
pub fn set_mtu(ctl: BorrowedFd<'_>, name: &str, mtu: u32) -> io::Result<()> {
    let mut r = ifreq(name)?;
    r.ifr_ifru.ifru_mtu = mtu as i32;
    if_ioctl(ctl, libc::SIOCSIFMTU as _, &mut r)
}

/// Sets the hardware address.
pub fn set_mac(ctl: BorrowedFd<'_>, name: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut r = ifreq(name)?;
    // SAFETY: sockaddr is plain data for which zero is valid.
    let mut sa: libc::sockaddr = unsafe { zeroed() };
    sa.sa_family = libc::ARPHRD_ETHER;
    for (d, s) in sa.sa_data.iter_mut().zip(mac) {
        *d = s as libc::c_char;
    }
    r.ifr_ifru.ifru_hwaddr = sa;
    if_ioctl(ctl, libc::SIOCSIFHWADDR as _, &mut r)
}

fn ethtool<T>(ctl: BorrowedFd<'_>, name: &str, cmd: &mut T) -> io::Result<()> {
    let mut r = ifreq(name)?;
    r.ifr_ifru.ifru_data = std::ptr::from_mut(cmd).cast();
    if_ioctl(ctl, SIOCETHTOOL, &mut r)
}

/// Turns large receive offload off (its frames cannot be cut again as they were); whether it was on.
pub fn disable_lro(ctl: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let mut v = [ETHTOOL_GFLAGS, 0]; // struct ethtool_value
    ethtool(ctl, name, &mut v)?;
    if v[1] & ETH_FLAG_LRO == 0 {
        return Ok(false);
    }
    let mut v = [ETHTOOL_SFLAGS, v[1] & !ETH_FLAG_LRO];
    ethtool(ctl, name, &mut v)?;
    Ok(true)
}

/// Link speed in Mb/s, if the device knows one.
pub fn link_speed_mbps(ctl: BorrowedFd<'_>, name: &str) -> Option<u32> {
    // struct ethtool_link_settings: cmd:4 speed:4 duplex:1 port:1 phy:1 autoneg:1 mdio:1 tp:1 tp_ctrl:1 link_mode_masks_nwords:1 ...
    // and three masks of up to 127 words each.
    let mut s = [0u32; 12 + 3 * 127];
    s[0] = ETHTOOL_GLINKSETTINGS;
    ethtool(ctl, name, &mut s).ok()?;
    let words = (s[3] >> 24) as u8 as i8; // the kernel asks for -words first
    if words >= 0 {
        return None;
    }
    s = [0; 12 + 3 * 127];
    s[0] = ETHTOOL_GLINKSETTINGS;
    s[3] = u32::from((-words) as u8) << 24;
    ethtool(ctl, name, &mut s).ok()?;
    (s[1] != 0 && s[1] != u32::MAX).then_some(s[1])
}

/// The driver's name.
pub fn driver_name(ctl: BorrowedFd<'_>, name: &str) -> Option<String> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    // struct ethtool_drvinfo: cmd:4 driver:32 version:32 ... (196 bytes)
    let mut d = [0u32; 49];
    d[0] = ETHTOOL_GDRVINFO;
    ethtool(ctl, name, &mut d).ok()?;
    let bytes: Vec<u8> = d[1..9].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8(bytes).ok()
}

/// Receive queues that the device has (combined or rx channels), at least 1.
pub fn rx_channels(ctl: BorrowedFd<'_>, name: &str) -> u32 {
    // struct ethtool_channels: cmd, max_rx, max_tx, max_other, max_combined, rx, tx, other, combined
    let mut c = [0u32; 9];
    c[0] = ETHTOOL_GCHANNELS;
    match ethtool(ctl, name, &mut c) {
        Ok(()) => (c[5] + c[8]).max(1),
        Err(_) => 1,
    }
}

/// Makes a fresh network namespace for the calling thread (tests).
pub fn unshare_net() -> io::Result<()> {
    // SAFETY: no memory is passed; only the calling thread's namespace changes.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    Ok(())
}

/// The calling thread's network namespace (tests).
pub fn current_netns() -> io::Result<std::fs::File> {
    std::fs::File::open("/proc/thread-self/ns/net")
}

/// Moves the calling thread to a namespace (tests).
pub fn set_netns(ns: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed; only the calling thread's namespace changes.
    check(unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Whether this process may make network namespaces and raw sockets (tests that need it say so and end).
pub fn is_root() -> bool {
    // SAFETY: takes and returns plain integers.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtio_header_round_trips() {
        let v = VnetHdr {
            needs_csum: true,
            data_valid: false,
            gso_type: 1,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        assert_eq!(VnetHdr::parse(&v.emit()), v);
    }

    #[test]
    fn refuses_bad_interface_names() {
        for n in ["", "a-name-of-16-byte", "a/b", ".."] {
            assert_eq!(ifreq(n).err().map(|e| e.kind()), Some(io::ErrorKind::InvalidInput), "{n}");
        }
    }
}
