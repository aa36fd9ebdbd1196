//! What goes out comes back, what is cut short is refused, and nothing from the wire can panic.

use bytes::BytesMut;
use openflow::action::Action;
use openflow::arbitrary::{all_actions, all_instructions, all_messages};
use openflow::header::HEADER_LEN;
use openflow::msg::multipart::{MultipartFlags, TableStats};
use openflow::msg::*;
use openflow::wire::{Reader, Writer};
use openflow::{Instruction, Match, OfMessage, Oxm, TableId};
use quickcheck::{Arbitrary, Gen, QuickCheck};

fn emit(m: &OfMessage) -> BytesMut {
    let mut b = BytesMut::new();
    m.emit(&mut b).unwrap();
    b
}

/// Everything a message must keep: round trip, length, every prefix refused with the error inside it.
fn holds(m: &OfMessage) -> bool {
    let b = emit(m);
    let back = OfMessage::parse(&b).unwrap_or_else(|e| panic!("{e}\n{m:?}\n{:02x?}", &b[..]));
    assert_eq!(&back, m, "{:02x?}", &b[..]);
    assert_eq!(u16::from_be_bytes([b[2], b[3]]) as usize, b.len());
    for cut in 0..b.len() {
        let e = OfMessage::parse(&b[..cut]).expect_err("a prefix");
        assert!(e.offset <= cut);
        // Cut short with a header that says so: refused, or a shorter list. Either way no panic, no lost place.
        if cut >= HEADER_LEN {
            let mut short = b[..cut].to_vec();
            short[2..4].copy_from_slice(&(cut as u16).to_be_bytes());
            stable(&short);
        }
    }
    true
}

/// Whatever parses is said again in bytes that mean the same; whatever does not is placed inside the buffer.
fn stable(b: &[u8]) {
    match OfMessage::parse(b) {
        Ok(m) => {
            let again = emit(&m);
            assert_eq!(OfMessage::parse(&again).as_ref(), Ok(&m), "{b:02x?}\n{:02x?}", &again[..]);
        }
        Err(e) => assert!(e.offset <= b.len(), "{e} of {}", b.len()),
    }
}

fn check<A: Arbitrary + std::fmt::Debug>(tests: u64, f: fn(A) -> bool) {
    QuickCheck::new().tests(tests).rng(Gen::new(20)).quickcheck(f as fn(A) -> bool)
}

#[test]
fn every_sample_round_trips_and_its_prefixes_are_refused() {
    for m in all_messages() {
        holds(&m);
    }
}

#[test]
fn every_generated_message_round_trips_and_its_prefixes_are_refused() {
    check(2000, |m: OfMessage| holds(&m));
}

#[test]
fn every_generated_match_action_and_instruction_round_trips() {
    check(5000, |m: Match| {
        let mut b = BytesMut::new();
        m.emit(&mut Writer::new(&mut b));
        b.len().is_multiple_of(8) && Match::parse(&mut Reader::new(&b)).unwrap() == m
    });
    check(5000, |o: Oxm| {
        let mut b = BytesMut::new();
        o.emit(&mut Writer::new(&mut b));
        Oxm::parse(&mut Reader::new(&b)).unwrap() == o
    });
    check(10000, |a: Action| {
        let mut b = BytesMut::new();
        a.emit(&mut Writer::new(&mut b));
        let mut r = Reader::new(&b);
        b.len().is_multiple_of(8) && Action::parse(&mut r).unwrap() == a && r.is_empty()
    });
    check(3000, |i: Instruction| {
        let mut b = BytesMut::new();
        i.emit(&mut Writer::new(&mut b));
        let mut r = Reader::new(&b);
        b.len().is_multiple_of(8) && Instruction::parse(&mut r).unwrap() == i && r.is_empty()
    });
}

#[test]
fn changed_bytes_never_panic_and_what_parses_is_stable() {
    check(3000, |(m, changes): (OfMessage, Vec<(usize, u8)>)| {
        let mut b = emit(&m).to_vec();
        for (at, v) in changes {
            let at = at % b.len();
            if !(2..4).contains(&at) {
                b[at] = v;
                stable(&b);
            }
        }
        true
    });
}

