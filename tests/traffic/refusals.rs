//! What the switch executes is seen back exactly as it was sent; what it does not execute is read, printed, and refused with the proper error,
//! and changes nothing.

use openflow::action::Action;
use openflow::field::{Field, ONF_EXPERIMENTER};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest};
use openflow::msg::*;
use openflow::text::{parse_flow, print, NoNames};
use openflow::{Instruction, Match, MeterId, OfMessage, OfpError, PortNo, Xid};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::controller::{ofpt, Peer};
use tests::shared;
use tests::switch::Lab;

const SECOND: Duration = Duration::from_secs(1);

/// Sends a message and a barrier: the error that came before the barrier's reply, if one did, and the message it quotes.
fn ask(peer: &mut Peer, body: &Message) -> Option<OfpError> {
    let bytes = OfMessage::new(0u32, body.clone()).to_bytes().expect("fits");
    let xid = peer.send(bytes[1], &bytes[8..]);
    let barrier = peer.send(ofpt::BARRIER_REQUEST, &[]);
    let m = peer.expect("an answer", 10 * SECOND, |m| {
        m.kind == ofpt::ERROR || m.kind == ofpt::BARRIER_REPLY && m.xid == barrier
    });
    if m.kind == ofpt::BARRIER_REPLY {
        return None;
    }
    assert_eq!(m.xid, xid, "the error is of the request");
    let quoted = &m.body[4..];
    let sent = bytes.len().min(quoted.len());
    assert!(quoted.len() >= bytes.len().min(64), "at least 64 bytes are quoted, not {}", quoted.len());
    assert_eq!(quoted[8..sent], bytes[8..sent], "the request is quoted");
    peer.expect("the barrier's reply after the error", 10 * SECOND, |m| {
        m.kind == ofpt::BARRIER_REPLY && m.xid == barrier
    });
    let n = |at: usize| u16::from_be_bytes([m.body[at], m.body[at + 1]]);
    Some(OfpError { kind: n(0), code: n(2), experimenter: 0 })
}

/// All flow entries.
fn flows(peer: &mut Peer) -> Vec<FlowStats> {
    let all = MultipartRequest::new(RequestBody::Flow(FlowStatsRequest::default()));
    let bytes = OfMessage::new(0u32, all).to_bytes().expect("fits");
    let xid = peer.send(bytes[1], &bytes[8..]);
    let mut out = Vec::new();
    loop {
        let m = peer.expect("flow statistics", 10 * SECOND, |m| m.xid == xid);
        let len = (8 + m.body.len()) as u16;
        let whole = [&[4, m.kind][..], &len.to_be_bytes(), &xid.to_be_bytes(), &m.body].concat();
        let Message::MultipartReply(r) = OfMessage::parse(&whole).expect("a message").body else {
            panic!("{m:?}")
        };
        let more = r.flags.contains(multipart::MultipartFlags::MORE);
        let ReplyBody::Flow(f) = r.body else { panic!("{r:?}") };
        out.extend(f);
        if !more {
            return out;
        }
    }
}

