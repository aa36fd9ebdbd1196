//! Packets kept for controllers that ask for part of them only (OpenFlow 1.3.5, "Buffering"): a packet-in names its buffer, a packet-out or
//! flow-mod uses it, once.
//!
//! Off unless configured. Bounded in number and bytes; a packet that nobody asks for within [`AGE_MS`] makes room. While there is no room,
//! packet-ins carry the whole packet and no buffer, as the specification has it.

use bytes::Bytes;
use openflow::msg::OFP_NO_BUFFER;
use openflow::{OfpError, PortNo};
use std::collections::{HashMap, VecDeque};

/// Milliseconds after which a buffer may be given to another packet.
pub const AGE_MS: u64 = 5000;
/// Most buffers of a bridge.
pub const MAX_BUFFERS: u32 = 65_536;
/// Most bytes in them.
const MAX_BYTES: usize = 64 << 20;

/// A packet that waits.
#[derive(Debug, Clone)]
pub struct Buffered {
    /// The packet.
    pub frame: Bytes,
    /// Where it came in.
    pub in_port: PortNo,
}

/// Buffers of a bridge.
#[derive(Debug, Default)]
pub struct Buffers {
    limit: u32,
    kept: HashMap<u32, Buffered>,
    /// Numbers given out, oldest first, and when.
    order: VecDeque<(u32, u64)>,
    bytes: usize,
    last: u32,
    /// Numbers used of late: asking for one again is another mistake than inventing one.
    used: VecDeque<u32>,
}

impl Buffers {
    /// So many at most; 0: none.
    pub fn new(limit: u32) -> Self {
        Self { limit: limit.min(MAX_BUFFERS), ..Self::default() }
    }
    /// How many there can be.
    pub fn limit(&self) -> u32 {
        self.limit
    }
    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.kept.len()
    }
    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
    fn age(&mut self, now_ms: u64) {
        while let Some((id, at)) = self.order.front().copied() {
            if self.kept.contains_key(&id) && at + AGE_MS > now_ms {
                break;
            }
            self.order.pop_front();
            if let Some(b) = self.kept.remove(&id) {
                self.bytes -= b.frame.len();
            }
        }
    }
    /// Keeps a packet; its number, or `None` if there is no room.
    pub fn keep(&mut self, packet: Buffered, now_ms: u64) -> Option<u32> {
        self.age(now_ms);
        if self.kept.len() >= self.limit as usize || self.bytes + packet.frame.len() > MAX_BYTES {
            return None;
        }
        self.last = if self.last + 1 == OFP_NO_BUFFER { 1 } else { self.last + 1 };
        self.bytes += packet.frame.len();
        self.kept.insert(self.last, packet);
        self.order.push_back((self.last, now_ms));
        Some(self.last)
    }
    /// Whether a buffer can be used.
    ///
    /// # Errors
    /// `OFPBRC_BUFFER_EMPTY` if it was used already, `OFPBRC_BUFFER_UNKNOWN` if there is none of that number (any more).
    pub fn check(&mut self, id: u32, now_ms: u64) -> Result<(), OfpError> {
        self.age(now_ms);
        match (self.kept.contains_key(&id), self.used.contains(&id)) {
            (true, _) => Ok(()),
            (false, true) => Err(OfpError::OFPBRC_BUFFER_EMPTY),
            (false, false) => Err(OfpError::OFPBRC_BUFFER_UNKNOWN),
        }
    }
    /// Uses a buffer.
    pub fn take(&mut self, id: u32) -> Option<Buffered> {
        let b = self.kept.remove(&id)?;
        self.bytes -= b.frame.len();
        self.used.push_back(id);
        if self.used.len() > 256 {
            self.used.pop_front();
        }
        Some(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: usize) -> Buffered {
        Buffered { frame: Bytes::from(vec![0; n]), in_port: PortNo(1) }
    }

    #[test]
    fn a_buffer_is_used_once_ages_and_makes_room() {
        let mut b = Buffers::new(2);
        let (x, y) = (b.keep(packet(60), 0).unwrap(), b.keep(packet(60), 1000).unwrap());
        assert_ne!(x, y);
        assert!(b.keep(packet(60), 1001).is_none());
        assert!(b.check(x, 1001).is_ok());
        assert_eq!(b.take(x).unwrap().frame.len(), 60);
        assert_eq!(b.check(x, 1002), Err(OfpError::OFPBRC_BUFFER_EMPTY));
        assert_eq!(b.check(77, 1002), Err(OfpError::OFPBRC_BUFFER_UNKNOWN));
        let z = b.keep(packet(60), 2000).unwrap();
        assert_eq!(b.check(y, 1000 + AGE_MS), Err(OfpError::OFPBRC_BUFFER_UNKNOWN));
        assert!(b.check(z, 1000 + AGE_MS).is_ok());
        assert_eq!((b.len(), b.bytes), (1, 60));
        assert!(Buffers::new(0).keep(packet(1), 0).is_none());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut b = Buffers::new(MAX_BUFFERS);
        let kept = (0..2000).filter(|_| b.keep(packet(65_000), 0).is_some()).count();
        assert!(kept * 65_000 <= MAX_BYTES && kept > 1000);
    }
}
