//! Bytes in and out: a [`Reader`] that knows where it is and what it is reading, a [`Writer`] with length guards.
//!
//! The reader is nom's `number::complete` under calls that name the field: a fault becomes a [`DecodeError`] with the
//! field, its offset from the start of the message, and the OpenFlow error that belongs to the structure being read.
//! Nothing here allocates on the success path, and nothing recurses deeper than [`MAX_NESTING`].

use crate::error::{DecodeError, OfpError};
use bytes::BytesMut;
use nom::number::complete::{be_u16, be_u32, be_u64, be_u8};

/// Structures that hold structures of their own kind (clone in clone, ct in clone) may go this deep.
pub const MAX_NESTING: u8 = 16;

/// A position in a message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    data: &'a [u8],
    offset: usize,
    bad_len: OfpError,
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Reads from the start of a message; a missing byte is `OFPBRC_BAD_LEN`.
    #[inline]
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, offset: 0, bad_len: OfpError::OFPBRC_BAD_LEN, depth: 0 }
    }
    /// From here on a missing byte is this error.
    #[inline]
    pub fn with_bad_len(mut self, code: OfpError) -> Self {
        self.bad_len = code;
        self
    }
    /// Bytes left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.data.len()
    }
    /// No bytes left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
    /// Distance of the next byte from the start of the message.
    #[inline]
    pub fn offset(&self) -> usize {
        self.offset
    }
    /// The bytes left, without taking them.
    #[inline]
    pub fn peek(&self) -> &'a [u8] {
        self.data
    }
    /// Takes `n` bytes that [`Reader::peek`] has shown to be there.
    ///
    /// # Panics
    /// If they are not.
    #[inline]
    pub(crate) fn skip(&mut self, n: usize) {
        self.data = &self.data[n..];
        self.offset += n;
    }
    #[inline]
    fn step(&mut self, rest: &'a [u8], n: usize) {
        self.data = rest;
        self.offset += n;
    }
    /// One byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        match be_u8::<_, ()>(self.data) {
            Ok((rest, v)) => {
                self.step(rest, 1);
                Ok(v)
            }
            Err(_) => Err(self.short(field, 1)),
        }
    }
    /// Two bytes, big-endian.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        match be_u16::<_, ()>(self.data) {
            Ok((rest, v)) => {
                self.step(rest, 2);
                Ok(v)
            }
            Err(_) => Err(self.short(field, 2)),
        }
    }
    /// Four bytes, big-endian.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match be_u32::<_, ()>(self.data) {
            Ok((rest, v)) => {
                self.step(rest, 4);
                Ok(v)
            }
            Err(_) => Err(self.short(field, 4)),
        }
    }
    /// Eight bytes, big-endian.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match be_u64::<_, ()>(self.data) {
            Ok((rest, v)) => {
                self.step(rest, 8);
                Ok(v)
            }
            Err(_) => Err(self.short(field, 8)),
        }
    }
    /// `n` bytes (at most 16), big-endian.
    #[inline]
    pub fn uint(&mut self, n: usize, field: &'static str) -> Result<u128, DecodeError> {
        debug_assert!(n <= 16);
        self.bytes(n, field).map(be_uint)
    }
    /// The next `n` bytes as they are.
    #[inline]
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        if n > self.data.len() {
            return Err(self.short(field, n));
        }
        let (head, rest) = self.data.split_at(n);
        self.step(rest, n);
        Ok(head)
    }
    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N, field)?);
        Ok(out)
    }
    /// `N` bytes of padding, whatever they are.
    #[inline]
    pub fn pad<const N: usize>(&mut self) -> Result<(), DecodeError> {
        self.bytes(N, "pad").map(|_| ())
    }
    /// The padding that follows `n` bytes up to a multiple of 8.
    #[inline]
    pub fn pad8(&mut self, n: usize) -> Result<(), DecodeError> {
        self.bytes(n.wrapping_neg() & 7, "pad").map(|_| ())
    }
    /// All that is left.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        let all = self.data;
        self.step(&[], all.len());
        all
    }
    /// A reader of the next `n` bytes, which are taken from this one.
    #[inline]
    pub fn sub(&mut self, n: usize, field: &'static str) -> Result<Reader<'a>, DecodeError> {
        let (offset, bad_len, depth) = (self.offset, self.bad_len, self.depth);
        Ok(Reader { data: self.bytes(n, field)?, offset, bad_len, depth })
    }
    /// One level further in, for structures that can hold their own kind.
    ///
    /// # Errors
    /// `code` beyond [`MAX_NESTING`].
    pub fn nested(mut self, field: &'static str, code: OfpError) -> Result<Reader<'a>, DecodeError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(self.fault(code, field, "at most 16 levels of nesting", "more"));
        }
        Ok(self)
    }
    /// The end: bytes that are left over are an error.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.data.is_empty() {
            Ok(())
        } else {
            Err(self.fault(self.bad_len, "end", "no more bytes", format!("{} left over", self.data.len())))
        }
    }
    /// An error at the next byte.
    #[cold]
    #[inline(never)]
    pub fn fault(
        &self,
        code: OfpError,
        field: &'static str,
        expected: impl Into<String>,
        got: impl ToString,
    ) -> DecodeError {
        DecodeError { code, field, offset: self.offset, expected: expected.into(), got: got.to_string() }
    }
    /// An error of length at the next byte, with the code of the structure being read.
    #[cold]
    #[inline(never)]
    pub fn bad_len(
        &self,
        field: &'static str,
        expected: impl Into<String>,
        got: impl ToString,
    ) -> DecodeError {
        self.fault(self.bad_len, field, expected, got)
    }
    #[cold]
    #[inline(never)]
    fn short(&self, field: &'static str, n: usize) -> DecodeError {
        let expected = if n == 1 { "1 byte".to_string() } else { format!("{n} bytes") };
        self.fault(self.bad_len, field, expected, self.data.len())
    }
}

