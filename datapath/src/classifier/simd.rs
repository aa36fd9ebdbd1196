//! The kernels with vectors. Each is used only inside functions that enable its target features, after the machine was asked for them
//! ([`crate::isa::choose`]).

#![allow(unsafe_code)]

use super::kernel::{Bucket, Kernel, Secret};
use crate::flow_key::{FlowKey, FlowMask, LANES};
use core::arch::x86_64::*;

/// AVX2 with AES-NI.
pub struct Avx2;
/// AVX-512 F, BW, VL, DQ, VBMI with VAES.
pub struct Avx512;

impl Kernel for Avx512 {
    #[inline(always)]
    fn hash(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64 {
        // SAFETY: callers run under the target features (this type's contract). Loads are of 64-byte arrays within live references.
        unsafe {
            let s = secret.0.as_ptr();
            let round = _mm512_loadu_si512(s.add(8).cast());
            let mut r = _mm512_loadu_si512(s.cast());
            for n in 0..LANES {
                if lanes & (1 << n) != 0 {
                    let v = _mm512_and_si512(
                        _mm512_loadu_si512(key.lane(n).as_ptr().cast()),
                        _mm512_loadu_si512(mask.lane(n).as_ptr().cast()),
                    );
                    r = _mm512_aesenc_epi128(_mm512_xor_si512(r, v), round);
                    r = _mm512_aesenc_epi128(r, v);
                }
            }
            let x = _mm256_aesenc_epi128(_mm512_castsi512_si256(r), _mm512_extracti64x4_epi64::<1>(r));
            let y = _mm_aesenc_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            _mm_cvtsi128_si64(_mm_aesenc_si128(y, _mm512_castsi512_si128(round))) as u64
        }
    }
    #[inline(always)]
    fn lane_equal(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> bool {
        // SAFETY: as above.
        unsafe {
            let v = _mm512_and_si512(
                _mm512_loadu_si512(key.as_ptr().cast()),
                _mm512_loadu_si512(mask.as_ptr().cast()),
            );
            _mm512_cmpneq_epi64_mask(v, _mm512_loadu_si512(want.as_ptr().cast())) == 0
        }
    }
    #[inline(always)]
    fn find(b: &Bucket, tag: u32) -> u32 {
        // SAFETY: as above.
        unsafe {
            u32::from(_mm256_cmpeq_epi32_mask(
                _mm256_loadu_si256(b.tags.as_ptr().cast()),
                _mm256_set1_epi32(tag as i32),
            ))
        }
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn hash(key: &FlowKey, mask: &FlowMask, lanes: u8, secret: &Secret) -> u64 {
        // SAFETY: callers run under the target features; loads lie within live 64-byte arrays.
        unsafe {
            let s: *const __m128i = secret.0.as_ptr().cast();
            let round = _mm_loadu_si128(s.add(4));
            let mut r = [
                _mm_loadu_si128(s),
                _mm_loadu_si128(s.add(1)),
                _mm_loadu_si128(s.add(2)),
                _mm_loadu_si128(s.add(3)),
            ];
            for n in 0..LANES {
                if lanes & (1 << n) != 0 {
                    let (k, m): (*const __m128i, *const __m128i) =
                        (key.lane(n).as_ptr().cast(), mask.lane(n).as_ptr().cast());
                    for (i, r) in r.iter_mut().enumerate() {
                        let v = _mm_and_si128(_mm_loadu_si128(k.add(i)), _mm_loadu_si128(m.add(i)));
                        *r = _mm_aesenc_si128(_mm_xor_si128(*r, v), round);
                        *r = _mm_aesenc_si128(*r, v);
                    }
                }
            }
            let x = _mm_aesenc_si128(r[0], r[2]);
            let y = _mm_aesenc_si128(r[1], r[3]);
            _mm_cvtsi128_si64(_mm_aesenc_si128(_mm_aesenc_si128(x, y), round)) as u64
        }
    }
    #[inline(always)]
    fn lane_equal(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> bool {
        // SAFETY: as above.
        unsafe {
            let (k, m, w): (*const __m256i, *const __m256i, *const __m256i) =
                (key.as_ptr().cast(), mask.as_ptr().cast(), want.as_ptr().cast());
            let a = _mm256_and_si256(_mm256_loadu_si256(k), _mm256_loadu_si256(m));
            let b = _mm256_and_si256(_mm256_loadu_si256(k.add(1)), _mm256_loadu_si256(m.add(1)));
            let d = _mm256_or_si256(
                _mm256_xor_si256(a, _mm256_loadu_si256(w)),
                _mm256_xor_si256(b, _mm256_loadu_si256(w.add(1))),
            );
            _mm256_testz_si256(d, d) != 0
        }
    }
    #[inline(always)]
    fn find(b: &Bucket, tag: u32) -> u32 {
        // SAFETY: as above.
        unsafe {
            let eq =
                _mm256_cmpeq_epi32(_mm256_loadu_si256(b.tags.as_ptr().cast()), _mm256_set1_epi32(tag as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(eq)) as u32
        }
    }
}

/// A key by one permutation, for frames of a common shape.
#[repr(C, align(64))]
struct Profile {
    /// Frame bytes that are looked at, and their values.
    mask: [u8; 64],
    value: [u8; 64],
    /// Which frame byte goes to each key byte; 0xff: none.
    from: [u8; 64],
    /// Key bits that are kept, and that are set.
    and: [u8; 64],
    or: [u8; 64],
    keep: u64,
    min_len: usize,
}

const fn profile(tagged: bool, tcp: bool) -> Profile {
    let e = if tagged { 18 } else { 14 };
    let mut p = Profile {
        mask: [0; 64],
        value: [0; 64],
        from: [0; 64],
        and: [0xff; 64],
        or: [0; 64],
        keep: 0,
        min_len: e + if tcp { 40 } else { 28 },
    };
    p.mask[e - 2] = 0xff;
    p.mask[e - 1] = 0xff;
    p.value[e - 2] = 8;
    p.mask[e] = 0xff;
    p.value[e] = 0x45;
    p.mask[e + 6] = 0x3f;
    p.mask[e + 7] = 0xff;
    p.mask[e + 9] = 0xff;
    p.value[e + 9] = if tcp { 6 } else { 17 };
    // (key offset, frame offset, bytes)
    let moves = [
        (8, 0, 12),
        (20, e - 2, 2),
        (24, e + 12, 8),
        (32, e + 20, 4),
        (36, e + 9, 1),
        (37, e + 1, 1),
        (38, e + 8, 1),
        (40, e + 32, if tcp { 2 } else { 0 }),
        (22, 14, if tagged { 2 } else { 0 }),
        (42, 12, if tagged { 2 } else { 0 }),
    ];
    let mut i = 0;
    while i < moves.len() {
        let (to, from, n) = moves[i];
        let mut k = 0;
        while k < n {
            p.from[to + k] = (from + k) as u8;
            p.keep |= 1 << (to + k);
            k += 1;
        }
        i += 1;
    }
    p.and[40] = 0x0f;
    if tagged {
        p.or[22] = 0x10;
    }
    p
}

static PROFILES: [[Profile; 2]; 2] =
    [[profile(false, false), profile(false, true)], [profile(true, false), profile(true, true)]];

/// Extracts a frame of a common shape (IPv4 with TCP or UDP, whole, without options, at most one tag) into `key`; the number of tags, or
/// `None` (and nothing written) if the frame has another shape.
///
/// # Safety
/// - 64 bytes are readable at `frame`.
/// - The machine has AVX-512 F, BW and VBMI, and the caller enables them.
#[inline(always)]
pub(crate) unsafe fn extract_common(
    frame: *const u8,
    len: usize,
    ports: u64,
    key: &mut FlowKey,
) -> Option<(u8, u8)> {
    // SAFETY: reads 64 readable bytes by contract; stores are to the key's three lanes.
    unsafe {
        let v = _mm512_loadu_si512(frame.cast());
        // Read from memory (L1 by now): out of the vector it would take longer, which the compiler does not know.
        let ty = u16::from_be(frame.add(12).cast::<u16>().read_unaligned());
        let proto = std::hint::black_box(frame).add(if ty == 0x0800 { 23 } else { 27 }).read();
        let tagged = match ty {
            0x0800 => false,
            0x8100 | 0x88a8 => true,
            _ => return None,
        };
        let p = &PROFILES[usize::from(tagged)][usize::from(proto == 6)];
        let differs = _mm512_cmpneq_epi8_mask(
            _mm512_and_si512(v, _mm512_loadu_si512(p.mask.as_ptr().cast())),
            _mm512_loadu_si512(p.value.as_ptr().cast()),
        );
        if differs != 0 || len < p.min_len {
            return None;
        }
        let k = _mm512_maskz_permutexvar_epi8(p.keep, _mm512_loadu_si512(p.from.as_ptr().cast()), v);
        let k = _mm512_and_si512(k, _mm512_loadu_si512(p.and.as_ptr().cast()));
        let k = _mm512_or_si512(k, _mm512_loadu_si512(p.or.as_ptr().cast()));
        // Key bytes 0..8 come from no frame byte: zero so far.
        let k = _mm512_or_si512(k, _mm512_zextsi128_si512(_mm_cvtsi64_si128(ports as i64)));
        let to: *mut u8 = key.bytes_mut().as_mut_ptr();
        _mm512_storeu_si512(to.cast(), k);
        _mm512_storeu_si512(to.add(64).cast(), _mm512_setzero_si512());
        _mm512_storeu_si512(to.add(128).cast(), _mm512_setzero_si512());
        Some((u8::from(tagged), proto))
    }
}
