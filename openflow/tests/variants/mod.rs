//! The kinds of everything, for tests that must not forget one.
#![allow(dead_code, missing_docs)]

use openflow::action::Action;
use openflow::msg::{Message, NxMessage, ReplyBody, RequestBody};
use openflow::Instruction;
use std::collections::BTreeSet;

/// Names of variants, with a match that does not compile when one is added and not named here.
macro_rules! variants {
    ($f:ident, $t:ident, $($v:ident),* $(,)?) => {
        pub fn $f(x: &$t) -> &'static str {
            match x { $($t::$v { .. } => concat!(stringify!($t), "::", stringify!($v)),)* }
        }
        impl Named for $t {
            const NAMES: &'static [&'static str] = &[$(concat!(stringify!($t), "::", stringify!($v))),*];
        }
    };
}
trait Named {
    const NAMES: &'static [&'static str];
}
variants!(
    message,
    Message,
    Hello,
    Error,
    EchoRequest,
    EchoReply,
    Experimenter,
    FeaturesRequest,
    FeaturesReply,
    GetConfigRequest,
    GetConfigReply,
    SetConfig,
    PacketIn,
    FlowRemoved,
    PortStatus,
    PacketOut,
    FlowMod,
    GroupMod,
    PortMod,
    TableMod,
    MultipartRequest,
    MultipartReply,
    BarrierRequest,
    BarrierReply,
    QueueGetConfigRequest,
    QueueGetConfigReply,
    RoleRequest,
    RoleReply,
    GetAsyncRequest,
    GetAsyncReply,
    SetAsync,
    MeterMod,
    BundleControl,
    BundleAdd,
    FlowMonitorCancel,
    FlowMonitorPaused,
    FlowMonitorResumed,
    Nicira,
);
variants!(
    request,
    RequestBody,
    Desc,
    Flow,
    Aggregate,
    Table,
    PortStats,
    Queue,
    Group,
    GroupDesc,
    GroupFeatures,
    Meter,
    MeterConfig,
    MeterFeatures,
    TableFeatures,
    PortDesc,
    FlowMonitor,
    NxFlowMonitor,
    Experimenter,
);
variants!(
    reply,
    ReplyBody,
    Desc,
    Flow,
    Aggregate,
    Table,
    PortStats,
    Queue,
    Group,
    GroupDesc,
    GroupFeatures,
    Meter,
    MeterConfig,
    MeterFeatures,
    TableFeatures,
    PortDesc,
    FlowMonitor,
    NxFlowMonitor,
    Experimenter,
);
variants!(
    nicira,
    NxMessage,
    RoleRequest,
    RoleReply,
    SetFlowFormat,
    FlowModTableId,
    SetPacketInFormat,
    PacketIn,
    FlowAge,
    SetAsyncConfig,
    SetControllerId,
    FlowMonitorCancel,
    FlowMonitorPaused,
    FlowMonitorResumed,
    TlvTableMod,
    TlvTableRequest,
    TlvTableReply,
    PacketIn2,
    Resume,
    CtFlushZone,
    Other,
);
variants!(
    action,
    Action,
    Output,
    CopyTtlOut,
    CopyTtlIn,
    SetMplsTtl,
    DecMplsTtl,
    PushVlan,
    PopVlan,
    PushMpls,
    PopMpls,
    SetQueue,
    Group,
    SetNwTtl,
    DecNwTtl,
    SetField,
    PushPbb,
    PopPbb,
    Experimenter,
    Unknown,
    Resubmit,
    RegMove,
    RegLoad,
    RegLoad2,
    StackPush,
    StackPop,
    OutputReg,
    OutputTrunc,
    SetTunnel,
    PopQueue,
    Multipath,
    Bundle,
    Learn,
    Conjunction,
    Controller,
    Note,
    Exit,
    FinTimeout,
    Sample,
    DecTtlCntIds,
    WriteMetadata,
    Ct,
    Nat,
    CtClear,
    Clone,
    CheckPktLarger,
    Encap,
    Decap,
    DecNshTtl,
    DeleteField,
);
variants!(
    instruction,
    Instruction,
    GotoTable,
    WriteMetadata,
    WriteActions,
    ApplyActions,
    ClearActions,
    Meter,
    Experimenter,
    Unknown,
);

/// Which kinds were seen.
#[derive(Default)]
pub struct Seen(BTreeSet<&'static str>);

impl Seen {
    pub fn message(&mut self, m: &Message) {
        self.0.insert(message(m));
        match m {
            Message::MultipartRequest(r) => {
                self.0.insert(request(&r.body));
            }
            Message::MultipartReply(r) => {
                self.0.insert(reply(&r.body));
                match &r.body {
                    ReplyBody::Flow(f) => {
                        f.iter().flat_map(|f| &f.instructions).for_each(|i| self.instruction(i))
                    }
                    ReplyBody::GroupDesc(g) => {
                        g.iter()
                            .flat_map(|g| &g.buckets)
                            .flat_map(|b| &b.actions)
                            .for_each(|a| self.action(a));
                    }
                    _ => {}
                }
            }
            Message::Nicira(n) => {
                self.0.insert(nicira(n));
            }
            Message::FlowMod(f) => f.instructions.iter().for_each(|i| self.instruction(i)),
            Message::GroupMod(g) => g.buckets.iter().flat_map(|b| &b.actions).for_each(|a| self.action(a)),
            Message::PacketOut(p) => p.actions.iter().for_each(|a| self.action(a)),
            Message::BundleAdd(b) => self.message(&b.message.body),
            _ => {}
        }
    }
    pub fn instruction(&mut self, i: &Instruction) {
        self.0.insert(instruction(i));
        if let Instruction::WriteActions(a) | Instruction::ApplyActions(a) = i {
            a.iter().for_each(|a| self.action(a));
        }
    }
    pub fn action(&mut self, a: &Action) {
        self.0.insert(action(a));
        match a {
            Action::Clone(inner) => inner.iter().for_each(|a| self.action(a)),
            Action::Ct(ct) => ct.actions.iter().for_each(|a| self.action(a)),
            _ => {}
        }
    }
    /// The kinds that were not seen.
    pub fn missing(&self) -> Vec<&'static str> {
        let all = [
            Message::NAMES,
            RequestBody::NAMES,
            ReplyBody::NAMES,
            NxMessage::NAMES,
            Action::NAMES,
            Instruction::NAMES,
        ];
        all.into_iter().flatten().copied().filter(|n| !self.0.contains(n)).collect()
    }
    /// Asserts that exactly these kinds were not seen.
    pub fn lacks_only(&self, known: &[&str]) {
        let missing: BTreeSet<&str> = self.missing().into_iter().collect();
        let known: BTreeSet<&str> = known.iter().copied().collect();
        assert_eq!(missing, known, "forgotten (left), or there by now (right)");
    }
}