/// Every kind of action, in an entry that may hold it, and what is answered; "" is accepted.
const FLOWS: &[(&str, &str)] = &[
    ("actions=output:2", ""),
    ("actions=output:1,FLOOD,ALL,IN_PORT,NORMAL,LOCAL,controller:128", ""),
    ("ip,actions=copy_ttl_out,copy_ttl_in,set_queue:3,pop_queue,group:1", ""),
    ("ip,actions=mod_nw_ttl:4,dec_ttl,dec_ttl(0,1),set_field:10.0.0.9->ip_src", ""),
    ("mpls,actions=set_mpls_ttl(9),dec_mpls_ttl,pop_mpls:0x0800", ""),
    ("actions=push_vlan:0x8100,set_field:4101->vlan_vid,output:2", ""),
    ("actions=push_vlan:0x88a8,push_mpls:0x8847,output:2", ""),
    ("vlan_tci=0x1000/0x1000,actions=pop_vlan,output:2", ""),
    ("actions=push_pbb:0x88e7,output:2", ""),
    ("dl_type=0x88e7,actions=pop_pbb,output:2", ""),
    ("actions=resubmit(,2),resubmit:3,exit,note:01.02.03.04.05.06", ""),
    ("actions=load:0x5->NXM_NX_REG0[0..7],move:NXM_NX_REG0[0..15]->NXM_NX_REG1[4..19]", ""),
    ("actions=set_field:0x5/0xff->reg3,push:NXM_NX_REG0[],pop:NXM_NX_REG1[],output:NXM_NX_REG5[0..15]", ""),
    ("actions=output(port=2,max_len=100),set_tunnel:0x11,write_metadata:0x5/0xf", ""),
    ("actions=multipath(symmetric_l4,50,modulo_n,4,0,NXM_NX_REG0[0..15])", ""),
    ("actions=bundle(eth_src,60,active_backup,ofport,members:2,3)", ""),
    ("actions=learn(table=9,idle_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])", ""),
    ("ip,actions=conjunction(6,2/3)", ""),
    ("actions=controller(reason=action,max_len=99,id=5,userdata=01.02.03)", ""),
    ("tcp,actions=fin_timeout(idle_timeout=5,hard_timeout=6)", ""),
    ("actions=clone(output:2,set_field:02:00:00:00:00:01->eth_dst)", ""),
    ("actions=meter:1,write_metadata:0x5/0xff,goto_table:3", ""),
    ("actions=clear_actions,write_actions(group:1)", ""),
    // Not executed yet.
    ("ip,actions=ct(commit)", "OFPBAC_BAD_EXP_TYPE"),
    ("ip,actions=ct(table=2,zone=9,nat)", "OFPBAC_BAD_EXP_TYPE"),
    ("tcp,actions=ct(commit,nat(src=10.0.0.1-10.0.0.9:80-90),alg=ftp)", "OFPBAC_BAD_EXP_TYPE"),
    ("actions=ct_clear", "OFPBAC_BAD_EXP_TYPE"),
    ("actions=resubmit(,5,ct)", "OFPBAC_BAD_ARGUMENT"),
    ("actions=check_pkt_larger(1500)->NXM_NX_REG0[3]", "OFPBAC_BAD_EXP_TYPE"),
    ("actions=encap(nsh)", "OFPBAC_BAD_EXP_TYPE"),
    ("actions=decap()", "OFPBAC_BAD_EXP_TYPE"),
    ("dl_type=0x894f,actions=dec_nsh_ttl", "OFPBAC_BAD_EXP_TYPE"),
    ("actions=delete_field:reg0", "OFPBAC_BAD_EXP_TYPE"),
    (
        "actions=sample(probability=9,collector_set_id=1,obs_domain_id=2,obs_point_id=3)",
        "OFPBAC_BAD_EXP_TYPE",
    ),
    ("ip,actions=clone(ct(commit))", "OFPBAC_BAD_EXP_TYPE"),
    ("ip,actions=write_actions(ct(commit))", "OFPBAC_BAD_EXP_TYPE"),
    // Of others, and unknown.
    ("actions=experimenter(id=0xabcdef,data=0000000000000000)", "OFPBAC_BAD_EXPERIMENTER"),
    ("actions=unknown(type=99,data=00000000)", "OFPBAC_BAD_TYPE"),
    ("actions=instruction(type=9,data=01020304)", "OFPBIC_UNKNOWN_INST"),
    ("actions=set_field:5->tun_gbp_id", "OFPBAC_BAD_SET_TYPE"),
    ("actions=load:5->NXM_NX_TUN_GBP_ID[]", "OFPBAC_BAD_SET_TYPE"),
];

/// The name of an action's kind. Does not compile when a kind is added and not named.
fn kind(a: &Action) -> &'static str {
    macro_rules! names {
        ($($v:ident)*) => {
            match a { $(Action::$v { .. } => stringify!($v),)* }
        };
    }
    names! {
        Output CopyTtlOut CopyTtlIn SetMplsTtl DecMplsTtl PushVlan PopVlan PushMpls PopMpls SetQueue Group SetNwTtl DecNwTtl SetField PushPbb
        PopPbb Experimenter Unknown Resubmit RegMove RegLoad RegLoad2 StackPush StackPop OutputReg OutputTrunc SetTunnel PopQueue Multipath
        Bundle Learn Conjunction Controller Note Exit FinTimeout Sample DecTtlCntIds WriteMetadata Ct Nat CtClear Clone CheckPktLarger Encap
        Decap DecNshTtl DeleteField
    }
}
const KINDS: usize = 48;

fn kinds_in(list: &[Action], seen: &mut BTreeSet<&'static str>) {
    for a in list {
        seen.insert(kind(a));
        match a {
            Action::Clone(inner) => kinds_in(inner, seen),
            Action::Ct(ct) => kinds_in(&ct.actions, seen),
            _ => {}
        }
    }
}

