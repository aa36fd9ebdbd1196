//! `Flow`: everything a table can match on. The packet's [`FlowKey`] followed by the pipeline's own words, in the same notation.
//!
//! ```text
//! bytes 0..192  the packet (datapath::flow_key)
//! 192 in_port:4 (OpenFlow) 196 in_phy_port:4 | 200 metadata:8 | 208 reg0..reg15: 16 * 4 | 272 actset_output:4 276 conj_id:4 | 280 spare:8
//! ```

use datapath::flow_key::{off, FlowKey, KEY_BYTES};
use smallvec::SmallVec;
use std::sync::{Arc, LazyLock};

/// 64-bit words of a flow.
pub const WORDS: usize = 36;
const KEY_WORDS: usize = KEY_BYTES / 8;

/// Byte offsets of the pipeline's fields.
#[allow(missing_docs)]
pub mod pipe {
    pub const IN_PORT: usize = 192;
    pub const IN_PHY_PORT: usize = 196;
    pub const METADATA: usize = 200;
    pub const REG0: usize = 208;
    pub const ACTSET_OUTPUT: usize = 272;
    pub const CONJ_ID: usize = 276;
}

/// Values of all fields, or (as a mask) which bits count. Fields stand in network order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow(pub [u64; WORDS]);

impl Default for Flow {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Flow {
    /// All zero.
    pub const ZERO: Self = Self([0; WORDS]);

    /// A packet at the start of the pipeline.
    pub fn from_key(key: &FlowKey, in_port: u32, in_phy_port: u32) -> Self {
        let mut f = Self::ZERO;
        f.0[..KEY_WORDS].copy_from_slice(&key.0);
        f.put(pipe::IN_PORT, 4, in_port.into());
        f.put(pipe::IN_PHY_PORT, 4, in_phy_port.into());
        f
    }
    /// The packet's part.
    pub fn key(&self) -> FlowKey {
        let mut k = FlowKey::ZERO;
        k.0.copy_from_slice(&self.0[..KEY_WORDS]);
        k
    }
    /// One byte.
    #[inline]
    pub fn byte(&self, at: usize) -> u8 {
        self.0[at / 8].to_ne_bytes()[at % 8]
    }
    /// Stores one byte.
    #[inline]
    pub fn set_byte(&mut self, at: usize, v: u8) {
        let mut w = self.0[at / 8].to_ne_bytes();
        w[at % 8] = v;
        self.0[at / 8] = u64::from_ne_bytes(w);
    }
    /// `n` bytes (at most 16) as an integer.
    #[inline]
    pub fn get(&self, at: usize, n: usize) -> u128 {
        let (mut v, mut i, end) = (0u128, at, at + n);
        while i < end {
            let (o, k) = (i % 8, (8 - i % 8).min(end - i));
            let part = u64::from_be(self.0[i / 8]) >> (8 * (8 - o - k)) & low_bytes(k);
            v = v << (8 * k) | u128::from(part);
            i += k;
        }
        v
    }
    /// Stores the low `n` bytes of an integer.
    #[inline]
    pub fn put(&mut self, at: usize, n: usize, v: u128) {
        let (mut i, end) = (at, at + n);
        while i < end {
            let (o, k) = (i % 8, (8 - i % 8).min(end - i));
            let shift = 8 * (8 - o - k);
            let part = (v >> (8 * (end - i - k))) as u64 & low_bytes(k);
            let w = u64::from_be(self.0[i / 8]) & !(low_bytes(k) << shift) | part << shift;
            self.0[i / 8] = w.to_be();
            i += k;
        }
    }
    /// A 16-bit field.
    pub fn u16(&self, at: usize) -> u16 {
        self.get(at, 2) as u16
    }
    /// A 32-bit field.
    pub fn u32(&self, at: usize) -> u32 {
        self.get(at, 4) as u32
    }
    /// Sets every bit of `mask`.
    #[inline]
    pub fn or_assign(&mut self, mask: &Flow) {
        for (a, b) in self.0.iter_mut().zip(&mask.0) {
            *a |= b;
        }
    }
    /// OpenFlow port it came in by.
    pub fn in_port(&self) -> u32 {
        self.u32(pipe::IN_PORT)
    }
    /// Ethertype.
    pub fn eth_type(&self) -> u16 {
        self.u16(off::ETH_TYPE)
    }
    /// Whether all bits of `self` are in `other`.
    pub fn is_subset_of(&self, other: &Flow) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }
}

/// Ones in the lowest `k` (1 to 8) bytes.
#[inline]
fn low_bytes(k: usize) -> u64 {
    u64::MAX >> (64 - 8 * k)
}

/// Stages of a lookup: pipeline and port, L2, L3, L4.
pub const STAGES: usize = 4;

/// Bits of each stage.
pub static STAGE_MASKS: LazyLock<[Flow; STAGES]> = LazyLock::new(|| {
    let mut m = [Flow::ZERO; STAGES];
    for at in 0..WORDS * 8 {
        let stage = match at {
            0..8 | 48..64 | 152..164 | 192.. => 0,
            8..24 | 42..48 => 1,
            32..36 | 40..42 | 96..112 => 3,
            _ => 2,
        };
        m[stage].set_byte(at, 0xff);
    }
    m
});

