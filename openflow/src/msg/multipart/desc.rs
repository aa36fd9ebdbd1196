//! `OFPMP_DESC`: `mfr_desc:256 | hw_desc:256 | sw_desc:256 | serial_num:32 | dp_desc:256`. The request has no body.

use crate::error::DecodeError;
use crate::num::FixedStr;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// Who made the switch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Desc {
    pub mfr_desc: FixedStr<256>,
    pub hw_desc: FixedStr<256>,
    pub sw_desc: FixedStr<256>,
    pub serial_num: FixedStr<32>,
    pub dp_desc: FixedStr<256>,
}

impl Desc {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mfr_desc = FixedStr(r.array("mfr_desc")?);
        let hw_desc = FixedStr(r.array("hw_desc")?);
        let sw_desc = FixedStr(r.array("sw_desc")?);
        let serial_num = FixedStr(r.array("serial_num")?);
        let dp_desc = FixedStr(r.array("dp_desc")?);
        Ok(Self { mfr_desc, hw_desc, sw_desc, serial_num, dp_desc })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { mfr_desc, hw_desc, sw_desc, serial_num, dp_desc } = self;
        w.bytes(&mfr_desc.0);
        w.bytes(&hw_desc.0);
        w.bytes(&sw_desc.0);
        w.bytes(&serial_num.0);
        w.bytes(&dp_desc.0);
    }
}
