//! A persistent table from hashes to numbers, of which a new version costs next to nothing: 16-way on four bits of the hash a level, with
//! small hash tables as leaves.
//!
//! Cloning is one reference count. What is added goes into the leaf that all versions share, so an add copies nothing unless its leaf is full;
//! what is taken out is taken out of a copy. A clone may therefore come to hold *more* than it was made with, never less: who keeps one
//! must be able to tell what is too new for it ([`crate::entries`]), or not care ([`Hashes`]).
//!
//! Only the newest clone may be changed, which callers see to.

use datapath::classifier::kernel::prefetch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Levels until all bits of a hash are used; a leaf that deep grows without bound.
const LEVELS: u32 = 8;
/// Most slots of a leaf above that: one of the sizes that leaves grow through.
const MOST: usize = 768;
/// Levels of which all inner nodes are few enough to stay in a near cache, but for the last one's.
const HOT_LEVELS: u32 = 3;
const FEWEST: usize = 6;

/// Word 0: how many slots are taken (only the writer looks). Then the slots: 0, or a hash above a number that is not 0.
type Leaf = Arc<[AtomicU64]>;

#[derive(Clone, Default)]
enum Node {
    #[default]
    Empty,
    Leaf(Leaf),
    Inner(Arc<[Node; 16]>),
}

/// See the module. Numbers are not 0.
#[derive(Clone, Default)]
pub struct Index(Node);

fn nibble(hash: u32, depth: u32) -> usize {
    (hash >> (28 - 4 * depth) & 15) as usize
}

fn hash_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// Where the slots of a hash begin. All of a leaf have its high bits in common.
#[inline]
fn home(hash: u32, slots: usize) -> usize {
    ((u64::from(hash.wrapping_mul(0x9e37_79b1)) * slots as u64) >> 32) as usize
}

fn room(slots: usize) -> usize {
    slots * 13 / 16
}

/// The slots that may be a hash's, from its home to the next empty one.
#[inline]
fn probe(leaf: &[AtomicU64], hash: u32) -> impl Iterator<Item = (usize, u64)> + '_ {
    let slots = leaf.len() - 1;
    let (mut i, mut left) = (home(hash, slots), slots);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let at = i + 1;
        i = if at == slots { 0 } else { at };
        let slot = leaf[at].load(Ordering::Acquire);
        (slot != 0).then_some((at, slot))
    })
}

