//! Puts the parts of multipart messages together again, within a bound of memory (OpenFlow 1.3.5, "Multipart Messages":
//! `OFPBRC_MULTIPART_BUFFER_OVERFLOW`).

use super::{MultipartFlags, MultipartReply, MultipartRequest, ReplyBody, RequestBody};
use crate::error::OfpError;
use crate::ids::Xid;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// A body that can be sent in parts.
pub trait Reassembled: Sized {
    /// Appends what `next` holds.
    ///
    /// # Errors
    /// `OFPBRC_BAD_MULTIPART` if the two are not parts of one thing.
    fn append(&mut self, next: Self) -> Result<(), OfpError>;
}

fn append_bytes(to: &mut Bytes, next: &Bytes) {
    let mut all = BytesMut::from(std::mem::take(to));
    all.extend_from_slice(next);
    *to = all.freeze();
}

impl Reassembled for RequestBody {
    fn append(&mut self, next: Self) -> Result<(), OfpError> {
        match (self, next) {
            (Self::TableFeatures(a), Self::TableFeatures(b)) => a.extend(b),
            (Self::FlowMonitor(a), Self::FlowMonitor(b)) => a.extend(b),
            (Self::NxFlowMonitor(a), Self::NxFlowMonitor(b)) => a.extend(b),
            (
                Self::Experimenter { experimenter: e, exp_type: t, data: a },
                Self::Experimenter { experimenter, exp_type, data: b },
            ) if *e == experimenter && *t == exp_type => append_bytes(a, &b),
            _ => return Err(OfpError::OFPBRC_BAD_MULTIPART),
        }
        Ok(())
    }
}

impl Reassembled for ReplyBody {
    fn append(&mut self, next: Self) -> Result<(), OfpError> {
        match (self, next) {
            (Self::Flow(a), Self::Flow(b)) => a.extend(b),
            (Self::Table(a), Self::Table(b)) => a.extend(b),
            (Self::PortStats(a), Self::PortStats(b)) => a.extend(b),
            (Self::Queue(a), Self::Queue(b)) => a.extend(b),
            (Self::Group(a), Self::Group(b)) => a.extend(b),
            (Self::GroupDesc(a), Self::GroupDesc(b)) => a.extend(b),
            (Self::Meter(a), Self::Meter(b)) => a.extend(b),
            (Self::MeterConfig(a), Self::MeterConfig(b)) => a.extend(b),
            (Self::TableFeatures(a), Self::TableFeatures(b)) => a.extend(b),
            (Self::PortDesc(a), Self::PortDesc(b)) => a.extend(b),
            (Self::FlowMonitor(a), Self::FlowMonitor(b)) => a.extend(b),
            (Self::NxFlowMonitor(a), Self::NxFlowMonitor(b)) => a.extend(b),
            (
                Self::Experimenter { experimenter: e, exp_type: t, data: a },
                Self::Experimenter { experimenter, exp_type, data: b },
            ) if *e == experimenter && *t == exp_type => append_bytes(a, &b),
            _ => return Err(OfpError::OFPBRC_BAD_MULTIPART),
        }
        Ok(())
    }
}

struct Pending<B> {
    xid: Xid,
    body: B,
    bytes: usize,
}

/// Parts that wait for their last. One per connection and direction.
pub struct Reassembler<B> {
    pending: Vec<Pending<B>>,
    /// Those of which a part was refused and the last has not come.
    refused: VecDeque<(Xid, OfpError)>,
    max_bytes: usize,
    bytes: usize,
}

/// No peer of ours needs more unfinished multiparts at once.
const MAX_PENDING: usize = 8;

impl<B: Reassembled> Reassembler<B> {
    /// Holds at most `max_bytes` of messages (as counted on the wire) of at most 8 unfinished multiparts.
    pub fn new(max_bytes: usize) -> Self {
        Self { pending: Vec::new(), refused: VecDeque::new(), max_bytes, bytes: 0 }
    }

