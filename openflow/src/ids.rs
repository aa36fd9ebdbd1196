//! The numbers that name things: one type each, so that they cannot be mixed up.

use serde::Serialize;

macro_rules! id {
    ($(#[$m:meta])* $name:ident($t:ty)) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $t);
        impl From<$t> for $name { fn from(v: $t) -> Self { Self(v) } }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }
    };
}
id!(/// Transaction id of a message.
    Xid(u32));
id!(/// Number of a flow table; 0xff is `OFPTT_ALL`.
    TableId(u8));
id!(/// Number of a group; 0xfffffffc `OFPG_ALL`, 0xffffffff `OFPG_ANY`.
    GroupId(u32));
id!(/// Number of a meter; 0xffffffff `OFPM_ALL`, 0xfffffffd SLOWPATH, 0xfffffffe CONTROLLER.
    MeterId(u32));

/// An OpenFlow port number (not the datapath's). Printed by name where reserved (see `text`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub struct PortNo(pub u32);

#[allow(missing_docs)]
impl PortNo {
    pub const MAX: PortNo = PortNo(0xffff_ff00);
    pub const UNSET: PortNo = PortNo(0xffff_fff7);
    pub const IN_PORT: PortNo = PortNo(0xffff_fff8);
    pub const TABLE: PortNo = PortNo(0xffff_fff9);
    pub const NORMAL: PortNo = PortNo(0xffff_fffa);
    pub const FLOOD: PortNo = PortNo(0xffff_fffb);
    pub const ALL: PortNo = PortNo(0xffff_fffc);
    pub const CONTROLLER: PortNo = PortNo(0xffff_fffd);
    pub const LOCAL: PortNo = PortNo(0xffff_fffe);
    pub const ANY: PortNo = PortNo(0xffff_ffff);

    /// The port of a 16-bit number, as OpenFlow 1.0 and Nicira's extensions have them: 0xff00 and above are the reserved ports.
    pub fn from_16(n: u16) -> Self {
        Self(if n >= 0xff00 { 0xffff_0000 | u32::from(n) } else { n.into() })
    }
    /// Its 16-bit number; ports that have none lose their upper bits.
    pub fn to_16(self) -> u16 {
        self.0 as u16
    }
}

#[allow(missing_docs)]
impl TableId {
    pub const ALL: TableId = TableId(0xff);
    /// Highest usable table number (`OFPTT_MAX`).
    pub const MAX: TableId = TableId(0xfe);
}

#[allow(missing_docs)]
impl GroupId {
    pub const MAX: GroupId = GroupId(0xffff_ff00);
    pub const ALL: GroupId = GroupId(0xffff_fffc);
    pub const ANY: GroupId = GroupId(0xffff_ffff);
}

#[allow(missing_docs)]
impl MeterId {
    pub const MAX: MeterId = MeterId(0xffff_0000);
    pub const SLOWPATH: MeterId = MeterId(0xffff_fffd);
    pub const CONTROLLER: MeterId = MeterId(0xffff_fffe);
    pub const ALL: MeterId = MeterId(0xffff_ffff);
}

/// A 48-bit Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EthAddr(pub [u8; 6]);

impl std::fmt::Display for EthAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for EthAddr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
