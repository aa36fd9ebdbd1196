//! The inner operations of the caches, scalar. `simd.rs` has the same with vectors; the results of lookups are equal.

use crate::flow_key::{FlowKey, FlowMask, LANES};

/// Lookup tables' line: eight 32-bit tags and the ids they stand for. A tag of 0 is free, 1 was removed.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Bucket {
    /// Tags.
    pub tags: [u32; 8],
    /// Ids.
    pub ids: [u32; 8],
}

// SAFETY: plain integers.
#[allow(unsafe_code)]
unsafe impl crate::sys::Zeroed for Bucket {}

impl Bucket {
    /// No entry.
    pub const EMPTY: Self = Self { tags: [0; 8], ids: [0; 8] };

    /// Bit i: slot i has this tag.
    #[inline(always)]
    pub fn find(&self, tag: u32) -> u32 {
        self.tags.iter().enumerate().fold(0, |m, (i, t)| m | (u32::from(*t == tag) << i))
    }
}

/// A tag out of a hash: never 0 or 1.
#[inline(always)]
pub fn tag_of(hash: u64) -> u32 {
    ((hash >> 32) as u32) | 2
}

/// Where an entry with this tag stands in a table of so many lines (a power of two). Of the tag alone, so that a table grows without
/// asking its entries for their hashes.
#[inline(always)]
pub fn line_of(tag: u32, lines: usize) -> usize {
    (tag >> 2) as usize & lines.wrapping_sub(1)
}

#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let p = u128::from(a) * u128::from(b);
    (p as u64) ^ ((p >> 64) as u64)
}

/// Per-boot random numbers that key the hashes: nobody outside can aim at a bucket.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Secret(pub [u64; 24]);

impl Secret {
    /// Spread out of four random words.
    pub fn new(seed: [u64; 4]) -> Self {
        let mut x = seed[0];
        Self(std::array::from_fn(|i| {
            // splitmix64
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ seed[i & 3];
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31) | 1
        }))
    }
}

/// The operations that have a version per instruction set. Hashes differ between versions, results of lookups do not.
pub trait Kernel {
    /// Keyed hash of the masked key over `lanes` (bit per lane; those outside do not count).
    fn hash(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64;
    /// Whether `key & mask` equals `want` on a lane.
    fn lane_equal(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> bool;
    /// Not zero if `key & mask` differs from `want` in a lane's first six words: all that most masks have.
    fn six_differ(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> u32;
    /// Bit i: slot i has this tag.
    fn find(b: &Bucket, tag: u32) -> u32;
}

/// Runs everywhere, and is the oracle of the others.
pub struct Scalar;

impl Kernel for Scalar {
    #[inline(always)]
    fn hash(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64 {
        let s = &secret.0;
        let (mut a, mut b) = (s[0], s[1]);
        for n in 0..LANES {
            if lanes & (1 << n) == 0 {
                continue;
            }
            let (k, m) = (key.lane(n), mask.lane(n));
            a = mix(a ^ (k[0] & m[0]), s[2] ^ (k[1] & m[1]));
            b = mix(b ^ (k[2] & m[2]), s[3] ^ (k[3] & m[3]));
            a = mix(a ^ (k[4] & m[4]), s[4] ^ (k[5] & m[5]));
            b = mix(b ^ (k[6] & m[6]), s[5] ^ (k[7] & m[7]));
        }
        mix(a ^ s[6], b ^ s[7])
    }
    #[inline(always)]
    fn lane_equal(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> bool {
        (0..8).fold(0, |d, i| d | ((key[i] & mask[i]) ^ want[i])) == 0
    }
    #[inline(always)]
    fn six_differ(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> u32 {
        u32::from((0..6).fold(0, |d, i| d | ((key[i] & mask[i]) ^ want[i])) != 0)
    }
    #[inline(always)]
    fn find(b: &Bucket, tag: u32) -> u32 {
        b.find(tag)
    }
}

/// Fetches the line at `p` into the cache, some time.
#[inline(always)]
#[allow(unsafe_code)]
pub fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
