//! Pools of packet buffers, one per NUMA node and buffer size, shared by the ports that need the same; kept for ever once made
//! (mbufs may be anywhere).

#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use dpdk_sys as sys;
use parking_lot::Mutex;

use super::eal::{self, DpdkError};

/// Room before a frame for headers that are pushed; DPDK's own default.
pub const HEADROOM: u16 = 128;
/// Least room for a frame; DPDK's own default, which some devices (net_af_packet) need.
const DATA_MIN: u16 = 2048;
/// Buffers a thread keeps for itself.
const CACHE: u32 = 512;
/// First try for a shared pool with hugepages, as OVS has it; halved until it fits.
const MBUFS_HUGE: u32 = 262_144;
/// Without hugepages.
const MBUFS_NO_HUGE: u32 = 32_768;
/// Fewer would not fill the queues of one port.
const MBUFS_MIN: u32 = 8_192;

/// A pool. Never freed.
#[derive(Debug)]
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    /// NUMA node.
    pub socket: i32,
    /// Bytes of frame that fit one buffer.
    pub data_bytes: u16,
    /// Buffers.
    pub mbufs: u32,
    /// Its name in DPDK.
    pub name: String,
    private: bool,
}

// SAFETY: DPDK's pools are made for many threads; the pointer is never freed.
unsafe impl Send for Mempool {}
// SAFETY: as above; the other fields never change.
unsafe impl Sync for Mempool {}

static POOLS: Mutex<Vec<Arc<Mempool>>> = Mutex::new(Vec::new());
static NAMES: AtomicU32 = AtomicU32::new(0);

impl Mempool {
    /// The shared pool of this node whose buffers hold `frame_bytes`, made if there is none.
    ///
    /// # Errors
    /// If there is no memory: says how much is wanted and how to get it.
    pub fn shared(socket: i32, frame_bytes: u16) -> Result<Arc<Self>, DpdkError> {
        let data_bytes = frame_bytes.max(DATA_MIN).next_multiple_of(64);
        let mut pools = POOLS.lock();
        if let Some(p) = pools.iter().find(|p| !p.private && p.socket == socket && p.data_bytes == data_bytes)
        {
            return Ok(Arc::clone(p));
        }
        let mut n = if eal::running().is_some_and(|e| e.hugepages) { MBUFS_HUGE } else { MBUFS_NO_HUGE };
        loop {
            match Self::create(socket, data_bytes, n, false) {
                Ok(p) => {
                    pools.push(Arc::clone(&p));
                    return Ok(p);
                }
                Err(e) if n / 2 < MBUFS_MIN => return Err(e),
                Err(_) => n /= 2,
            }
        }
    }

    /// A pool of this port's own with at least `mbufs` buffers.
    ///
    /// # Errors
    /// As [`Mempool::shared`].
    pub fn private(socket: i32, frame_bytes: u16, mbufs: u32) -> Result<Arc<Self>, DpdkError> {
        let data_bytes = frame_bytes.max(DATA_MIN).next_multiple_of(64);
        let p = Self::create(socket, data_bytes, mbufs.max(1024), true)?;
        POOLS.lock().push(Arc::clone(&p));
        Ok(p)
    }

    fn create(socket: i32, data_bytes: u16, mbufs: u32, private: bool) -> Result<Arc<Self>, DpdkError> {
        let name = format!("ofs{}", NAMES.fetch_add(1, Ordering::Relaxed));
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        // One less than a power of two wastes nothing of the ring behind the pool.
        let n = mbufs.next_power_of_two() - 1;
        // SAFETY: a valid C string; the EAL runs (callers hold an `Eal` or a port).
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(c_name.as_ptr(), n, CACHE, 0, data_bytes + HEADROOM, socket)
        };
        let Some(raw) = NonNull::new(raw) else {
            let want = u64::from(n) * (u64::from(data_bytes) + u64::from(HEADROOM) + 128 + 64);
            let (total, free) = eal::memory_bytes();
            let how = if eal::running().is_some_and(|e| e.hugepages) {
                "reserve more hugepages (`sysctl vm.nr_hugepages=N`, 2 MiB each) or lower the MTU"
            } else {
                "give DPDK more: --dpdk \"--no-huge -m MEBIBYTES\", or reserve hugepages (`sysctl vm.nr_hugepages=512`)"
            };
            return Err(DpdkError::from_errno(
                format!(
                    "a pool of {n} packet buffers on NUMA node {socket} ({} MiB; DPDK has {} MiB, {} free)",
                    want >> 20,
                    total >> 20,
                    free >> 20
                ),
                eal::last_errno(),
                how,
            ));
        };
        tracing::info!("DPDK: pool {name}: {n} buffers of {data_bytes} bytes on NUMA node {socket}");
        Ok(Arc::new(Self { raw, socket, data_bytes, mbufs: n, name, private }))
    }

    /// For DPDK's functions.
    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// Buffers not in use.
    pub fn available(&self) -> u32 {
        // SAFETY: a live pool.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }
}

/// All pools: name, NUMA node, bytes a buffer, buffers, of them free.
pub fn all() -> Vec<(String, i32, u16, u32, u32)> {
    POOLS.lock().iter().map(|p| (p.name.clone(), p.socket, p.data_bytes, p.mbufs, p.available())).collect()
}
