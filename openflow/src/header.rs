//! The eight bytes every message starts with: `version:1 | type:1 | length:2 | xid:4`, big-endian.

use crate::error::DecodeError;
use crate::ids::Xid;
use crate::num::wire_enum;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// OpenFlow 1.0.
pub const OFP10_VERSION: u8 = 0x01;
/// OpenFlow 1.1.
pub const OFP11_VERSION: u8 = 0x02;
/// OpenFlow 1.2.
pub const OFP12_VERSION: u8 = 0x03;
/// OpenFlow 1.3, the version this crate speaks.
pub const OFP13_VERSION: u8 = 0x04;
/// OpenFlow 1.4.
pub const OFP14_VERSION: u8 = 0x05;
/// OpenFlow 1.5.
pub const OFP15_VERSION: u8 = 0x06;
/// Bytes of a message header.
pub const HEADER_LEN: usize = 8;
/// The longest message the 16-bit length can say.
pub const MAX_MESSAGE_LEN: usize = 0xffff;

wire_enum! {
    /// `OFPT_*`: what kind of message follows.
    MsgType(u8) {
        HELLO = 0, ERROR = 1, ECHO_REQUEST = 2, ECHO_REPLY = 3, EXPERIMENTER = 4, FEATURES_REQUEST = 5,
        FEATURES_REPLY = 6, GET_CONFIG_REQUEST = 7, GET_CONFIG_REPLY = 8, SET_CONFIG = 9, PACKET_IN = 10,
        FLOW_REMOVED = 11, PORT_STATUS = 12, PACKET_OUT = 13, FLOW_MOD = 14, GROUP_MOD = 15, PORT_MOD = 16,
        TABLE_MOD = 17, MULTIPART_REQUEST = 18, MULTIPART_REPLY = 19, BARRIER_REQUEST = 20, BARRIER_REPLY = 21,
        QUEUE_GET_CONFIG_REQUEST = 22, QUEUE_GET_CONFIG_REPLY = 23, ROLE_REQUEST = 24, ROLE_REPLY = 25,
        GET_ASYNC_REQUEST = 26, GET_ASYNC_REPLY = 27, SET_ASYNC = 28, METER_MOD = 29,
    }
}

/// `struct ofp_header`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Protocol version, [`OFP13_VERSION`] for all we send after HELLO.
    pub version: u8,
    /// Type.
    pub msg_type: MsgType,
    /// Bytes of the whole message, this header included.
    pub length: u16,
    /// Transaction id: a reply repeats its request's.
    pub xid: Xid,
}

impl Header {
    /// Reads the header; the length is not yet compared with what is there.
    #[inline]
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let b = r.bytes(HEADER_LEN, "header")?;
        Ok(Self {
            version: b[0],
            msg_type: MsgType(b[1]),
            length: u16::from_be_bytes([b[2], b[3]]),
            xid: Xid(u32::from_be_bytes([b[4], b[5], b[6], b[7]])),
        })
    }
    /// The header at the start of `buf`, if all of it is there.
    #[inline]
    pub fn peek(buf: &[u8]) -> Option<Self> {
        Self::parse(&mut Reader::new(buf)).ok()
    }
    /// Writes the header.
    #[inline]
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { version, msg_type, length, xid } = self;
        w.u8(*version);
        w.u8(msg_type.0);
        w.u16(*length);
        w.u32(xid.0);
    }
}
