//! Every OpenFlow error once: its name, type and code (OpenFlow 1.3.5, "Error Message"; bundle errors of ONF EXT-230).
//!
//! A fault found in bytes is a [`DecodeError`]; it carries the [`OfpError`] to answer with, chosen where it was seen.

use serde::Serialize;

/// What an error message says: its type and code; for `OFPET_EXPERIMENTER` the experimenter's id and its own code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OfpError {
    /// `OFPET_*`.
    pub kind: u16,
    /// The code within the type (`exp_type` for experimenter errors).
    pub code: u16,
    /// Experimenter id if `kind` is 0xffff, else 0.
    pub experimenter: u32,
}

/// `OFPET_EXPERIMENTER`.
pub const OFPET_EXPERIMENTER: u16 = 0xffff;

macro_rules! errors {
    ($( $kind:ident $k:literal $exp:literal { $($name:ident = $code:literal),* $(,)? } )*) => {
        #[allow(missing_docs)]
        impl OfpError {
            $($(pub const $name: OfpError = OfpError { kind: $k, code: $code, experimenter: $exp };)*)*
            /// Every error we know by name.
            pub const ALL_NAMED: &'static [(OfpError, &'static str, &'static str)] =
                &[$($((OfpError { kind: $k, code: $code, experimenter: $exp }, stringify!($kind), stringify!($name)),)*)*];
        }
    };
}

