//! The kernels with vectors. Each is used only inside functions that enable its target features, after the machine was asked for them
//! ([`crate::isa::choose`]).

#![allow(unsafe_code)]

use super::kernel::{Bucket, Kernel, Secret};
use crate::extract::ip_proto;
use crate::flow_key::{FlowKey, FlowMask, LANES};
use crate::packet::Packet;
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
    fn six_differ(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> u32 {
        // SAFETY: as above.
        unsafe {
            let v = _mm512_and_si512(
                _mm512_loadu_si512(key.as_ptr().cast()),
                _mm512_loadu_si512(mask.as_ptr().cast()),
            );
            u32::from(_mm512_cmpneq_epi64_mask(v, _mm512_loadu_si512(want.as_ptr().cast())) & 0x3f)
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
    fn six_differ(key: &[u64; 8], mask: &[u64; 8], want: &[u64; 8]) -> u32 {
        // SAFETY: as above; 32 and 16 bytes are read.
        unsafe {
            let (k, m, w) = (key.as_ptr(), mask.as_ptr(), want.as_ptr());
            let a = _mm256_and_si256(_mm256_loadu_si256(k.cast()), _mm256_loadu_si256(m.cast()));
            let a = _mm256_xor_si256(a, _mm256_loadu_si256(w.cast()));
            let b = _mm_and_si128(_mm_loadu_si128(k.add(4).cast()), _mm_loadu_si128(m.add(4).cast()));
            let b = _mm_xor_si128(b, _mm_loadu_si128(w.add(4).cast()));
            let d = _mm256_or_si256(a, _mm256_zextsi128_si256(b));
            u32::from(_mm256_testz_si256(d, d) == 0)
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

/// A key by one permutation, for frames of a common shape: whole IPv4 packets with TCP or UDP, without options, with at most one tag.
#[repr(C, align(64))]
struct Profile {
    /// Frame bytes that are looked at, and their values.
    mask: [u8; 64],
    value: [u8; 64],
    /// Which frame byte goes to each key byte.
    from: [u8; 64],
    /// Key bits that are kept, and that are set.
    and: [u8; 64],
    or: [u8; 64],
    /// By [`KINDS`]: key bytes that come from the frame, and the shortest frame.
    keep: [u64; 3],
    min_len: [u32; 3],
    /// Where the IP header is.
    l3: usize,
}

/// IP protocols: 1 UDP, 2 TCP, 0 none of the two.
static KINDS: [u8; 256] = {
    let mut k = [0; 256];
    k[ip_proto::UDP as usize] = 1;
    k[ip_proto::TCP as usize] = 2;
    k
};

const fn profile(tpid: u16) -> Profile {
    let tagged = tpid != 0;
    let e = if tagged { 18 } else { 14 };
    let mut p = Profile {
        mask: [0; 64],
        value: [0; 64],
        from: [0; 64],
        and: [0xff; 64],
        or: [0; 64],
        keep: [0; 3],
        // None is that long.
        min_len: [u32::MAX, e as u32 + 28, e as u32 + 40],
        l3: e,
    };
    if tagged {
        p.mask[12] = 0xff;
        p.mask[13] = 0xff;
        p.value[12] = (tpid >> 8) as u8;
        p.value[13] = tpid as u8;
        p.or[22] = 0x10;
    }
    p.mask[e - 2] = 0xff;
    p.mask[e - 1] = 0xff;
    p.value[e - 2] = 8;
    p.mask[e] = 0xff;
    p.value[e] = 0x45;
    p.mask[e + 6] = 0x3f;
    p.mask[e + 7] = 0xff;
    // (key offset, frame offset, bytes)
    let moves = [
        (8, 0, 12),
        (20, e - 2, 2),
        (24, e + 12, 8),
        (32, e + 20, 4),
        (36, e + 9, 1),
        (37, e + 1, 1),
        (38, e + 8, 1),
        (22, 14, if tagged { 2 } else { 0 }),
        (42, 12, if tagged { 2 } else { 0 }),
        (40, e + 32, 2),
    ];
    let mut i = 0;
    while i < moves.len() {
        let (to, from, n) = moves[i];
        let mut k = 0;
        while k < n {
            p.from[to + k] = (from + k) as u8;
            p.keep[2] |= 1 << (to + k);
            k += 1;
        }
        i += 1;
    }
    // UDP has no flags.
    p.keep[1] = p.keep[2] & !(3 << 40);
    p.and[40] = 0x0f;
    p
}

static PROFILES: [Profile; 3] = [profile(0), profile(0x8100), profile(0x88a8)];

/// Which profile a frame may fit, by its Ethertype. Without a branch: frames of several shapes come mixed.
#[inline(always)]
pub(crate) fn profile_of(f: &[u8]) -> usize {
    let Some([a, b]) = f.get(12..14) else { return 0 };
    let ty = u16::from_ne_bytes([*a, *b]);
    usize::from(ty == u16::from_ne_bytes([0x81, 0]))
        | usize::from(ty == u16::from_ne_bytes([0x88, 0xa8])) << 1
}

/// Extraction of a batch's packets of common shapes, its sums in registers.
pub(crate) struct Common {
    prefix: __m512i,
    any: __m512i,
    all: __m512i,
}

impl Common {
    /// `prefix` are the keys' first eight bytes.
    ///
    /// # Safety
    /// - As for all methods: the machine has AVX-512 F, BW and VBMI, and the caller enables them.
    #[inline(always)]
    pub(crate) unsafe fn new(prefix: u64, any: &[u64; 8], all: &[u64; 8]) -> Self {
        // SAFETY: loads of 64-byte arrays; key bytes 0..8 come from no frame byte.
        unsafe {
            Self {
                prefix: _mm512_zextsi128_si512(_mm_cvtsi64_si128(prefix as i64)),
                any: _mm512_loadu_si512(any.as_ptr().cast()),
                all: _mm512_loadu_si512(all.as_ptr().cast()),
            }
        }
    }

    /// Fills lane 0 of `key` from a packet, if it is of this shape (below 3); else false, and nothing is written.
    ///
    /// # Safety
    /// - As for [`Common::new`].
    #[inline(always)]
    pub(crate) unsafe fn extract(&mut self, shape: usize, packet: &Packet, key: &mut FlowKey) -> bool {
        let p = &PROFILES[shape];
        if !packet.readable_64() {
            return false;
        }
        // SAFETY: 64 bytes are readable; loads of 64-byte arrays; the store is to the key's first lane.
        unsafe {
            let frame = packet.as_ptr();
            let v = _mm512_loadu_si512(frame.cast());
            let kind = usize::from(KINDS[usize::from(frame.add(p.l3 + 9).read())]);
            let differs = _mm512_xor_si512(v, _mm512_load_si512((&p.value as *const [u8; 64]).cast()));
            let other =
                _mm512_test_epi8_mask(differs, _mm512_load_si512((&p.mask as *const [u8; 64]).cast()));
            if other != 0 || (packet.len() as u32) < p.min_len[kind] {
                return false;
            }
            let k = _mm512_maskz_permutexvar_epi8(
                p.keep[kind],
                _mm512_load_si512((&p.from as *const [u8; 64]).cast()),
                v,
            );
            let or = _mm512_or_si512(self.prefix, _mm512_load_si512((&p.or as *const [u8; 64]).cast()));
            // (k & and) | or
            let k = _mm512_ternarylogic_epi64::<0xf8>(
                or,
                k,
                _mm512_load_si512((&p.and as *const [u8; 64]).cast()),
            );
            self.any = _mm512_or_si512(self.any, k);
            self.all = _mm512_and_si512(self.all, k);
            _mm512_storeu_si512(key.0.as_mut_ptr().cast(), k);
            true
        }
    }

    /// Gives the sums back.
    ///
    /// # Safety
    /// - As for [`Common::new`].
    #[inline(always)]
    pub(crate) unsafe fn finish(self, any: &mut [u64; 8], all: &mut [u64; 8]) {
        // SAFETY: stores to 64-byte arrays.
        unsafe {
            _mm512_storeu_si512(any.as_mut_ptr().cast(), self.any);
            _mm512_storeu_si512(all.as_mut_ptr().cast(), self.all);
        }
    }
}
