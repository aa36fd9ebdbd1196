//! Datapath actions: what translation makes of the OpenFlow actions, executed in order on a packet.

use crate::flow_key::{FlowKey, FlowMask};

/// A port of the datapath (not an OpenFlow port number). 0 is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize)]
pub struct PortId(pub u32);

/// A meter of the datapath.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct DpMeterId(pub u32);

/// New values for header bits: bits of `mask` are taken from `value`. Only fields the packet then has; checksums follow.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPatch {
    /// The new bits.
    pub value: FlowKey,
    /// Which bits.
    pub mask: FlowMask,
}

/// One datapath action.
#[derive(Clone, PartialEq, Eq)]
pub enum DpAction {
    /// Send the packet as it is now.
    Output(PortId),
    /// Queue for the outputs that follow; `None` is the port's default.
    SetQueue(Option<u32>),
    /// Rewrite header fields.
    Set(Box<KeyPatch>),
    /// IP TTL or hop limit minus one. A packet whose TTL is 0 or 1 leaves the program here with
    /// [`crate::upcall::Reason::Exception`], so that translation may look at it by itself.
    DecNwTtl,
    /// Push a tag; `tci` without the present bit.
    PushVlan {
        /// 0x8100 or 0x88a8.
        tpid: u16,
        /// Priority, DEI and VLAN id.
        tci: u16,
    },
    /// Pop the outermost tag.
    PopVlan,
    /// Push a label stack entry (`label:20 tc:3 bos:1 ttl:8`).
    PushMpls {
        /// 0x8847 or 0x8848.
        eth_type: u16,
        /// The new entry.
        lse: u32,
    },
    /// Pop the outermost entry; the rest is `eth_type`.
    PopMpls {
        /// Ethertype after the pop.
        eth_type: u16,
    },
    /// Decrement the outermost MPLS TTL (exception at 0 or 1, as [`DpAction::DecNwTtl`]).
    DecMplsTtl,
    /// Copy the TTL from the next to outermost to the outermost header with a TTL.
    CopyTtlOut,
    /// Copy the TTL from the outermost to the next to outermost header with a TTL.
    CopyTtlIn,
    /// Push an I-TAG and backbone header (the outer addresses are copies of the inner until set).
    PushPbb {
        /// I-SID in 24 bits.
        isid: u32,
    },
    /// Pop the I-TAG and backbone header.
    PopPbb,
    /// Pass through a meter; the packet may end here.
    Meter(DpMeterId),
    /// Parse the packet again and look it up with this recirculation id. Ends the list.
    Recirc(u32),
    /// The next output sends at most this many bytes.
    Trunc(u32),
    /// Hand a copy to the upcall handler ([`crate::upcall::Reason::Action`]) with this token.
    Userspace(u64),
    /// Do these on a copy.
    Clone(Vec<DpAction>),
}