    /// Takes one part, `len` bytes long on the wire; gives back the whole once its last part is there.
    ///
    /// # Errors
    /// `OFPBRC_MULTIPART_BUFFER_OVERFLOW` beyond the bound, `OFPBRC_BAD_MULTIPART` for parts of different kinds; the
    /// parts so far are then forgotten, and those that follow refused in the same way: half a request is none.
    pub fn push(
        &mut self,
        xid: Xid,
        flags: MultipartFlags,
        body: B,
        len: usize,
    ) -> Result<Option<B>, OfpError> {
        if let Some(i) = self.refused.iter().position(|(x, _)| *x == xid) {
            let (_, error) = self.refused[i];
            self.refuse(xid, flags, error);
            return Err(error);
        }
        let result = self.take(xid, flags, body, len);
        if let Err(e) = result {
            self.refuse(xid, flags, e);
        }
        result
    }

    /// A part with these flags was refused, here or before it came here.
    pub fn refuse(&mut self, xid: Xid, flags: MultipartFlags, error: OfpError) {
        self.refused.retain(|(x, _)| *x != xid);
        if let Some(i) = self.pending.iter().position(|p| p.xid == xid) {
            self.bytes -= self.pending.swap_remove(i).bytes;
        }
        if flags.contains(MultipartFlags::MORE) {
            if self.refused.len() == MAX_PENDING {
                self.refused.pop_front();
            }
            self.refused.push_back((xid, error));
        }
    }

    fn take(&mut self, xid: Xid, flags: MultipartFlags, body: B, len: usize) -> Result<Option<B>, OfpError> {
        let more = flags.contains(MultipartFlags::MORE);
        let found = self.pending.iter().position(|p| p.xid == xid);
        let Some(i) = found else {
            if !more {
                return Ok(Some(body));
            }
            if self.bytes + len > self.max_bytes || self.pending.len() == MAX_PENDING {
                return Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW);
            }
            self.bytes += len;
            self.pending.push(Pending { xid, body, bytes: len });
            return Ok(None);
        };
        let mut p = self.pending.swap_remove(i);
        self.bytes -= p.bytes;
        p.body.append(body)?;
        if !more {
            return Ok(Some(p.body));
        }
        p.bytes += len;
        if self.bytes + p.bytes > self.max_bytes {
            return Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW);
        }
        self.bytes += p.bytes;
        self.pending.push(p);
        Ok(None)
    }
}

impl Reassembler<RequestBody> {
    /// Takes one part of a request.
    ///
    /// # Errors
    /// As [`Reassembler::push`].
    pub fn request(
        &mut self,
        xid: Xid,
        m: MultipartRequest,
        len: usize,
    ) -> Result<Option<RequestBody>, OfpError> {
        self.push(xid, m.flags, m.body, len)
    }
}

impl Reassembler<ReplyBody> {
    /// Takes one part of a reply.
    ///
    /// # Errors
    /// As [`Reassembler::push`].
    pub fn reply(&mut self, xid: Xid, m: MultipartReply, len: usize) -> Result<Option<ReplyBody>, OfpError> {
        self.push(xid, m.flags, m.body, len)
    }
}