#[test]
fn every_action_comes_back_as_sent_or_is_refused_with_its_error() {
    let _quiet = shared();
    let lab = Lab::new(2, &[]);
    lab.switch.ofctl(&["add-group", "br0", "group_id=1,type=all,bucket=actions=output:1"]);
    lab.switch.ofctl(&["add-meter", "br0", "meter=1,kbps,bands=type=drop,rate=1000"]);
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut accepted: Vec<FlowMod> = Vec::new();
    let mut all: Vec<(FlowMod, &str)> = Vec::new();
    for (text, want) in FLOWS {
        let text = format!("table=1,{text}");
        let f = parse_flow(&text, FlowModCommand::ADD, &NoNames).unwrap_or_else(|e| panic!("{text}: {e}"));
        all.push((f, want));
    }
    // These the text says in other ways.
    for a in [
        Action::SetTunnel(0x11),
        Action::SetTunnel(0x11_0000_0000),
        Action::WriteMetadata { metadata: 5, mask: 0xf },
    ] {
        let instructions = [Instruction::ApplyActions(vec![a])].into_iter().collect();
        all.push((FlowMod { table_id: 1.into(), instructions, ..Default::default() }, ""));
    }
    for (i, (flow, want)) in all.into_iter().enumerate() {
        let flow = FlowMod { priority: 100 + i as u16, cookie: 0xc00 + i as u64, ..flow };
        let text = flow.to_string();
        for i in &flow.instructions {
            if let Instruction::ApplyActions(a) | Instruction::WriteActions(a) = i {
                kinds_in(a, &mut seen);
            }
        }
        let got = ask(&mut peer, &flow.clone().into()).map_or(String::new(), print::error_name);
        if got != want {
            wrong.push(format!("{text}: {got:?} instead of {want:?}"));
        }
        if got.is_empty() {
            accepted.push(flow);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.len(), KINDS, "only {seen:?} were tried");
    let there = flows(&mut peer);
    assert_eq!(there.len(), accepted.len(), "refused entries are there: {there:?}");
    for f in accepted {
        let back = there.iter().find(|b| b.cookie == f.cookie).expect("the entry");
        assert_eq!((&back.matching, &back.instructions), (&f.matching, &f.instructions));
        assert_eq!((back.priority, back.table_id), (f.priority, f.table_id));
    }
}

/// Fields that the switch does not know on packets yet: matches on them are refused.
const NOT_MATCHED: &[Field] = &[
    Field::TunGbpId,
    Field::TunGbpFlags,
    Field::TunFlags,
    Field::TunIpv6Src,
    Field::TunIpv6Dst,
    Field::CtNwProto,
    Field::CtNwSrc,
    Field::CtNwDst,
    Field::CtIpv6Src,
    Field::CtIpv6Dst,
    Field::CtTpSrc,
    Field::CtTpDst,
    Field::NshFlags,
    Field::NshMdtype,
    Field::NshNp,
    Field::NshSpi,
    Field::NshSi,
    Field::NshC1,
    Field::NshC2,
    Field::NshC3,
    Field::NshC4,
    Field::NshTtl,
];

#[test]
fn every_field_comes_back_as_sent_or_is_refused_with_its_error() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    let mut sent: Vec<FlowMod> = Vec::new();
    for (i, d) in openflow::field::FIELDS.iter().enumerate() {
        let value = match d.field {
            Field::EthType => 0x1234,
            Field::VlanVid | Field::VlanTci => 0x1005,
            Field::Icmpv6Type => 135,
            _ => 1,
        };
        for masked in [false, true] {
            let mut m = openflow::arbitrary::prerequisites(d.field);
            let full = d.full_mask();
            let mask = masked.then_some(if full > 1 { full >> 1 | value } else { full });
            m.fields.push(openflow::OxmField { field: d.field, value, mask }.into());
            let may = !masked || d.maskable == openflow::field::Maskable::Any || mask == Some(full);
            let want = match () {
                () if !may => Some(OfpError::OFPBMC_BAD_MASK),
                () if NOT_MATCHED.contains(&d.field) => Some(OfpError::OFPBMC_BAD_FIELD),
                () => None,
            };
            let cookie = 2 * i as u64 + u64::from(masked);
            let flow = FlowMod { cookie, priority: cookie as u16, matching: m, ..Default::default() };
            let got = ask(&mut peer, &flow.clone().into());
            assert_eq!(got, want, "{} {}", d.name, if masked { "masked" } else { "exact" });
            if got.is_none() {
                sent.push(flow);
            }
            // Without what must be matched before it.
            if d.prereq != openflow::field::Prereq::None && !masked {
                let alone = Match::new().with(d.field, value);
                let got = ask(&mut peer, &FlowMod { matching: alone, ..Default::default() }.into());
                assert_eq!(got, Some(OfpError::OFPBMC_BAD_PREREQ), "{} alone", d.name);
            }
        }
    }
    let there = flows(&mut peer);
    assert_eq!(there.len(), sent.len());
    for f in sent {
        let back = there.iter().find(|b| b.cookie == f.cookie).expect("the entry");
        assert_eq!(back.matching, f.matching);
    }
}

