//! A persistent table from hashes to numbers, of which a new version costs next to nothing: 16-way on four bits of the hash a level, with
//! small hash tables as leaves.
//!
//! Cloning is one reference count. What is added goes into the leaf that all versions share, so an add copies nothing unless its leaf is full;
//! what is taken out is taken out of a copy. A clone may therefore come to hold *more* than it was made with, never less: who keeps one
//! must be able to tell what is too new for it ([`crate::entries`]), or not care ([`Hashes`]).
//!
//! Numbers of one hash have a *rank* each. Where more than a few have one hash, they stand in an index of their own, by rank: a *crowd*. So finding
//! one of them costs no more than finding one of another hash, and they are met from the lowest rank on ([`Index::visit`]).
//!
//! Only the newest clone may be changed, which callers see to.

use datapath::classifier::kernel::prefetch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Levels until all bits of a hash are used. A leaf that deep grows without bound: in a crowd, with what has one rank, too.
const LEVELS: u32 = 8;
/// Most slots of a leaf above that: one of the sizes that leaves grow through.
const MOST: usize = 768;
/// Most slots of a crowd's leaf: few, since who looks for the lowest rank sees all of the first.
const MOST_OF_CROWD: usize = 96;
/// Levels of which all inner nodes are few enough to stay in a near cache, but for the last one's.
const HOT_LEVELS: u32 = 3;
const FEWEST: usize = 6;
/// Numbers of one hash that may be no crowd.
const CROWD: usize = 16;
/// How far from its home a slot may come to be before somebody looks for a crowd.
const FAR: usize = 2 * CROWD;

/// Word 0: how many slots are taken (only the writer looks). Then the slots: 0, or a hash above a number that is not 0.
type Leaf = Arc<[AtomicU64]>;

#[derive(Clone, Default)]
enum Node {
    #[default]
    Empty,
    Leaf(Leaf),
    Inner(Arc<[Node; 16]>),
    Crowd(Arc<Crowd>),
}

/// The numbers of one hash.
#[derive(Clone)]
struct Crowd {
    hash: u32,
    /// By [`key`].
    ranks: Index,
}

static NONE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

impl Crowd {
    /// As [`Index::leaf`].
    #[inline(never)]
    fn leaf(&self, rank: u16) -> (&[AtomicU64], u32) {
        match self.ranks.end(key(rank)) {
            Node::Leaf(leaf) => (leaf, key(rank)),
            _ => (&NONE, key(rank)),
        }
    }
}

/// The hash by which a rank is found in a crowd: they are in order.
fn key(rank: u16) -> u32 {
    u32::from(rank) << 16
}

fn slot_of(hash: u32, number: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(number)
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

/// The numbers of a hash in its leaf.
#[inline]
fn numbers(leaf: &[AtomicU64], hash: u32) -> impl Iterator<Item = u32> + '_ {
    probe(leaf, hash).filter(move |(_, s)| hash_of(*s) == hash).map(|(_, s)| s as u32)
}

