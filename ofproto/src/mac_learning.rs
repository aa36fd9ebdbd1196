//! Where NORMAL last saw each address: (bridge, VLAN, MAC) to port, with ageing and a limit.
//!
//! Workers learn and look up in the middle of an upcall. The table is cut into shards; a shard's lock is held for one hash operation, by workers
//! and control alike; ageing goes shard by shard and a slice at a time.

use crate::api::BridgeId;
use openflow::PortNo;
use parking_lot::Mutex;
use std::collections::HashMap;

const SHARDS: usize = 64;
/// Addresses of one shard at most.
const SHARD_LIMIT: usize = 4096;

type Key = (BridgeId, u16, [u8; 6]);

#[derive(Clone, Copy)]
struct Place {
    port: PortNo,
    seen_ms: u64,
}

/// One learned address, for listings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MacEntry {
    /// Port.
    pub port: PortNo,
    /// VLAN id, 0 untagged.
    pub vlan: u16,
    /// Address.
    pub mac: [u8; 6],
    /// Seconds since it was last seen.
    pub age_s: u64,
}

/// See the module.
pub struct MacTable {
    shards: Vec<Mutex<HashMap<Key, Place>>>,
}

impl Default for MacTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl MacTable {
    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, Place>> {
        let m = u64::from_be_bytes([0, 0, key.2[0], key.2[1], key.2[2], key.2[3], key.2[4], key.2[5]]);
        &self.shards
            [(crate::flow::mix(m, u64::from(key.1) << 32 | u64::from(key.0 .0)) >> 58) as usize % SHARDS]
    }
    /// The port of an address.
    pub fn lookup(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6]) -> Option<PortNo> {
        let key = (bridge, vlan, mac);
        self.shard(&key).lock().get(&key).map(|p| p.port)
    }
    /// An address was seen. `true`: it is new or has moved (whoever depends on it must know).
    pub fn learn(&self, bridge: BridgeId, vlan: u16, mac: [u8; 6], port: PortNo, now_ms: u64) -> bool {
        let key = (bridge, vlan, mac);
        let mut shard = self.shard(&key).lock();
        if let Some(p) = shard.get_mut(&key) {
            let moved = p.port != port;
            *p = Place { port, seen_ms: now_ms.max(p.seen_ms) };
            return moved;
        }
        if shard.len() >= SHARD_LIMIT {
            return false; // full: flooded like any unknown address, until ageing makes room
        }
        shard.insert(key, Place { port, seen_ms: now_ms });
        true
    }
    /// Takes out what `gone` names, and gives it.
    pub fn remove(&self, gone: impl Fn(BridgeId, PortNo, u64) -> bool) -> Vec<(BridgeId, u16, [u8; 6])> {
        let mut out = Vec::new();
        for s in &self.shards {
            s.lock().retain(|k, p| {
                let stays = !gone(k.0, p.port, p.seen_ms);
                if !stays {
                    out.push(*k);
                }
                stays
            });
        }
        out
    }
    /// All addresses of a bridge.
    pub fn list(&self, bridge: BridgeId, now_ms: u64) -> Vec<MacEntry> {
        let mut v = Vec::new();
        for s in &self.shards {
            for ((b, vlan, mac), p) in s.lock().iter() {
                if *b == bridge {
                    let age_s = now_ms.saturating_sub(p.seen_ms) / 1000;
                    v.push(MacEntry { port: p.port, vlan: *vlan, mac: *mac, age_s });
                }
            }
        }
        v.sort_by_key(|e| (e.vlan, e.mac));
        v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_moves_and_forgets() {
        let t = MacTable::default();
        let (b, m) = (BridgeId(1), [2, 0, 0, 0, 0, 1]);
        assert!(t.learn(b, 0, m, PortNo(1), 0));
        assert!(!t.learn(b, 0, m, PortNo(1), 10));
        assert!(t.learn(b, 0, m, PortNo(2), 20));
        assert_eq!((t.lookup(b, 0, m), t.lookup(b, 1, m)), (Some(PortNo(2)), None));
        assert_eq!(t.remove(|_, _, seen| seen < 21), vec![(b, 0, m)]);
        assert_eq!(t.lookup(b, 0, m), None);
    }

    #[test]
    fn is_bounded() {
        let t = MacTable::default();
        for i in 0..1_000_000u64 {
            let a = i.to_be_bytes();
            t.learn(BridgeId(0), 0, [2, a[3], a[4], a[5], a[6], a[7]], PortNo(1), 0);
        }
        assert!(t.list(BridgeId(0), 0).len() <= SHARDS * SHARD_LIMIT);
    }
}