errors! {
    OFPET_HELLO_FAILED 0 0 { OFPHFC_INCOMPATIBLE = 0, OFPHFC_EPERM = 1 }
    OFPET_BAD_REQUEST 1 0 {
        OFPBRC_BAD_VERSION = 0, OFPBRC_BAD_TYPE = 1, OFPBRC_BAD_MULTIPART = 2, OFPBRC_BAD_EXPERIMENTER = 3,
        OFPBRC_BAD_EXP_TYPE = 4, OFPBRC_EPERM = 5, OFPBRC_BAD_LEN = 6, OFPBRC_BUFFER_EMPTY = 7,
        OFPBRC_BUFFER_UNKNOWN = 8, OFPBRC_BAD_TABLE_ID = 9, OFPBRC_IS_SLAVE = 10, OFPBRC_BAD_PORT = 11,
        OFPBRC_BAD_PACKET = 12, OFPBRC_MULTIPART_BUFFER_OVERFLOW = 13,
    }
    OFPET_BAD_ACTION 2 0 {
        OFPBAC_BAD_TYPE = 0, OFPBAC_BAD_LEN = 1, OFPBAC_BAD_EXPERIMENTER = 2, OFPBAC_BAD_EXP_TYPE = 3,
        OFPBAC_BAD_OUT_PORT = 4, OFPBAC_BAD_ARGUMENT = 5, OFPBAC_EPERM = 6, OFPBAC_TOO_MANY = 7,
        OFPBAC_BAD_QUEUE = 8, OFPBAC_BAD_OUT_GROUP = 9, OFPBAC_MATCH_INCONSISTENT = 10,
        OFPBAC_UNSUPPORTED_ORDER = 11, OFPBAC_BAD_TAG = 12, OFPBAC_BAD_SET_TYPE = 13, OFPBAC_BAD_SET_LEN = 14,
        OFPBAC_BAD_SET_ARGUMENT = 15,
    }
    OFPET_BAD_INSTRUCTION 3 0 {
        OFPBIC_UNKNOWN_INST = 0, OFPBIC_UNSUP_INST = 1, OFPBIC_BAD_TABLE_ID = 2, OFPBIC_UNSUP_METADATA = 3,
        OFPBIC_UNSUP_METADATA_MASK = 4, OFPBIC_BAD_EXPERIMENTER = 5, OFPBIC_BAD_EXP_TYPE = 6, OFPBIC_BAD_LEN = 7,
        OFPBIC_EPERM = 8,
    }
    OFPET_BAD_MATCH 4 0 {
        OFPBMC_BAD_TYPE = 0, OFPBMC_BAD_LEN = 1, OFPBMC_BAD_TAG = 2, OFPBMC_BAD_DL_ADDR_MASK = 3,
        OFPBMC_BAD_NW_ADDR_MASK = 4, OFPBMC_BAD_WILDCARDS = 5, OFPBMC_BAD_FIELD = 6, OFPBMC_BAD_VALUE = 7,
        OFPBMC_BAD_MASK = 8, OFPBMC_BAD_PREREQ = 9, OFPBMC_DUP_FIELD = 10, OFPBMC_EPERM = 11,
    }
    OFPET_FLOW_MOD_FAILED 5 0 {
        OFPFMFC_UNKNOWN = 0, OFPFMFC_TABLE_FULL = 1, OFPFMFC_BAD_TABLE_ID = 2, OFPFMFC_OVERLAP = 3,
        OFPFMFC_EPERM = 4, OFPFMFC_BAD_TIMEOUT = 5, OFPFMFC_BAD_COMMAND = 6, OFPFMFC_BAD_FLAGS = 7,
    }
    OFPET_GROUP_MOD_FAILED 6 0 {
        OFPGMFC_GROUP_EXISTS = 0, OFPGMFC_INVALID_GROUP = 1, OFPGMFC_WEIGHT_UNSUPPORTED = 2,
        OFPGMFC_OUT_OF_GROUPS = 3, OFPGMFC_OUT_OF_BUCKETS = 4, OFPGMFC_CHAINING_UNSUPPORTED = 5,
        OFPGMFC_WATCH_UNSUPPORTED = 6, OFPGMFC_LOOP = 7, OFPGMFC_UNKNOWN_GROUP = 8, OFPGMFC_CHAINED_GROUP = 9,
        OFPGMFC_BAD_TYPE = 10, OFPGMFC_BAD_COMMAND = 11, OFPGMFC_BAD_BUCKET = 12, OFPGMFC_BAD_WATCH = 13,
        OFPGMFC_EPERM = 14,
    }
    OFPET_PORT_MOD_FAILED 7 0 {
        OFPPMFC_BAD_PORT = 0, OFPPMFC_BAD_HW_ADDR = 1, OFPPMFC_BAD_CONFIG = 2, OFPPMFC_BAD_ADVERTISE = 3,
        OFPPMFC_EPERM = 4,
    }
    OFPET_TABLE_MOD_FAILED 8 0 { OFPTMFC_BAD_TABLE = 0, OFPTMFC_BAD_CONFIG = 1, OFPTMFC_EPERM = 2 }
    OFPET_QUEUE_OP_FAILED 9 0 { OFPQOFC_BAD_PORT = 0, OFPQOFC_BAD_QUEUE = 1, OFPQOFC_EPERM = 2 }
    OFPET_SWITCH_CONFIG_FAILED 10 0 { OFPSCFC_BAD_FLAGS = 0, OFPSCFC_BAD_LEN = 1, OFPSCFC_EPERM = 2 }
    OFPET_ROLE_REQUEST_FAILED 11 0 { OFPRRFC_STALE = 0, OFPRRFC_UNSUP = 1, OFPRRFC_BAD_ROLE = 2 }
    OFPET_METER_MOD_FAILED 12 0 {
        OFPMMFC_UNKNOWN = 0, OFPMMFC_METER_EXISTS = 1, OFPMMFC_INVALID_METER = 2, OFPMMFC_UNKNOWN_METER = 3,
        OFPMMFC_BAD_COMMAND = 4, OFPMMFC_BAD_FLAGS = 5, OFPMMFC_BAD_RATE = 6, OFPMMFC_BAD_BURST = 7,
        OFPMMFC_BAD_BAND = 8, OFPMMFC_BAD_BAND_VALUE = 9, OFPMMFC_OUT_OF_METERS = 10, OFPMMFC_OUT_OF_BANDS = 11,
    }
    OFPET_TABLE_FEATURES_FAILED 13 0 {
        OFPTFFC_BAD_TABLE = 0, OFPTFFC_BAD_METADATA = 1, OFPTFFC_BAD_TYPE = 2, OFPTFFC_BAD_LEN = 3,
        OFPTFFC_BAD_ARGUMENT = 4, OFPTFFC_EPERM = 5,
    }
    ONFERR_ET_BUNDLE 0xffff 0x4f4e4600 {
        OFPBFC_UNKNOWN = 2300, OFPBFC_EPERM = 2301, OFPBFC_BAD_ID = 2302, OFPBFC_BUNDLE_EXIST = 2303,
        OFPBFC_BUNDLE_CLOSED = 2304, OFPBFC_OUT_OF_BUNDLES = 2305, OFPBFC_BAD_TYPE = 2306, OFPBFC_BAD_FLAGS = 2307,
        OFPBFC_MSG_BAD_LEN = 2308, OFPBFC_MSG_BAD_XID = 2309, OFPBFC_MSG_UNSUP = 2310, OFPBFC_MSG_CONFLICT = 2311,
        OFPBFC_MSG_TOO_MANY = 2312, OFPBFC_MSG_FAILED = 2313, OFPBFC_TIMEOUT = 2314, OFPBFC_BUNDLE_IN_PROGRESS = 2315,
    }
}