/// Puts a slot into a leaf that has room; how far from its home.
fn put(leaf: &[AtomicU64], slot: u64) -> usize {
    let slots = leaf.len() - 1;
    let mut i = home(hash_of(slot), slots);
    let mut far = 0;
    while leaf[i + 1].load(Ordering::Relaxed) != 0 {
        i = if i + 1 == slots { 0 } else { i + 1 };
        far += 1;
    }
    leaf[i + 1].store(slot, Ordering::Release);
    leaf[0].store(leaf[0].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    far
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
    items.for_each(|s| _ = put(&leaf, s));
    leaf
}

fn by_nibble(items: impl Iterator<Item = u64>, depth: u32) -> [Vec<u64>; 16] {
    let mut kids: [Vec<u64>; 16] = Default::default();
    items.for_each(|s| kids[nibble(hash_of(s), depth)].push(s));
    kids
}

/// A node of these, of which those of a hash are a crowd.
fn with_crowd(items: Vec<u64>, hash: u32, depth: u32, rank_of: &dyn Fn(u32) -> u16) -> Node {
    let of_hash = items.iter().filter(|s| hash_of(**s) == hash).count();
    if of_hash == 0 {
        return match items.len() {
            0 => Node::Empty,
            n => Node::Leaf(leaf_of(n, items.into_iter())),
        };
    }
    if of_hash < items.len() {
        let kid = |k| with_crowd(k, hash, depth + 1, rank_of);
        return Node::Inner(Arc::new(by_nibble(items.into_iter(), depth).map(kid)));
    }
    let mut ranks = Index::default();
    items.iter().for_each(|s| _ = ranks.insert(key(rank_of(*s as u32)), 0, *s as u32));
    Node::Crowd(Arc::new(Crowd { hash, ranks }))
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

/// Adds a number where no leaf has room for it. `most`: slots of a leaf.
fn grow(node: &mut Node, hash: u32, rank: u16, number: u32, depth: u32, most: usize) {
    let slot = slot_of(hash, number);
    match node {
        Node::Empty => *node = Node::Leaf(leaf_of(1, [slot].into_iter())),
        Node::Inner(kids) => {
            grow(&mut Arc::make_mut(kids)[nibble(hash, depth)], hash, rank, number, depth + 1, most);
        }
        Node::Crowd(crowd) if crowd.hash == hash => {
            grow(&mut Arc::make_mut(crowd).ranks.0, key(rank), 0, number, 0, MOST_OF_CROWD);
        }
        Node::Crowd(crowd) => {
            // Another hash: a level comes between.
            let mut kids: [Node; 16] = Default::default();
            let theirs = nibble(crowd.hash, depth);
            kids[theirs] = std::mem::take(node);
            grow(&mut kids[nibble(hash, depth)], hash, rank, number, depth + 1, most);
            *node = Node::Inner(Arc::new(kids));
        }
        Node::Leaf(leaf) if taken(leaf) < room(most) || depth >= LEVELS => {
            *node = Node::Leaf(leaf_of(taken(leaf) + 1, all(leaf).chain([slot])));
        }
        Node::Leaf(leaf) => {
            let kid = |k: Vec<u64>| match k.len() {
                0 => Node::Empty,
                n => Node::Leaf(leaf_of(n, k.into_iter())),
            };
            *node = Node::Inner(Arc::new(by_nibble(all(leaf).chain([slot]), depth).map(kid)));
        }
    }
}

impl Index {
    /// What the numbers of a hash are in: no inner node.
    #[inline]
    fn end(&self, hash: u32) -> &Node {
        let mut node = &self.0;
        let mut depth = 0;
        while let Node::Inner(kids) = node {
            node = &kids[nibble(hash, depth)];
            depth += 1;
        }
        node
    }
    /// The leaf where a number of this hash and rank is, and by which hash it is found there.
    #[inline]
    fn leaf(&self, hash: u32, rank: u16) -> (&[AtomicU64], u32) {
        match self.end(hash) {
            Node::Leaf(leaf) => (leaf, hash),
            Node::Crowd(crowd) if crowd.hash == hash => crowd.leaf(rank),
            _ => (&NONE, hash),
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
        // Of a crowd some leaf: the writer has just been there.
        let (leaf, hash) = self.leaf(hash, 0);
        prefetch(leaf.as_ptr());
        let home = leaf[home(hash, leaf.len() - 1) + 1..].as_ptr();
        prefetch(home);
        // Most searches end in the next line.
        prefetch(home.wrapping_add(8));
    }
    /// The numbers of a hash and rank, and if these are few, all others of the hash.
    #[inline]
    pub fn get(&self, hash: u32, rank: u16) -> impl Iterator<Item = u32> + '_ {
        let (leaf, hash) = self.leaf(hash, rank);
        numbers(leaf, hash)
    }
    /// All numbers of a hash.
    pub fn all_of(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let (few, crowd) = match self.end(hash) {
            Node::Leaf(leaf) => (Some(numbers(leaf, hash)), None),
            Node::Crowd(crowd) if crowd.hash == hash => (None, Some(crowd.ranks.iter())),
            _ => (None, None),
        };
        few.into_iter().flatten().chain(crowd.into_iter().flatten())
    }
    /// Shows the numbers of a hash, until `enough` of one is true and all that are not shown have a higher rank.
    #[inline]
    pub fn visit(&self, hash: u32, mut enough: impl FnMut(u32) -> bool) {
        match self.end(hash) {
            Node::Leaf(leaf) => numbers(leaf, hash).for_each(|n| _ = enough(n)),
            Node::Crowd(crowd) if crowd.hash == hash => crowd.ranks.visit_all(&mut enough),
            _ => {}
        }
    }
    /// As [`Index::visit`], of a crowd.
    #[cold]
    fn visit_all(&self, enough: &mut dyn FnMut(u32) -> bool) {
        let mut pos = 0;
        while let Some((leaf, next)) = self.leaf_from(pos) {
            // All of a leaf: it is in no order.
            if leaf.filter(|n| enough(*n)).count() > 0 {
                return;
            }
            pos = next;
        }
    }
    /// Adds a number to a hash; equal ones are not looked for. True: there may be a crowd now, see [`Index::crowd`].
    pub fn insert(&mut self, hash: u32, rank: u16, number: u32) -> bool {
        debug_assert_ne!(number, 0);
        let (leaf, at) = self.leaf(hash, rank);
        if taken(leaf) < room(leaf.len() - 1) {
            return put(leaf, slot_of(at, number)) > FAR;
        }
        grow(&mut self.0, hash, rank, number, 0, MOST);
        false
    }
    /// Makes a crowd of the numbers of a hash if they are many and none yet. Other clones keep what they are in.
    #[cold]
    pub fn crowd(&mut self, hash: u32, rank_of: &dyn Fn(u32) -> u16) {
        fn go(node: &mut Node, hash: u32, depth: u32, rank_of: &dyn Fn(u32) -> u16) {
            match node {
                Node::Inner(kids) => {
                    go(&mut Arc::make_mut(kids)[nibble(hash, depth)], hash, depth + 1, rank_of);
                }
                Node::Leaf(leaf) => *node = with_crowd(all(leaf).collect(), hash, depth, rank_of),
                Node::Empty | Node::Crowd(_) => {}
            }
        }
        if matches!(self.end(hash), Node::Leaf(leaf) if numbers(leaf, hash).count() > CROWD) {
            go(&mut self.0, hash, 0, rank_of);
        }
    }
    /// Takes a number of a hash out, or puts `new` of the same rank in its place. Other clones keep it.
    pub fn replace(&mut self, hash: u32, rank: u16, old: u32, new: Option<u32>) {
        fn go(node: &mut Node, old: u64, rank: u16, new: Option<u64>, depth: u32) {
            match node {
                Node::Empty => {}
                Node::Inner(kids) => {
                    let kids = Arc::make_mut(kids);
                    go(&mut kids[nibble(hash_of(old), depth)], old, rank, new, depth + 1);
                    if new.is_none() && kids.iter().all(|k| matches!(k, Node::Empty)) {
                        *node = Node::Empty;
                    }
                }
                Node::Crowd(crowd) if crowd.hash == hash_of(old) => {
                    let ranks = &mut Arc::make_mut(crowd).ranks;
                    ranks.replace(key(rank), 0, old as u32, new.map(|n| n as u32));
                    if matches!(ranks.0, Node::Empty) {
                        *node = Node::Empty;
                    }
                }
                Node::Crowd(_) => {}
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
        let slot = |n| slot_of(hash, n);
        go(&mut self.0, slot(old), rank, new.map(slot), 0);
    }
    /// The numbers of the first leaf at or after a position (start with 0), and the position after it: a hash, and the rank in a crowd. Positions
    /// stay good over changes: what stays is met exactly once.
    pub fn leaf_from(&self, pos: u64) -> Option<(impl Iterator<Item = u32> + '_, u64)> {
        fn go(node: &Node, base: u64, depth: u32, pos: u64) -> Option<(&[AtomicU64], u64)> {
            match node {
                Node::Empty => None,
                Node::Leaf(leaf) => Some((leaf, base + (1u64 << (48 - 4 * depth)))),
                Node::Inner(kids) => {
                    let width = 1u64 << (44 - 4 * depth);
                    (0..16u64).find_map(|i| {
                        let start = base + i * width;
                        if start + width <= pos {
                            return None;
                        }
                        go(&kids[i as usize], start, depth + 1, pos)
                    })
                }
                Node::Crowd(crowd) => {
                    let start = u64::from(crowd.hash) << 16;
                    let rank = pos.saturating_sub(start);
                    if rank >= 1 << 16 {
                        return None;
                    }
                    // Where its keys have one: they are ranks above 16 zeros.
                    let (leaf, next) = go(&crowd.ranks.0, 0, 0, rank << 32)?;
                    Some((leaf, start + next.div_ceil(1 << 32)))
                }
            }
        }
        if pos >= 1 << 48 {
            return None;
        }
        let (leaf, next) = go(&self.0, 0, 0, pos)?;
        Some((all(leaf).map(|s| s as u32), next))
    }
    /// All numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
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
        matches!(self.0.end(hash), Node::Leaf(leaf) if numbers(leaf, hash).next().is_some())
    }
    /// Where a hash is, and how often it was added. Only the writer asks how often, so it may change the number under all clones.
    fn find(&self, hash: u32) -> Option<(&AtomicU64, u32)> {
        let (leaf, _) = self.0.leaf(hash, 0);
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
            // Of a hash there is one number: no crowd.
            None => _ = self.0.insert(hash, 0, 1),
        }
    }
    /// Takes one out.
    pub fn remove(&mut self, hash: u32) {
        match self.find(hash) {
            Some((slot, n)) if n > 1 => {
                slot.fetch_sub(1, Ordering::Relaxed);
            }
            Some(_) => self.0.replace(hash, 0, 1, None),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::mix;
    use std::collections::BTreeSet;

    fn all(i: &Index) -> BTreeSet<u32> {
        let list: Vec<_> = i.iter().collect();
        let set: BTreeSet<_> = list.iter().copied().collect();
        assert_eq!(list.len(), set.len(), "met twice");
        set
    }

    fn numbers_of(model: &BTreeSet<(u32, u32)>) -> BTreeSet<u32> {
        model.iter().map(|x| x.1).collect()
    }

    /// Every 4096 steps, ranks are few; then many.
    fn rank(number: u32) -> u16 {
        let r = mix(9, u64::from(number)) as u16;
        if number & 0x1000 == 0 {
            r
        } else {
            r & 3
        }
    }

    fn insert(index: &mut Index, hash: u32, number: u32) {
        if index.insert(hash, rank(number), number) {
            index.crowd(hash, &rank);
        }
    }

    fn holds(index: &Index, hash: u32, number: u32) -> bool {
        index.get(hash, rank(number)).any(|n| n == number)
    }

    /// Hashes of four kinds: spread, in few leaves, few in all, and few among many.
    #[test]
    fn it_holds_what_was_put_in_and_clones_lose_nothing() {
        for (kind, keep) in [
            ("spread", [u32::MAX; 2]),
            ("few leaves", [0x0000_00ff; 2]),
            ("few hashes", [0x8000_0001; 2]),
            ("both", [0x8000_0021, u32::MAX]),
        ] {
            let (mut index, mut model) = (Index::default(), BTreeSet::new());
            let mut clones: Vec<(Index, BTreeSet<(u32, u32)>)> = Vec::new();
            let mut rng = 7u64;
            for step in 0..20_000u32 {
                rng = mix(rng, 1);
                let hash = mix(rng, 2) as u32 & keep[(rng >> 24 & 1) as usize];
                match rng >> 8 & 7 {
                    0..=3 => {
                        insert(&mut index, hash, step + 1);
                        model.insert((hash, step + 1));
                    }
                    4..=6 if !model.is_empty() => {
                        let from = (hash, 0);
                        let one = *model.range(from..).next().or(model.first()).unwrap();
                        // Another of the same rank, if one is soon found.
                        let new = (0..99).map(|i| 100_000 + step * 99 + i).find(|n| rank(*n) == rank(one.1));
                        let new = new.filter(|_| rng >> 16 & 1 == 0);
                        index.replace(one.0, rank(one.1), one.1, new);
                        model.remove(&one);
                        model.extend(new.map(|n| (one.0, n)));
                    }
                    _ if step % 50 == 0 => clones.push((index.clone(), model.clone())),
                    _ => index.replace(hash, 7, u32::MAX, None), // is not in
                }
                // Thousands of a hash are looked through now and then, few at each step.
                if step % 64 > 0 && model.range((hash, 0)..=(hash, u32::MAX)).nth(64).is_some() {
                    continue;
                }
                let here: BTreeSet<u32> = index.all_of(hash).collect();
                let want = numbers_of(&model.range((hash, 0)..=(hash, u32::MAX)).copied().collect());
                assert_eq!(here, want, "{kind}, step {step}");
                let (mut seen, mut lowest) = (Vec::new(), u16::MAX);
                index.visit(hash, |n| {
                    seen.push(n);
                    let enough = n % 3 == 0;
                    lowest = if enough { lowest.min(rank(n)) } else { lowest };
                    enough
                });
                assert!(seen.iter().all(|n| want.contains(n)), "{kind}, step {step}");
                assert!(want.iter().all(|n| seen.contains(n) || rank(*n) > lowest), "{kind}, step {step}");
                let same = want.iter().filter(|n| rank(**n) == 1).count();
                assert!(index.get(hash, 1).count() <= same + FAR + 1, "{kind}, step {step}");
            }
            assert_eq!(all(&index), numbers_of(&model), "{kind}");
            assert!(!clones.is_empty());
            for (clone, model) in clones {
                assert!(all(&clone).is_superset(&numbers_of(&model)), "{kind}");
                assert!(model.iter().all(|(h, n)| holds(&clone, *h, *n)), "{kind}");
            }
            for (h, n) in model {
                index.replace(h, rank(n), n, None);
            }
            assert!(matches!(index.0, Node::Empty), "{kind}: nothing is left");
        }
    }

    #[test]
    fn a_walk_over_changes_meets_what_stays_once() {
        for (kind, keep) in [("spread", u32::MAX), ("few hashes", 0x8000_0001), ("one", 0)] {
            let mut index = Index::default();
            let hash = |i: u32| mix(3, i.into()) as u32 & keep;
            (1..=500).for_each(|i| insert(&mut index, hash(i), i));
            let (mut pos, mut met, mut more) = (0, Vec::new(), 500);
            while let Some((leaf, next)) = index.leaf_from(pos).map(|(l, next)| (l.collect::<Vec<_>>(), next))
            {
                met.extend(leaf.iter().copied().filter(|n| *n <= 500));
                assert!(next > pos, "{kind}");
                pos = next;
                // The leaves split under the walk.
                let new = if more < 40_000 { 200 } else { 0 };
                for _ in 0..new {
                    more += 1;
                    insert(&mut index, hash(more), more);
                    insert(&mut index, mix(4, more.into()) as u32, more + 1_000_000);
                }
            }
            met.sort_unstable();
            assert_eq!(met, (1..=500).collect::<Vec<_>>(), "{kind}");
        }
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