/// Fields with a prefix trie: (offset, bytes, stage).
pub const TRIES: [(usize, usize, usize); 6] = [
    (off::IPV4_DST, 4, 2),
    (off::IPV4_SRC, 4, 2),
    (off::IPV6_DST, 16, 2),
    (off::IPV6_SRC, 16, 2),
    (off::TP_DST, 2, 3),
    (off::TP_SRC, 2, 3),
];

/// A mask, taken apart for lookups. Interned: equal masks share one.
#[derive(Debug)]
pub struct MaskInfo {
    /// The mask.
    pub mask: Flow,
    /// Words that are not zero.
    pub words: SmallVec<[u8; 8]>,
    /// Words and bits of each stage.
    pub stages: [SmallVec<[(u8, u64); 4]>; STAGES],
    /// Prefix lengths of the trie fields; 0 where the mask is not a prefix.
    pub plens: [u8; TRIES.len()],
    /// Last stage that has bits.
    pub last_stage: usize,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, w) in self.0.iter().enumerate().filter(|(_, w)| **w != 0) {
            write!(f, "{}:{:016x} ", i * 8, u64::from_be(*w))?;
        }
        Ok(())
    }
}

impl MaskInfo {
    /// Takes a mask apart.
    pub fn new(mask: Flow) -> Self {
        let words = (0..WORDS).filter(|&i| mask.0[i] != 0).map(|i| i as u8).collect();
        let mut stages: [SmallVec<[(u8, u64); 4]>; STAGES] = Default::default();
        for (s, sm) in STAGE_MASKS.iter().enumerate() {
            for i in 0..WORDS {
                let m = mask.0[i] & sm.0[i];
                if m != 0 {
                    stages[s].push((i as u8, m));
                }
            }
        }
        let plens = TRIES.map(|(at, n, _)| {
            let v = mask.get(at, n) << (128 - n * 8);
            if v.leading_ones() + v.trailing_zeros() >= 128 {
                v.leading_ones() as u8
            } else {
                0
            }
        });
        let last_stage = (0..STAGES).rev().find(|&s| !stages[s].is_empty()).unwrap_or(0);
        Self { mask, words, stages, plens, last_stage }
    }
    /// The hash after stage `s`, given the one before.
    #[inline]
    pub fn hash_stage(&self, s: usize, flow: &Flow, h: u64) -> u64 {
        self.stages[s].iter().fold(h, |h, &(w, m)| mix(h, flow.0[w as usize] & m))
    }
    /// The hash of a flow under this mask.
    pub fn hash(&self, flow: &Flow) -> u64 {
        (0..STAGES).fold(0, |h, s| self.hash_stage(s, flow, h))
    }
    /// The masked words.
    pub fn pack(&self, flow: &Flow) -> Values {
        let mut out = Values::new();
        out.resize(self.words.len(), 0);
        for (v, &w) in out.iter_mut().zip(&self.words) {
            *v = flow.0[w as usize] & self.mask.0[w as usize];
        }
        out
    }
    /// Whether a flow equals packed values under this mask.
    #[inline]
    pub fn equals(&self, flow: &Flow, values: &[u64]) -> bool {
        self.words.iter().zip(values).all(|(&w, v)| flow.0[w as usize] & self.mask.0[w as usize] == *v)
    }
    /// The flow that packed values stand for.
    pub fn unpack(&self, values: &[u64]) -> Flow {
        let mut f = Flow::ZERO;
        for (&w, v) in self.words.iter().zip(values) {
            f.0[w as usize] = *v;
        }
        f
    }
}

/// Packed words of a match.
pub type Values = SmallVec<[u64; 4]>;

/// Mixes a word into a hash.
#[inline]
pub fn mix(h: u64, v: u64) -> u64 {
    let p = u128::from(h ^ v ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
    (p as u64) ^ ((p >> 64) as u64)
}

/// The shared form of equal masks.
#[derive(Default)]
pub struct MaskInterner {
    map: hashbrown::HashMap<Flow, Arc<MaskInfo>>,
    sweep_at: usize,
}

impl MaskInterner {
    /// The shared form of a mask, if it has one.
    pub fn find(&self, mask: &Flow) -> Option<&Arc<MaskInfo>> {
        self.map.get(mask)
    }
    /// The shared form of a mask.
    pub fn intern(&mut self, mask: &Flow) -> Arc<MaskInfo> {
        if let Some(m) = self.map.get(mask) {
            return m.clone();
        }
        if self.map.len() >= self.sweep_at {
            self.map.retain(|_, m| Arc::strong_count(m) > 1);
            self.sweep_at = self.map.len() * 2 + 64;
        }
        let m = Arc::new(MaskInfo::new(*mask));
        self.map.insert(*mask, m.clone());
        m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_go_in_and_out_as_their_bytes_do() {
        let v = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10u128;
        for at in 0..24 {
            for n in 1..=16 {
                let mut f = Flow([u64::MAX; WORDS]);
                f.put(at, n, v);
                let bytes = &v.to_be_bytes()[16 - n..];
                for i in 0..48 {
                    let want = if (at..at + n).contains(&i) { bytes[i - at] } else { 0xff };
                    assert_eq!(f.byte(i), want, "{n} bytes at {at}: byte {i}");
                }
                let low = if n == 16 { v } else { v & ((1 << (8 * n)) - 1) };
                assert_eq!(f.get(at, n), low);
            }
        }
    }
}