/// The big-endian integer that `b` (at most 16 bytes) holds.
#[inline]
pub(crate) fn be_uint(b: &[u8]) -> u128 {
    match *b {
        [a] => a as u128,
        [a, b] => u16::from_be_bytes([a, b]) as u128,
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as u128,
        [a, b, c, d, e, f] => u64::from_be_bytes([0, 0, a, b, c, d, e, f]) as u128,
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]) as u128,
        _ => b.iter().fold(0, |v, b| v << 8 | *b as u128),
    }
}

/// Bytes going out. A length that does not fit its field is remembered, not written wrong: see [`Writer::overflowed`].
#[derive(Debug)]
pub struct Writer<'a> {
    pub(crate) buf: &'a mut BytesMut,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `buf`.
    pub fn new(buf: &'a mut BytesMut) -> Self {
        Self { buf, overflow: false }
    }
    /// Bytes in the buffer so far.
    #[inline]
    pub fn pos(&self) -> usize {
        self.buf.len()
    }
    /// One byte.
    #[inline]
    pub fn u8(&mut self, v: u8) {
        self.buf.extend_from_slice(&[v]);
    }
    /// Two bytes, big-endian.
    #[inline]
    pub fn u16(&mut self, v: u16) {
        self.buf.extend_from_slice(&v.to_be_bytes());
    }
    /// Four bytes, big-endian.
    #[inline]
    pub fn u32(&mut self, v: u32) {
        self.buf.extend_from_slice(&v.to_be_bytes());
    }
    /// Eight bytes, big-endian.
    #[inline]
    pub fn u64(&mut self, v: u64) {
        self.buf.extend_from_slice(&v.to_be_bytes());
    }
    /// The low `n` bytes (at most 16) of `v`, big-endian.
    #[inline]
    pub fn uint(&mut self, v: u128, n: usize) {
        self.buf.extend_from_slice(&v.to_be_bytes()[16 - n..]);
    }
    /// Bytes as they are.
    #[inline]
    pub fn bytes(&mut self, b: &[u8]) {
        self.buf.extend_from_slice(b);
    }
    /// `n` zero bytes.
    #[inline]
    pub fn zeros(&mut self, n: usize) {
        const ZEROS: [u8; 8] = [0; 8];
        if n <= 8 {
            self.buf.extend_from_slice(&ZEROS[..n]);
        } else {
            self.buf.resize(self.buf.len() + n, 0);
        }
    }
    /// Zero bytes up to a multiple of 8 counted from `start`.
    #[inline]
    pub fn pad8(&mut self, start: usize) {
        self.zeros((self.pos() - start).wrapping_neg() & 7);
    }
    /// A 16-bit length to be filled in by [`Writer::set_len`]; returns where it is.
    #[inline]
    pub fn len_later(&mut self) -> usize {
        let at = self.pos();
        self.u16(0);
        at
    }
    /// Fills in a length: the bytes from `start` to here.
    #[inline]
    pub fn set_len(&mut self, at: usize, start: usize) {
        let n = self.pos() - start;
        if n > 0xffff {
            self.overflow = true;
        }
        self.buf[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
    }
    /// Says that something did not fit.
    pub fn set_overflow(&mut self) {
        self.overflow = true;
    }
    /// Some structure was longer than its length field can say; the bytes must not be sent.
    pub fn overflowed(&self) -> bool {
        self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_byte_is_named_and_placed() {
        let mut r = Reader::new(&[0, 1, 2]);
        assert_eq!(r.u16("a").unwrap(), 1);
        let e = r.u32("b").unwrap_err();
        assert_eq!(e.to_string(), "b at byte 2: expected 4 bytes, got 1 [OFPBRC_BAD_LEN]");
    }
    #[test]
    fn sub_readers_count_from_the_message() {
        let mut r = Reader::new(&[0; 10]);
        r.pad::<4>().unwrap();
        let mut s = r.sub(4, "inner").unwrap().with_bad_len(OfpError::OFPBMC_BAD_LEN);
        s.u16("x").unwrap();
        let e = s.u64("y").unwrap_err();
        assert_eq!((e.offset, e.code), (6, OfpError::OFPBMC_BAD_LEN));
        assert_eq!(r.remaining(), 2);
    }
    #[test]
    fn integers_of_every_width_come_back() {
        for n in 1..=16usize {
            let v = 0x0123_4567_89ab_cdef_0011_2233_4455_6677u128 & (u128::MAX >> (128 - 8 * n));
            let mut b = BytesMut::new();
            Writer::new(&mut b).uint(v, n);
            assert_eq!(b.len(), n);
            assert_eq!(Reader::new(&b).uint(n, "v").unwrap(), v);
        }
    }
    #[test]
    fn too_long_a_structure_is_noticed() {
        let mut b = BytesMut::new();
        let mut w = Writer::new(&mut b);
        let at = w.len_later();
        w.zeros(0xfffd);
        w.set_len(at, at);
        assert!(!w.overflowed());
        w.zeros(1);
        w.set_len(at, at);
        assert!(w.overflowed());
    }
}