/// Names of variants, with a match that does not compile when one is added and not named here.
macro_rules! variants {
    ($f:ident, $t:ident, $($v:ident),* $(,)?) => {
        fn $f(x: &$t) -> usize {
            #[allow(non_camel_case_types)]
            enum Index { $($v),* }
            match x { $($t::$v { .. } => Index::$v as usize,)* }
        }
        impl Named for $t { const NAMES: &'static [&'static str] = &[$(stringify!($v)),*]; }
    };
}
trait Named {
    const NAMES: &'static [&'static str];
}
variants!(
    message_index,
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
    request_index,
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
    reply_index,
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
    nx_index,
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
    action_index,
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
    instruction_index,
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

fn all_there<'a, T: Named + 'a>(index: fn(&T) -> usize, items: impl Iterator<Item = &'a T>) {
    let mut missing = vec![true; T::NAMES.len()];
    items.for_each(|x| missing[index(x)] = false);
    let missing: Vec<_> = T::NAMES.iter().zip(missing).filter(|(_, m)| *m).map(|(n, _)| n).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
}

#[test]
fn the_lists_of_samples_forget_nothing() {
    let all = all_messages();
    let bodies = || all.iter().map(|m| &m.body);
    all_there(message_index, bodies());
    all_there(
        request_index,
        bodies().filter_map(|m| if let Message::MultipartRequest(r) = m { Some(&r.body) } else { None }),
    );
    all_there(
        reply_index,
        bodies().filter_map(|m| if let Message::MultipartReply(r) = m { Some(&r.body) } else { None }),
    );
    all_there(nx_index, bodies().filter_map(|m| if let Message::Nicira(n) = m { Some(n) } else { None }));
    all_there(action_index, all_actions().iter());
    all_there(instruction_index, all_instructions().iter());
}

#[test]
fn a_long_reply_goes_out_in_parts_that_come_together_again() {
    let tables: Vec<_> = (0..20_000u32)
        .map(|n| TableStats { table_id: TableId(n as u8), active_count: n, ..Default::default() })
        .collect();
    let m = OfMessage::new(7, MultipartReply::new(ReplyBody::Table(tables.clone())));
    let out = emit(&m);
    let mut reassembler = multipart::Reassembler::new(1 << 20);
    let (mut rest, mut parts) = (&out[..], 0);
    let whole = loop {
        let len = u16::from_be_bytes([rest[2], rest[3]]) as usize;
        let (part, after) = rest.split_at(len);
        rest = after;
        parts += 1;
        let m = OfMessage::parse(part).unwrap();
        assert_eq!(m.xid.0, 7);
        let Message::MultipartReply(r) = m.body else { panic!() };
        assert_eq!(r.flags.contains(MultipartFlags::MORE), !rest.is_empty());
        if let Some(whole) = reassembler.reply(m.xid, r, len).unwrap() {
            break whole;
        }
    };
    assert_eq!(whole, ReplyBody::Table(tables));
    assert!(rest.is_empty());
    assert_eq!(parts, 20_000usize.div_ceil((65535 - 16) / 24));
}

#[test]
fn a_structure_that_fits_no_message_is_said_to_be_too_long() {
    let m = OfMessage::new(1, Message::EchoRequest(Echo { data: vec![0; 65528].into() }));
    let mut out = BytesMut::from(&b"before"[..]);
    assert_eq!(m.emit(&mut out), Err(TooLong));
    assert_eq!(&out[..], b"before");
    let m = OfMessage::new(1, Message::EchoRequest(Echo { data: vec![0; 65527].into() }));
    assert_eq!(emit(&m).len(), 65535);
}

#[test]
fn nests_are_bounded() {
    let mut a = Action::Exit;
    for _ in 0..16 {
        a = Action::Clone(vec![a]);
    }
    let parse = |a: &Action| {
        let mut b = BytesMut::new();
        a.emit(&mut Writer::new(&mut b));
        Action::parse(&mut Reader::new(&b))
    };
    assert_eq!(parse(&a).as_ref(), Ok(&a));
    let e = parse(&Action::Clone(vec![a])).unwrap_err();
    assert_eq!(e.code, openflow::OfpError::OFPBAC_TOO_MANY);
}
