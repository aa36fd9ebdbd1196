//! A persistent hash trie: 16-way on four bits of the hash a level, small leaves. Cloning is one reference count; a change copies the
//! path to one leaf, and nothing at all while no clone shares it.

use std::sync::Arc;

/// What a trie holds: something that knows its hash.
pub trait Hashed: Clone {
    /// The hash; never changes.
    fn hash32(&self) -> u32;
}

const LEAF: usize = 24;
const MAX_DEPTH: u32 = 8;

#[derive(Clone)]
enum Node<T> {
    Leaf(Vec<T>),
    Inner(Box<[Option<Arc<Node<T>>>; 16]>),
}

/// See the module.
#[derive(Clone)]
pub struct Hamt<T> {
    root: Option<Arc<Node<T>>>,
    len: usize,
}

impl<T> Default for Hamt<T> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

fn nibble(hash: u32, depth: u32) -> usize {
    (hash >> (28 - 4 * depth) & 15) as usize
}

fn push<T>(v: &mut Vec<T>, t: T) {
    if v.len() == v.capacity() {
        v.reserve_exact(1 + v.len() / 4);
    }
    v.push(t);
}

fn add<T: Hashed>(slot: &mut Option<Arc<Node<T>>>, item: T, depth: u32) {
    let Some(arc) = slot else {
        *slot = Some(Arc::new(Node::Leaf(vec![item])));
        return;
    };
    let node = Arc::make_mut(arc);
    match node {
        Node::Inner(k) => add(&mut k[nibble(item.hash32(), depth)], item, depth + 1),
        Node::Leaf(v) if v.len() < LEAF || depth >= MAX_DEPTH => push(v, item),
        Node::Leaf(v) => {
            let mut k: Box<[Option<Arc<Node<T>>>; 16]> = Box::new(std::array::from_fn(|_| None));
            for t in std::mem::take(v).into_iter().chain([item]) {
                let slot = &mut k[nibble(t.hash32(), depth)];
                add(slot, t, depth + 1);
            }
            *node = Node::Inner(k);
        }
    }
}

impl<T: Hashed> Hamt<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }
    /// No items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// All items that may have this hash (others are among them).
    #[inline]
    pub fn bucket(&self, hash: u32) -> &[T] {
        let mut node = self.root.as_deref();
        for depth in 0..=MAX_DEPTH {
            match node {
                None => return &[],
                Some(Node::Leaf(v)) => return v,
                Some(Node::Inner(k)) => node = k[nibble(hash, depth)].as_deref(),
            }
        }
        &[]
    }
    /// Adds an item; equal ones are not looked for.
    pub fn insert(&mut self, item: T) {
        add(&mut self.root, item, 0);
        self.len += 1;
    }
    /// Changes the item that `pred` is true of among those that may have the hash of `item`, or adds `item`: one walk.
    pub fn upsert(&mut self, item: T, pred: impl Fn(&T) -> bool, change: impl FnOnce(&mut T)) {
        fn go<T: Hashed>(
            slot: &mut Option<Arc<Node<T>>>,
            item: T,
            depth: u32,
            pred: &dyn Fn(&T) -> bool,
            change: &mut Option<impl FnOnce(&mut T)>,
        ) -> bool {
            if let Some(arc) = slot {
                match Arc::make_mut(arc) {
                    Node::Inner(k) => {
                        return go(&mut k[nibble(item.hash32(), depth)], item, depth + 1, pred, change)
                    }
                    Node::Leaf(v) => {
                        if let Some(t) = v.iter_mut().find(|t| pred(t)) {
                            if let Some(c) = change.take() {
                                c(t);
                            }
                            return false;
                        }
                    }
                }
            }
            add(slot, item, depth);
            true
        }
        if go(&mut self.root, item, 0, &pred, &mut Some(change)) {
            self.len += 1;
        }
    }
    /// The leaf an item of this hash is in, to be changed in place. `f` must not change hashes.
    fn leaf_mut<R>(&mut self, hash: u32, f: impl FnOnce(&mut Vec<T>) -> R) -> Option<R> {
        let mut slot = self.root.as_mut()?;
        for depth in 0..=MAX_DEPTH {
            match Arc::make_mut(slot) {
                Node::Leaf(v) => return Some(f(v)),
                Node::Inner(k) => slot = k[nibble(hash, depth)].as_mut()?,
            }
        }
        None
    }
    /// Removes the first item of this hash that `pred` is true of.
    pub fn remove(&mut self, hash: u32, pred: impl Fn(&T) -> bool) -> Option<T> {
        if !self.bucket(hash).iter().any(|t| t.hash32() == hash && pred(t)) {
            return None;
        }
        let removed = self.leaf_mut(hash, |v| {
            let i = v.iter().position(|t| t.hash32() == hash && pred(t))?;
            let t = v.swap_remove(i);
            if v.len() * 2 < v.capacity() {
                v.shrink_to_fit();
            }
            Some(t)
        })??;
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        }
        Some(removed)
    }
    /// Changes the first item of this hash that `pred` is true of.
    pub fn update<R>(
        &mut self,
        hash: u32,
        pred: impl Fn(&T) -> bool,
        f: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        if !self.bucket(hash).iter().any(|t| t.hash32() == hash && pred(t)) {
            return None;
        }
        self.leaf_mut(hash, |v| v.iter_mut().find(|t| t.hash32() == hash && pred(t)).map(f))?
    }
    /// The items of the first leaf at or after a position (start with 0), and the position after it. Positions stay good over changes: an
    /// item that stays is met exactly once.
    pub fn leaf_from(&self, pos: u64) -> Option<(&[T], u64)> {
        fn go<T>(node: &Node<T>, base: u64, depth: u32, pos: u64) -> Option<(&[T], u64)> {
            let end = base + (1u64 << (32 - 4 * depth.min(8)));
            match node {
                Node::Leaf(v) => Some((v, end)),
                Node::Inner(k) => {
                    let width = 1u64 << (28 - 4 * depth);
                    (0..16u64).find_map(|i| {
                        let start = base + i * width;
                        if start + width <= pos {
                            return None;
                        }
                        k[i as usize].as_deref().and_then(|n| go(n, start, depth + 1, pos))
                    })
                }
            }
        }
        if pos >= 1 << 32 {
            return None;
        }
        go(self.root.as_deref()?, 0, 0, pos)
    }
    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut pos = 0;
        std::iter::from_fn(move || {
            let (leaf, next) = self.leaf_from(pos)?;
            pos = next;
            Some(leaf.iter())
        })
        .flatten()
    }
}