/// Puts a slot into a leaf that has room.
fn put(leaf: &[AtomicU64], slot: u64) {
    let slots = leaf.len() - 1;
    let mut i = home(hash_of(slot), slots);
    while leaf[i + 1].load(Ordering::Relaxed) != 0 {
        i = if i + 1 == slots { 0 } else { i + 1 };
    }
    leaf[i + 1].store(slot, Ordering::Release);
    leaf[0].store(leaf[0].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn taken(leaf: &[AtomicU64]) -> usize {
    leaf[0].load(Ordering::Relaxed) as usize
}

fn all(leaf: &[AtomicU64]) -> impl Iterator<Item = u64> + '_ {
    leaf[1..].iter().map(|s| s.load(Ordering::Acquire)).filter(|s| *s != 0)
}

/// A leaf of these, with room for at least one more than `n`.
fn leaf_of(n: usize, items: impl Iterator<Item = u64>) -> Leaf {
    let mut slots = FEWEST;
    while room(slots) <= n {
        slots *= 2;
    }
    let leaf: Leaf = (0..=slots).map(|_| AtomicU64::new(0)).collect();
    items.for_each(|s| put(&leaf, s));
    leaf
}

/// Empties a slot, and moves up what was behind it for its sake.
fn erase(leaf: &mut [AtomicU64], at: usize) {
    let slots = leaf.len() - 1;
    let (mut gap, mut i) = (at - 1, at - 1);
    loop {
        i = if i + 1 == slots { 0 } else { i + 1 };
        let slot = *leaf[i + 1].get_mut();
        if slot == 0 || i == at - 1 {
            break;
        }
        // How far from its home it is, and how far from the gap.
        let home = home(hash_of(slot), slots);
        if (i + slots - home) % slots >= (i + slots - gap) % slots {
            *leaf[gap + 1].get_mut() = slot;
            gap = i;
        }
    }
    *leaf[gap + 1].get_mut() = 0;
    *leaf[0].get_mut() -= 1;
}

/// Adds a slot whose leaf has no room for it.
fn grow(node: &mut Node, slot: u64, depth: u32) {
    match node {
        Node::Empty => *node = Node::Leaf(leaf_of(1, [slot].into_iter())),
        Node::Inner(kids) => grow(&mut Arc::make_mut(kids)[nibble(hash_of(slot), depth)], slot, depth + 1),
        Node::Leaf(leaf) if taken(leaf) < room(MOST) || depth >= LEVELS => {
            *node = Node::Leaf(leaf_of(taken(leaf) + 1, all(leaf).chain([slot])));
        }
        Node::Leaf(leaf) => {
            let mut kids: [Vec<u64>; 16] = Default::default();
            for s in all(leaf).chain([slot]) {
                kids[nibble(hash_of(s), depth)].push(s);
            }
            let kid = |k: Vec<u64>| match k.len() {
                0 => Node::Empty,
                n => Node::Leaf(leaf_of(n, k.into_iter())),
            };
            *node = Node::Inner(Arc::new(kids.map(kid)));
        }
    }
}

impl Index {
    #[inline]
    fn leaf(&self, hash: u32) -> &[AtomicU64] {
        static NONE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
        let mut node = &self.0;
        let mut depth = 0;
        loop {
            match node {
                Node::Empty => return &NONE,
                Node::Leaf(leaf) => return leaf,
                Node::Inner(kids) => node = &kids[nibble(hash, depth)],
            }
            depth += 1;
        }
    }
    /// Has the line fetched on which [`Index::prefetch`] would have to wait, if the table is large.
    pub fn prefetch_way(&self, hash: u32) {
        let mut node = &self.0;
        for depth in 0..HOT_LEVELS {
            let Node::Inner(kids) = node else { return };
            node = &kids[nibble(hash, depth)];
        }
        // It may lie across two lines.
        prefetch(std::ptr::from_ref(node));
        prefetch(std::ptr::from_ref(node).wrapping_byte_add(size_of::<Node>() - 1));
    }
    /// Has the lines fetched that [`Index::get`] and [`Index::insert`] of a hash will look at: in a large table, memory that no cache has.
    pub fn prefetch(&self, hash: u32) {
        let leaf = self.leaf(hash);
        prefetch(leaf.as_ptr());
        let home = leaf[home(hash, leaf.len() - 1) + 1..].as_ptr();
        prefetch(home);
        // Most searches end in the next line.
        prefetch(home.wrapping_add(8));
    }
    /// The numbers of a hash.
    #[inline]
    pub fn get(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        probe(self.leaf(hash), hash).filter(move |(_, s)| hash_of(*s) == hash).map(|(_, s)| s as u32)
    }
    /// Adds a number to a hash; equal ones are not looked for.
    pub fn insert(&mut self, hash: u32, number: u32) {
        debug_assert_ne!(number, 0);
        let slot = u64::from(hash) << 32 | u64::from(number);
        let leaf = self.leaf(hash);
        if taken(leaf) < room(leaf.len() - 1) {
            put(leaf, slot);
        } else {
            grow(&mut self.0, slot, 0);
        }
    }
    /// Takes a number of a hash out, or puts `new` in its place. Other clones keep it.
    pub fn replace(&mut self, hash: u32, old: u32, new: Option<u32>) {
        fn go(node: &mut Node, old: u64, new: Option<u64>, depth: u32) {
            match node {
                Node::Empty => {}
                Node::Inner(kids) => {
                    let kids = Arc::make_mut(kids);
                    go(&mut kids[nibble(hash_of(old), depth)], old, new, depth + 1);
                    if new.is_none() && kids.iter().all(|k| matches!(k, Node::Empty)) {
                        *node = Node::Empty;
                    }
                }
                Node::Leaf(leaf) => {
                    let Some((at, _)) = probe(leaf, hash_of(old)).find(|(_, s)| *s == old) else { return };
                    let left = taken(leaf) - usize::from(new.is_none());
                    if left == 0 {
                        *node = Node::Empty;
                    } else if left * 4 < room(leaf.len() - 1) {
                        let smaller = leaf_of(left, all(leaf).filter(|s| *s != old).chain(new));
                        *leaf = smaller;
                    } else {
                        if Arc::get_mut(leaf).is_none() {
                            *leaf = leaf.iter().map(|s| s.load(Ordering::Relaxed).into()).collect();
                        }
                        let Some(mine) = Arc::get_mut(leaf) else { return };
                        match new {
                            Some(new) => *mine[at].get_mut() = new,
                            None => erase(mine, at),
                        }
                    }
                }
            }
        }
        let slot = |n: u32| u64::from(hash) << 32 | u64::from(n);
        go(&mut self.0, slot(old), new.map(slot), 0);
    }
    /// The numbers, with their hashes, of the first leaf at or after a position (start with 0), and the position after it. Positions stay
    /// good over changes: what stays is met exactly once.
    pub fn leaf_from(&self, pos: u64) -> Option<(impl Iterator<Item = (u32, u32)> + '_, u64)> {
        fn go(node: &Node, base: u64, depth: u32, pos: u64) -> Option<(&[AtomicU64], u64)> {
            match node {
                Node::Empty => None,
                Node::Leaf(leaf) => Some((leaf, base + (1u64 << (32 - 4 * depth)))),
                Node::Inner(kids) => {
                    let width = 1u64 << (28 - 4 * depth);
                    (0..16u64).find_map(|i| {
                        let start = base + i * width;
                        if start + width <= pos {
                            return None;
                        }
                        go(&kids[i as usize], start, depth + 1, pos)
                    })
                }
            }
        }
        if pos >= 1 << 32 {
            return None;
        }
        let (leaf, next) = go(&self.0, 0, 0, pos)?;
        Some((all(leaf).map(|s| (hash_of(s), s as u32)), next))
    }
    /// All numbers with their hashes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut pos = 0;
        std::iter::from_fn(move || {
            let (leaf, next) = self.leaf_from(pos)?;
            pos = next;
            Some(leaf)
        })
        .flatten()
    }
}