impl<B> std::fmt::Debug for Reassembler<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Reassembler {{ pending: {}, bytes: {} of {} }}",
            self.pending.len(),
            self.bytes,
            self.max_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TableId;
    use crate::msg::multipart::{TableFeatures, TableStats};

    const MORE: MultipartFlags = MultipartFlags::MORE;
    const LAST: MultipartFlags = MultipartFlags(0);

    fn tables(n: u8) -> ReplyBody {
        ReplyBody::Table(vec![TableStats { table_id: TableId(n), ..Default::default() }])
    }

    #[test]
    fn parts_of_one_xid_come_together_and_others_stay_apart() {
        let mut r = Reassembler::new(1000);
        assert_eq!(r.push(Xid(1), MORE, tables(1), 100), Ok(None));
        assert_eq!(r.push(Xid(2), MORE, tables(9), 100), Ok(None));
        assert_eq!(r.push(Xid(1), MORE, tables(2), 100), Ok(None));
        let Ok(Some(ReplyBody::Table(t))) = r.push(Xid(1), LAST, tables(3), 100) else { panic!() };
        assert_eq!(t.iter().map(|t| t.table_id.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(r.bytes, 100);
    }

    #[test]
    fn memory_is_bounded() {
        let mut r = Reassembler::new(250);
        let body = || RequestBody::TableFeatures(vec![TableFeatures::default()]);
        assert_eq!(r.push(Xid(1), MORE, body(), 100), Ok(None));
        assert_eq!(r.push(Xid(1), MORE, body(), 100), Ok(None));
        assert_eq!(r.push(Xid(1), MORE, body(), 100), Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        assert_eq!(r.bytes, 0);
        // The rest of it is refused too, to its last part.
        assert_eq!(r.push(Xid(1), MORE, body(), 100), Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        assert_eq!(r.push(Xid(1), LAST, body(), 100), Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW));
        assert_eq!(r.push(Xid(1), LAST, body(), 100), Ok(Some(body())));
        for xid in 0..MAX_PENDING as u32 {
            assert_eq!(r.push(Xid(xid), MORE, body(), 1), Ok(None));
        }
        assert_eq!(r.push(Xid(99), MORE, body(), 1), Err(OfpError::OFPBRC_MULTIPART_BUFFER_OVERFLOW));
    }

    #[test]
    fn parts_of_different_kinds_are_refused() {
        let mut r = Reassembler::new(1000);
        assert_eq!(r.push(Xid(1), MORE, RequestBody::TableFeatures(vec![]), 16), Ok(None));
        assert_eq!(
            r.push(Xid(1), LAST, RequestBody::FlowMonitor(vec![]), 16),
            Err(OfpError::OFPBRC_BAD_MULTIPART)
        );
    }

    #[test]
    fn a_part_that_was_refused_takes_the_others_with_it() {
        let mut r = Reassembler::new(1000);
        let body = || RequestBody::TableFeatures(vec![TableFeatures::default()]);
        assert_eq!(r.push(Xid(1), MORE, body(), 100), Ok(None));
        r.refuse(Xid(1), MORE, OfpError::OFPBRC_BAD_LEN);
        assert_eq!(r.bytes, 0);
        assert_eq!(r.push(Xid(1), LAST, body(), 100), Err(OfpError::OFPBRC_BAD_LEN));
        for xid in 0..100 {
            r.refuse(Xid(xid), MORE, OfpError::OFPBRC_BAD_LEN);
        }
        assert_eq!(r.refused.len(), MAX_PENDING);
    }

    #[test]
    fn many_small_parts_cost_no_more_than_their_bytes() {
        // 60 000 parts: were each to copy what came before it, 2 GB would move.
        let mut r = Reassembler::new(4 << 20);
        let part = |n: u32| RequestBody::Experimenter {
            experimenter: 1,
            exp_type: 2,
            data: Bytes::copy_from_slice(&n.to_be_bytes()),
        };
        let mut capacity_changes = 0;
        let mut at = std::ptr::null();
        for n in 0..60_000 {
            assert_eq!(r.push(Xid(1), MORE, part(n), 28), Ok(None));
            let RequestBody::Experimenter { data, .. } = &r.pending[0].body else { unreachable!() };
            if data.as_ptr() != at {
                at = data.as_ptr();
                capacity_changes += 1;
            }
        }
        assert!(capacity_changes < 100, "moved {capacity_changes} times");
        let Ok(Some(RequestBody::Experimenter { data, .. })) = r.push(Xid(1), LAST, part(0), 28) else {
            panic!()
        };
        assert_eq!(data.len(), 60_001 * 4);
    }
}
