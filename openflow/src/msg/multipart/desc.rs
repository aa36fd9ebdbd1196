//! `OFPMP_DESC`: `mfr_desc:256 | hw_desc:256 | sw_desc:256 | serial_num:32 | dp_desc:256`. The request has no body.

use crate::num::FixedStr;
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
