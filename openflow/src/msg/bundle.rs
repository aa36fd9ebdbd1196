//! Bundles for OpenFlow 1.3: `ONF_ET_BUNDLE_CONTROL` (2300) and `ONF_ET_BUNDLE_ADD_MESSAGE` (2301) of ONF extension 230.
//! Control: `bundle_id:4 | type:2 | flags:2 | properties`. Add: `bundle_id:4 | pad:2 | flags:2 | message | pad | properties`.
//! Both follow an experimenter header of the ONF.

use super::OfMessage;
use crate::error::{DecodeError, OfpError};
use crate::num::{hex, wire_enum, wire_flags};
use crate::wire::{Reader, Writer};
use serde::Serialize;

wire_enum! {
    /// `ONF_BCT_*`.
    BundleCtrlType(u16) {
        OPEN_REQUEST = 0, OPEN_REPLY = 1, CLOSE_REQUEST = 2, CLOSE_REPLY = 3, COMMIT_REQUEST = 4, COMMIT_REPLY = 5,
        DISCARD_REQUEST = 6, DISCARD_REPLY = 7,
    }
}
wire_flags! {
    /// `ONF_BF_*`.
    BundleFlags(u16) { ATOMIC = 1, ORDERED = 2 }
}

/// Open, close, commit or discard a bundle, and the replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BundleControl {
    pub bundle_id: u32,
    pub kind: BundleCtrlType,
    pub flags: BundleFlags,
    pub properties: Vec<BundleProp>,
}

/// Adds one message to a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BundleAdd {
    pub bundle_id: u32,
    pub flags: BundleFlags,
    /// Has the xid of the message around it.
    pub message: Box<OfMessage>,
    pub properties: Vec<BundleProp>,
}

/// One property: `type:2 | length:2 | data`, padded to 8 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BundleProp {
    pub kind: u16,
    #[serde(serialize_with = "hex")]
    pub data: Vec<u8>,
}

impl BundleControl {
    /// Reads what follows the experimenter header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bundle_id = r.u32("bundle_id")?;
        let (kind, flags) = (BundleCtrlType(r.u16("type")?), BundleFlags(r.u16("flags")?));
        Ok(Self { bundle_id, kind, flags, properties: BundleProp::parse_list(r)? })
    }
    /// Writes what follows the experimenter header.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { bundle_id, kind, flags, properties } = self;
        w.u32(*bundle_id);
        w.u16(kind.0);
        w.u16(flags.0);
        properties.iter().for_each(|p| p.emit(w));
    }
}

impl BundleAdd {
    /// Reads what follows the experimenter header.
    ///
    /// # Errors
    /// `OFPBFC_MSG_BAD_LEN` if the message inside is longer than its surroundings, `OFPBFC_MSG_UNSUP` if it is a bundle
    /// message itself, and the errors of the message inside.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bundle_id = r.u32("bundle_id")?;
        r.pad::<2>()?;
        let flags = BundleFlags(r.u16("flags")?);
        let bad = OfpError::OFPBFC_MSG_BAD_LEN;
        let mut peek = r.with_bad_len(bad);
        peek.pad::<2>()?;
        let at = peek;
        let len = peek.u16("message_length")? as usize;
        if len < 8 || len > r.remaining() {
            return Err(at.fault(bad, "message_length", format!("8 to {}", r.remaining()), len));
        }
        let inner = r.sub(len, "message")?.nested("message", OfpError::OFPBFC_MSG_UNSUP)?;
        let message = Box::new(OfMessage::parse_at(inner, true)?);
        if !r.is_empty() {
            // Some senders leave the padding out when no property follows.
            let pad = (len.wrapping_neg() & 7).min(r.remaining());
            r.bytes(pad, "pad")?;
        }
        Ok(Self { bundle_id, flags, message, properties: BundleProp::parse_list(r)? })
    }
    /// Writes what follows the experimenter header.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { bundle_id, flags, message, properties } = self;
        w.u32(*bundle_id);
        w.u16(0);
        w.u16(flags.0);
        let start = w.pos();
        message.emit_one(w);
        if !properties.is_empty() {
            w.pad8(start);
        }
        properties.iter().for_each(|p| p.emit(w));
    }
}

impl BundleProp {
    fn parse_list(r: &mut Reader<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut out = Vec::new();
        while !r.is_empty() {
            let kind = r.u16("property_type")?;
            let at = *r;
            let len = r.u16("property_length")? as usize;
            if len < 4 {
                return Err(at.bad_len("property_length", "at least 4", len));
            }
            let data = r.bytes(len - 4, "property")?.to_vec();
            r.pad8(len)?;
            out.push(Self { kind, data });
        }
        Ok(out)
    }
    fn emit(&self, w: &mut Writer<'_>) {
        let Self { kind, data } = self;
        let start = w.pos();
        w.u16(*kind);
        let at = w.len_later();
        w.bytes(data);
        w.set_len(at, start);
        w.pad8(start);
    }
}