/// How often each hash was added: a set of hashes that can be taken out again.
#[derive(Clone, Copy)]
pub struct Counted {
    hash: u32,
    count: u32,
}

impl Hashed for Counted {
    fn hash32(&self) -> u32 {
        self.hash
    }
}

/// A persistent multiset of hashes.
#[derive(Clone, Default)]
pub struct HashSet32(Hamt<Counted>);

impl HashSet32 {
    /// Whether a hash is in.
    #[inline]
    pub fn contains(&self, hash: u32) -> bool {
        self.0.bucket(hash).iter().any(|c| c.hash == hash)
    }
    /// Adds one.
    pub fn insert(&mut self, hash: u32) {
        self.0.upsert(Counted { hash, count: 1 }, |c| c.hash == hash, |c| c.count += 1);
    }
    /// Takes one out.
    pub fn remove(&mut self, hash: u32) {
        if self.0.update(
            hash,
            |_| true,
            |c| {
                c.count -= 1;
                c.count
            },
        ) == Some(0)
        {
            self.0.remove(hash, |_| true);
        }
    }
}

/// One prefix of a [`PrefixTrie`].
#[derive(Clone, Copy)]
struct Prefix<K> {
    key: K,
    count: u32,
    plen: u8,
}

/// Left-aligned bits of a field.
pub trait Bits: Copy + PartialEq {
    /// Equal leading bits.
    fn common(self, other: Self) -> u32;
    /// Four bits from bit `at` (0 is the first).
    fn nibble(self, at: u32) -> usize;
}
impl Bits for u32 {
    fn common(self, o: Self) -> u32 {
        (self ^ o).leading_zeros()
    }
    fn nibble(self, at: u32) -> usize {
        (self >> (28 - at) & 15) as usize
    }
}
impl Bits for u128 {
    fn common(self, o: Self) -> u32 {
        (self ^ o).leading_zeros()
    }
    fn nibble(self, at: u32) -> usize {
        (self >> (124 - at) & 15) as usize
    }
}

#[derive(Clone)]
enum PNode<K> {
    Leaf(Vec<Prefix<K>>),
    Inner { short: Vec<Prefix<K>>, kids: Box<[Option<Arc<PNode<K>>>; 16]> },
}

