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

#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let p = u128::from(a) * u128::from(b);
    (p as u64) ^ ((p >> 64) as u64)
}

/// Keyed hash of the masked key over `lanes` (bit per lane; those outside do not count).
#[inline(always)]
pub fn hash(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &[u64; 4]) -> u64 {
    let (mut a, mut b) = (secret[0], secret[1]);
    for n in 0..LANES {
        if lanes & (1 << n) == 0 {
            continue;
        }
        let (k, m) = (key.lane(n), mask.lane(n));
        a = mix(a ^ (k[0] & m[0]), secret[2] ^ (k[1] & m[1]));
        b = mix(b ^ (k[2] & m[2]), secret[3] ^ (k[3] & m[3]));
        a = mix(a ^ (k[4] & m[4]), secret[2] ^ (k[5] & m[5]));
        b = mix(b ^ (k[6] & m[6]), secret[3] ^ (k[7] & m[7]));
    }
    mix(a ^ secret[3], b ^ secret[2])
}

/// Whether `key & mask` equals `want` on a lane.
#[inline(always)]
pub fn lane_equal(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> bool {
    (0..8).fold(0, |d, i| d | ((key[i] & mask[i]) ^ want[i])) == 0
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
