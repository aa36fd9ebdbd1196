//! Bundles for OpenFlow 1.3: `ONF_ET_BUNDLE_CONTROL` (2300) and `ONF_ET_BUNDLE_ADD_MESSAGE` (2301) of ONF extension 230.
//! Control: `bundle_id:4 | type:2 | flags:2 | properties`. Add: `bundle_id:4 | pad:2 | flags:2 | message | pad | properties`.
//! Both follow an experimenter header of the ONF.

use super::OfMessage;
use crate::num::{hex, wire_enum, wire_flags};
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