/// What a trie says of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrieAnswer {
    /// Bit `n - 1`: a prefix of length `n` matches.
    pub matched: u128,
    /// Leading bits that decide about all lengths that do not match.
    pub bits: u32,
}

/// A persistent multiset of prefixes that says which lengths match a value, and how many bits prove that the others do not.
#[derive(Clone)]
pub struct PrefixTrie<K> {
    root: Option<Arc<PNode<K>>>,
}

impl<K> Default for PrefixTrie<K> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<K: Bits> PrefixTrie<K> {
    /// Adds a prefix; bits of `key` beyond `plen` are zero.
    pub fn insert(&mut self, key: K, plen: u8) {
        fn add<K: Bits>(v: &mut Vec<Prefix<K>>, p: Prefix<K>) {
            match v.iter_mut().find(|e| e.key == p.key && e.plen == p.plen) {
                Some(e) => e.count += p.count,
                None => push(v, p),
            }
        }
        fn go<K: Bits>(slot: &mut Option<Arc<PNode<K>>>, p: Prefix<K>, depth: u32) {
            let Some(arc) = slot else {
                *slot = Some(Arc::new(PNode::Leaf(vec![p])));
                return;
            };
            let node = Arc::make_mut(arc);
            match node {
                PNode::Inner { short, .. } if u32::from(p.plen) < depth + 4 => add(short, p),
                PNode::Inner { kids, .. } => go(&mut kids[p.key.nibble(depth)], p, depth + 4),
                PNode::Leaf(v) => {
                    add(v, p);
                    if v.len() > 32 && v.iter().any(|e| u32::from(e.plen) >= depth + 4) {
                        let mut inner =
                            PNode::Inner { short: Vec::new(), kids: Box::new(std::array::from_fn(|_| None)) };
                        let PNode::Inner { short, kids } = &mut inner else { return };
                        for e in std::mem::take(v) {
                            if u32::from(e.plen) < depth + 4 {
                                push(short, e);
                            } else {
                                go(&mut kids[e.key.nibble(depth)], e, depth + 4);
                            }
                        }
                        *node = inner;
                    }
                }
            }
        }
        go(&mut self.root, Prefix { key, count: 1, plen }, 0);
    }
    /// Takes a prefix out.
    pub fn remove(&mut self, key: K, plen: u8) {
        fn sub<K: Bits>(v: &mut Vec<Prefix<K>>, key: K, plen: u8) {
            if let Some(i) = v.iter().position(|e| e.key == key && e.plen == plen) {
                v[i].count -= 1;
                if v[i].count == 0 {
                    v.swap_remove(i);
                }
            }
        }
        fn go<K: Bits>(slot: &mut Option<Arc<PNode<K>>>, key: K, plen: u8, depth: u32) {
            let Some(arc) = slot else { return };
            let empty = match Arc::make_mut(arc) {
                PNode::Leaf(v) => {
                    sub(v, key, plen);
                    v.is_empty()
                }
                PNode::Inner { short, kids } => {
                    if u32::from(plen) < depth + 4 {
                        sub(short, key, plen);
                    } else {
                        go(&mut kids[key.nibble(depth)], key, plen, depth + 4);
                    }
                    short.is_empty() && kids.iter().all(Option::is_none)
                }
            };
            if empty {
                *slot = None;
            }
        }
        go(&mut self.root, key, plen, 0);
    }
    /// Which prefix lengths match.
    pub fn lookup(&self, key: K) -> TrieAnswer {
        let mut a = TrieAnswer::default();
        let mut node = self.root.as_deref();
        let mut depth = 0;
        let see = |a: &mut TrieAnswer, v: &[Prefix<K>]| {
            for e in v {
                let common = key.common(e.key);
                if common >= u32::from(e.plen) {
                    a.matched |= 1 << (e.plen - 1);
                } else {
                    a.bits = a.bits.max(common + 1);
                }
            }
        };
        while let Some(n) = node {
            match n {
                PNode::Leaf(v) => {
                    see(&mut a, v);
                    break;
                }
                PNode::Inner { short, kids } => {
                    see(&mut a, short);
                    let mine = key.nibble(depth);
                    for (i, k) in kids.iter().enumerate() {
                        if k.is_some() && i != mine {
                            let common = (((i ^ mine) as u32) << 28).leading_zeros();
                            a.bits = a.bits.max(depth + common + 1);
                        }
                    }
                    node = kids[mine].as_deref();
                    depth += 4;
                }
            }
        }
        a
    }
}
