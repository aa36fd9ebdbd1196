//! Persistent tries of prefixes: which prefix lengths of a field match a value. Cloning is one reference count; a change copies the path to one
//! leaf, and nothing at all while no clone shares it.

use std::sync::Arc;

fn push<T>(v: &mut Vec<T>, t: T) {
    if v.len() == v.capacity() {
        v.reserve_exact(1 + v.len() / 4);
    }
    v.push(t);
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