impl OfpError {
    /// The specification's name of the error (`OFPBRC_BAD_LEN`), if it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::ALL_NAMED.iter().find(|(e, _, _)| *e == self).map(|(_, _, n)| *n)
    }
    /// The specification's name of the error's type (`OFPET_BAD_REQUEST`), if it has one.
    pub fn kind_name(self) -> Option<&'static str> {
        Self::ALL_NAMED
            .iter()
            .find(|(e, _, _)| e.kind == self.kind && e.experimenter == self.experimenter)
            .map(|(_, k, _)| *k)
    }
}
impl std::fmt::Display for OfpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.name(), self.experimenter) {
            (Some(n), _) => f.pad(n),
            (None, 0) => write!(f, "type {}, code {}", self.kind, self.code),
            (None, e) => write!(f, "experimenter {e:#010x}, type {}", self.code),
        }
    }
}
impl std::fmt::Debug for OfpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
impl Serialize for OfpError {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Bytes that are not what they should be: where, what was expected, and the error to answer with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: expected {expected}, got {got} [{code}]")]
pub struct DecodeError {
    /// The error message to send.
    pub code: OfpError,
    /// Name of the field that is at fault, as in the specification.
    pub field: &'static str,
    /// Its first byte, counted from the start of the message (or buffer) given to `parse`; never beyond its end.
    pub offset: usize,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub got: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_listed_once() {
        for (i, (e, _, n)) in OfpError::ALL_NAMED.iter().enumerate() {
            for (f, _, m) in &OfpError::ALL_NAMED[i + 1..] {
                assert!(e != f, "{n} and {m} have the same numbers");
                assert_ne!(n, m);
            }
            assert_eq!(e.name(), Some(*n));
        }
    }
    #[test]
    fn errors_print_by_name() {
        assert_eq!(OfpError::OFPBRC_BAD_LEN.to_string(), "OFPBRC_BAD_LEN");
        assert_eq!(OfpError { kind: 77, code: 3, experimenter: 0 }.to_string(), "type 77, code 3");
        let e = DecodeError {
            code: OfpError::OFPBRC_BAD_LEN,
            field: "hw_addr",
            offset: 16,
            expected: "6 bytes".into(),
            got: "2".into(),
        };
        assert_eq!(e.to_string(), "hw_addr at byte 16: expected 6 bytes, got 2 [OFPBRC_BAD_LEN]");
    }
}