#[test]
fn messages_that_the_switch_does_not_execute_are_refused_with_their_error() {
    let _quiet = shared();
    let lab = Lab::new(1, &[]);
    let mut peer = Peer::connect(&lab.switch.run_dir().join("br0.mgmt"));
    let ct = || vec![Action::CtClear];
    let other = |experimenter| Experimenter { experimenter, exp_type: 77, data: vec![1, 2, 3, 4].into() };
    let multipart = |experimenter| {
        MultipartRequest::new(RequestBody::Experimenter {
            experimenter,
            exp_type: 77,
            data: vec![0; 8].into(),
        })
    };
    let bucket = openflow::group::Bucket::new(ct());
    let band = openflow::meter::MeterBand::Experimenter {
        rate: 1,
        burst_size: 0,
        experimenter: 0xabcdef,
        body: vec![0; 8],
    };
    let nicira = openflow::field::NICIRA_EXPERIMENTER;
    for (m, want) in [
        (other(0xabcdef).into(), OfpError::OFPBRC_BAD_EXPERIMENTER),
        (other(ONF_EXPERIMENTER).into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (multipart(0xabcdef).into(), OfpError::OFPBRC_BAD_EXPERIMENTER),
        (multipart(ONF_EXPERIMENTER).into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (multipart(nicira).into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (
            NxMessage::Other { subtype: NxType(4711), data: Default::default() }.into(),
            OfpError::OFPBRC_BAD_EXP_TYPE,
        ),
        (NxMessage::TlvTableRequest.into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (NxMessage::TlvTableMod { command: 0, maps: vec![] }.into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (NxMessage::CtFlushZone(8).into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (NxMessage::FlowAge.into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (NxMessage::Resume(NxPacketIn2 { properties: vec![] }).into(), OfpError::OFPBRC_BAD_EXP_TYPE),
        (Message::FlowMonitorPaused, OfpError::OFPBRC_BAD_EXP_TYPE),
        (
            PacketOut {
                buffer_id: OFP_NO_BUFFER,
                in_port: PortNo::CONTROLLER,
                actions: ct(),
                data: vec![0; 60].into(),
            }
            .into(),
            OfpError::OFPBAC_BAD_EXP_TYPE,
        ),
        (
            GroupMod {
                command: GroupModCommand::ADD,
                kind: openflow::group::GroupType::ALL,
                group_id: 5.into(),
                buckets: vec![bucket],
            }
            .into(),
            OfpError::OFPBAC_BAD_EXP_TYPE,
        ),
        (
            MeterMod {
                command: MeterModCommand::ADD,
                flags: openflow::meter::MeterFlags::KBPS,
                meter_id: MeterId(5),
                bands: vec![band],
            }
            .into(),
            OfpError::OFPMMFC_BAD_BAND,
        ),
        // What only a switch says.
        (Message::BarrierReply, OfpError::OFPBRC_BAD_TYPE),
        (
            Message::RoleReply(Role { role: ControllerRole::MASTER, generation_id: 1 }),
            OfpError::OFPBRC_BAD_TYPE,
        ),
    ] {
        assert_eq!(ask(&mut peer, &m), Some(want), "{m:?}");
    }
    // In a bundle: the message's error, then the commit's, and nothing done.
    let control = |kind| {
        Message::from(BundleControl { bundle_id: 1, kind, flags: BundleFlags::ATOMIC, properties: vec![] })
    };
    assert_eq!(ask(&mut peer, &control(BundleCtrlType::OPEN_REQUEST)), None);
    for text in ["priority=1,ip,actions=output:1", "priority=2,ip,actions=ct(commit)"] {
        let flow = parse_flow(text, FlowModCommand::ADD, &NoNames).expect(text);
        // The message inside has the xid of the one around it, which the peer chooses.
        let xid = Xid(peer.next_xid());
        let message = Box::new(OfMessage::new(xid, flow));
        let add = BundleAdd { bundle_id: 1, flags: BundleFlags::ATOMIC, message, properties: vec![] };
        let bytes = OfMessage::new(xid, add).to_bytes().expect("fits");
        assert_eq!(peer.send(bytes[1], &bytes[8..]), xid.0);
    }
    let bytes = OfMessage::new(0u32, control(BundleCtrlType::COMMIT_REQUEST)).to_bytes().expect("fits");
    let commit = peer.send(bytes[1], &bytes[8..]);
    let m = peer.expect("the error of ct", 10 * SECOND, |m| m.kind == ofpt::ERROR);
    assert_eq!(m.body[..4], [0, 2, 0, 3], "OFPBAC_BAD_EXP_TYPE: {m:?}");
    let m = peer.expect("the error of the commit", 10 * SECOND, |m| m.xid == commit);
    assert_eq!(m.kind, ofpt::ERROR, "{m:?}");
    assert!(flows(&mut peer).is_empty(), "a refused bundle has left something");
}
