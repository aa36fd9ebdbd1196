//! Numbers that stand for larger things in datapath actions: what a controller is to get, and what is left to do after recirculation.
//!
//! Equal things get the same number, so that equal translations have equal actions. The table is bounded; numbers that no megaflow uses any
//! more are taken back by [`Interner::retain`], called by the control thread. Workers and control meet at a lock that is held for one hash
//! look-up or insertion; `retain` works in slices for the same reason.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Independent parts of the table, each with its own lock.
const SHARDS: usize = 16;

struct Slot<T> {
    value: Arc<T>,
    hash: u64,
    /// Generation in which it was last asked for.
    used: u32,
}

struct Shard<T> {
    slots: HashMap<u32, Slot<T>>,
    by_hash: HashMap<u64, Vec<u32>>,
    next: u32,
}

/// See the module.
pub struct Interner<T> {
    shards: Vec<Mutex<Shard<T>>>,
    limit: usize,
    generation: std::sync::atomic::AtomicU32,
}

impl<T: PartialEq> Interner<T> {
    /// A table of at most `limit` things.
    pub fn new(limit: usize) -> Self {
        let shard = || Mutex::new(Shard { slots: HashMap::new(), by_hash: HashMap::new(), next: 1 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            limit: limit.div_ceil(SHARDS),
            generation: std::sync::atomic::AtomicU32::new(0),
        }
    }
    fn now(&self) -> u32 {
        self.generation.load(std::sync::atomic::Ordering::Relaxed)
    }
    /// The number of a thing, never 0. `hash` is the same for equal things. `None`: the table is full.
    pub fn intern(&self, value: T, hash: u64) -> Option<u32> {
        let s = (hash >> 60) as usize % SHARDS;
        let now = self.now();
        let mut shard = self.shards[s].lock();
        let Shard { slots, by_hash, next } = &mut *shard;
        if let Some(ids) = by_hash.get(&hash) {
            for id in ids {
                if let Some(slot) = slots.get_mut(id).filter(|x| *x.value == value) {
                    slot.used = now;
                    return Some(*id);
                }
            }
        }
        if slots.len() >= self.limit {
            return None;
        }
        let id = loop {
            let id = *next * SHARDS as u32 + s as u32;
            *next = (*next + 1) & 0x00ff_ffff;
            if id != 0 && !slots.contains_key(&id) {
                break id;
            }
        };
        slots.insert(id, Slot { value: Arc::new(value), hash, used: now });
        by_hash.entry(hash).or_default().push(id);
        Some(id)
    }
    /// What a number stands for.
    pub fn get(&self, id: u32) -> Option<Arc<T>> {
        self.shards[id as usize % SHARDS].lock().slots.get(&id).map(|s| s.value.clone())
    }
    /// Number of things.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().slots.len()).sum()
    }
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Starts a new generation and forgets things not asked for since the one before, unless `in_use` says otherwise.
    pub fn retain(&self, in_use: impl Fn(u32) -> bool) {
        let old = self.generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { slots, by_hash, .. } = &mut *shard;
            slots.retain(|id, s| {
                let keep = s.used >= old || in_use(*id);
                if !keep {
                    if let Some(v) = by_hash.get_mut(&s.hash) {
                        v.retain(|i| i != id);
                        if v.is_empty() {
                            by_hash.remove(&s.hash);
                        }
                    }
                }
                keep
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_have_one_number_and_unused_ones_lose_theirs() {
        let t = Interner::new(64);
        let a = t.intern("a", 1).unwrap();
        assert_eq!(t.intern("a", 1), Some(a));
        let b = t.intern("b", 1).unwrap();
        assert_ne!(a, b);
        assert_eq!(*t.get(b).unwrap(), "b");
        t.retain(|_| false); // both were used in this generation
        t.retain(|id| id == a);
        assert_eq!((t.get(a).is_some(), t.get(b).is_some(), t.len()), (true, false, 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let t = Interner::new(SHARDS);
        assert!(t.intern(1, 5).is_some());
        assert!(t.intern(2, 5).is_none());
        assert!(t.intern(1, 5).is_some());
    }
}