/// A persistent multiset of hashes. A clone may hold some that were added later.
#[derive(Clone, Default)]
pub struct Hashes(Index);

impl Hashes {
    /// Whether a hash is in.
    #[inline]
    pub fn contains(&self, hash: u32) -> bool {
        self.0.get(hash).next().is_some()
    }
    /// Where a hash is, and how often it was added. Only the writer asks how often, so it may change the number under all clones.
    fn find(&self, hash: u32) -> Option<(&AtomicU64, u32)> {
        let leaf = self.0.leaf(hash);
        let (at, slot) = probe(leaf, hash).find(|(_, s)| hash_of(*s) == hash)?;
        Some((&leaf[at], slot as u32))
    }
    /// As [`Index::prefetch_way`].
    pub fn prefetch_way(&self, hash: u32) {
        self.0.prefetch_way(hash);
    }
    /// As [`Index::prefetch`].
    pub fn prefetch(&self, hash: u32) {
        self.0.prefetch(hash);
    }
    /// Adds one.
    pub fn insert(&mut self, hash: u32) {
        match self.find(hash) {
            Some((slot, _)) => {
                slot.fetch_add(1, Ordering::Relaxed);
            }
            None => self.0.insert(hash, 1),
        }
    }
    /// Takes one out.
    pub fn remove(&mut self, hash: u32) {
        match self.find(hash) {
            Some((slot, n)) if n > 1 => {
                slot.fetch_sub(1, Ordering::Relaxed);
            }
            Some(_) => self.0.replace(hash, 1, None),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::mix;
    use std::collections::BTreeSet;

    fn all_of(i: &Index) -> BTreeSet<(u32, u32)> {
        let list: Vec<_> = i.iter().collect();
        let set: BTreeSet<_> = list.iter().copied().collect();
        assert_eq!(list.len(), set.len(), "met twice");
        set
    }

    /// Hashes of three kinds: spread, in few leaves, and all the same.
    #[test]
    fn it_holds_what_was_put_in_and_clones_lose_nothing() {
        for (kind, keep) in [("spread", u32::MAX), ("few leaves", 0x0000_00ff), ("few hashes", 0x8000_0001)] {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            let mut clones: Vec<(Index, BTreeSet<(u32, u32)>)> = Vec::new();
            let mut rng = 7u64;
            for step in 0..6000u32 {
                rng = mix(rng, 1);
                let hash = mix(rng, 2) as u32 & keep;
                match rng >> 8 & 7 {
                    0..=3 => {
                        index.insert(hash, step + 1);
                        model.insert((hash, step + 1));
                    }
                    4..=6 if !model.is_empty() => {
                        let from = (hash, 0);
                        let one = *model.range(from..).next().or(model.first()).unwrap();
                        let new = (rng >> 16 & 1 == 0).then_some(step + 1);
                        index.replace(one.0, one.1, new);
                        model.remove(&one);
                        model.extend(new.map(|n| (one.0, n)));
                    }
                    _ if step % 50 == 0 => clones.push((index.clone(), model.clone())),
                    _ => index.replace(hash, u32::MAX, None), // is not in
                }
                let here: BTreeSet<u32> = index.get(hash).collect();
                let want = model.range((hash, 0)..=(hash, u32::MAX)).map(|x| x.1).collect();
                assert_eq!(here, want, "{kind}, step {step}");
            }
            assert_eq!(all_of(&index), model, "{kind}");
            assert!(!clones.is_empty());
            for (clone, model) in clones {
                assert!(all_of(&clone).is_superset(&model), "{kind}");
                assert!(model.iter().all(|(h, n)| clone.get(*h).any(|x| x == *n)), "{kind}");
            }
            for (h, n) in model {
                index.replace(h, n, None);
            }
            assert!(matches!(index.0, Node::Empty), "{kind}: nothing is left");
        }
    }

    #[test]
    fn a_walk_over_changes_meets_what_stays_once() {
        let mut index = Index::default();
        let hash = |i: u32| mix(3, i.into()) as u32;
        (1..=500).for_each(|i| index.insert(hash(i), i));
        let (mut pos, mut met, mut more) = (0, Vec::new(), 500);
        while let Some((leaf, next)) = index.leaf_from(pos).map(|(l, next)| (l.collect::<Vec<_>>(), next)) {
            met.extend(leaf.iter().map(|(_, n)| *n).filter(|n| *n <= 500));
            pos = next;
            // The leaves split under the walk.
            for _ in 0..200 {
                more += 1;
                index.insert(hash(more), more);
            }
        }
        met.sort_unstable();
        assert_eq!(met, (1..=500).collect::<Vec<_>>());
    }

    #[test]
    fn hashes_are_counted() {
        let mut set = Hashes::default();
        let n = |i: u32| mix(5, i.into()) as u32;
        (0..1000).for_each(|i| set.insert(n(i)));
        (0..1000).step_by(2).for_each(|i| set.insert(n(i)));
        let before = set.clone();
        (0..1000).for_each(|i| set.remove(n(i)));
        set.remove(n(5000));
        for i in 0..1000 {
            assert_eq!(set.contains(n(i)), i % 2 == 0);
            assert!(before.contains(n(i)));
        }
        (0..1000).step_by(2).for_each(|i| set.remove(n(i)));
        assert!((0..1000).all(|i| !set.contains(n(i))));
        assert!(matches!(set.0 .0, Node::Empty));
    }
}
