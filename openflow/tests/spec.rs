//! What OpenFlow 1.3.5 says in tables, beside ours.

use openflow::arbitrary::all_messages;
use openflow::field::{Field, Maskable, Prereq, CLASS_BASIC, FIELDS};
use openflow::msg::multipart::{PropBody, TablePropType};
use openflow::msg::*;
use openflow::{OfMessage, OfpError};
use quickcheck::{Arbitrary, Gen};
use std::collections::BTreeSet;

/// "OXM Flow match field types": number, bits, mask, and what must be matched before.
const TABLE: &[(&str, u8, u16, bool, Prereq)] = &[
    ("in_port", 0, 32, false, Prereq::None),
    ("in_phy_port", 1, 32, false, Prereq::InPort),
    ("metadata", 2, 64, true, Prereq::None),
    ("eth_dst", 3, 48, true, Prereq::None),
    ("eth_src", 4, 48, true, Prereq::None),
    ("eth_type", 5, 16, false, Prereq::None),
    ("vlan_vid", 6, 13, true, Prereq::None),
    ("vlan_pcp", 7, 3, false, Prereq::Vlan),
    ("ip_dscp", 8, 6, false, Prereq::Ip),
    ("ip_ecn", 9, 2, false, Prereq::Ip),
    ("ip_proto", 10, 8, false, Prereq::Ip),
    ("ipv4_src", 11, 32, true, Prereq::Ipv4),
    ("ipv4_dst", 12, 32, true, Prereq::Ipv4),
    ("tcp_src", 13, 16, false, Prereq::Tcp),
    ("tcp_dst", 14, 16, false, Prereq::Tcp),
    ("udp_src", 15, 16, false, Prereq::Udp),
    ("udp_dst", 16, 16, false, Prereq::Udp),
    ("sctp_src", 17, 16, false, Prereq::Sctp),
    ("sctp_dst", 18, 16, false, Prereq::Sctp),
    ("icmpv4_type", 19, 8, false, Prereq::Icmpv4),
    ("icmpv4_code", 20, 8, false, Prereq::Icmpv4),
    ("arp_op", 21, 16, false, Prereq::Arp),
    ("arp_spa", 22, 32, true, Prereq::Arp),
    ("arp_tpa", 23, 32, true, Prereq::Arp),
    ("arp_sha", 24, 48, true, Prereq::Arp),
    ("arp_tha", 25, 48, true, Prereq::Arp),
    ("ipv6_src", 26, 128, true, Prereq::Ipv6),
    ("ipv6_dst", 27, 128, true, Prereq::Ipv6),
    ("ipv6_flabel", 28, 20, true, Prereq::Ipv6),
    ("icmpv6_type", 29, 8, false, Prereq::Icmpv6),
    ("icmpv6_code", 30, 8, false, Prereq::Icmpv6),
    ("ipv6_nd_target", 31, 128, false, Prereq::Nd),
    ("ipv6_nd_sll", 32, 48, false, Prereq::NdSol),
    ("ipv6_nd_tll", 33, 48, false, Prereq::NdAdv),
    ("mpls_label", 34, 20, false, Prereq::Mpls),
    ("mpls_tc", 35, 3, false, Prereq::Mpls),
    ("mpls_bos", 36, 1, false, Prereq::Mpls),
    ("pbb_isid", 37, 24, true, Prereq::Pbb),
    ("tunnel_id", 38, 64, true, Prereq::None),
    ("ipv6_exthdr", 39, 9, true, Prereq::Ipv6),
];

/// Fields that may be masked here though the specification does not ask for it: Open vSwitch takes such masks, and people send them.
const MASKED_BESIDES: &[&str] = &[
    "tcp_src",
    "tcp_dst",
    "udp_src",
    "udp_dst",
    "sctp_src",
    "sctp_dst",
    "ipv6_nd_target",
    "ipv6_nd_sll",
    "ipv6_nd_tll",
];

#[test]
fn the_forty_fields_are_as_specified() {
    assert_eq!(TABLE.len(), 40);
    for (name, number, bits, mask, prereq) in TABLE {
        let f = Field::from_wire(CLASS_BASIC, *number, 0).unwrap_or_else(|| panic!("no {name}"));
        let d = f.def();
        assert_eq!((d.name, d.bits, d.prereq), (*name, *bits, *prereq));
        assert_eq!(d.maskable == Maskable::Any, *mask || MASKED_BESIDES.contains(name), "mask of {name}");
    }
    // PBB_UCA is 1.4's, in the class of the others.
    assert_eq!(FIELDS.iter().filter(|d| d.class == CLASS_BASIC).count(), 41);
}

#[test]
fn every_error_of_the_specification_has_its_number() {
    // How many codes each type has, from 0 on without a gap.
    let codes = [2, 14, 16, 9, 12, 8, 15, 5, 3, 3, 3, 3, 12, 6];
    for (kind, n) in codes.into_iter().enumerate() {
        let have: Vec<u16> = OfpError::ALL_NAMED
            .iter()
            .map(|(e, _, _)| e)
            .filter(|e| usize::from(e.kind) == kind && e.experimenter == 0)
            .map(|e| e.code)
            .collect();
        assert_eq!(have, (0..n).collect::<Vec<u16>>(), "codes of type {kind}");
    }
    // Of ONF's bundles.
    assert_eq!(OfpError::ALL_NAMED.iter().filter(|(e, _, _)| e.experimenter == 0x4f4e_4600).count(), 16);
}

/// The parts of messages that have kinds of their own are all among what the other tests generate.
#[test]
fn generated_messages_have_every_kind_of_part() {
    let g = &mut Gen::from_size_and_seed(12, 5);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut see = |what: &str, n: u32| {
        seen.insert(format!("{what} {n:#x}"));
    };
    for m in all_messages().into_iter().chain((0..8000).map(|_| OfMessage::arbitrary(g))) {
        match m.body {
            Message::Hello(h) => h.elements.iter().for_each(|e| match e {
                HelloElement::VersionBitmap(_) => see("hello", 1),
                HelloElement::Unknown { .. } => see("hello", 0xffff),
            }),
            Message::Error(e) => see("error type", e.error.kind.into()),
            Message::MeterMod(m) => m.bands.iter().for_each(|b| see("band", b.kind().0.into())),
            Message::QueueGetConfigReply(r) => r.queues.iter().flat_map(|q| &q.properties).for_each(|p| {
                see(
                    "queue property",
                    match p {
                        QueueProp::MinRate(_) => 1,
                        QueueProp::MaxRate(_) => 2,
                        QueueProp::Experimenter { .. } => 0xffff,
                        QueueProp::Unknown { .. } => 0x77,
                    },
                )
            }),
            Message::MultipartRequest(MultipartRequest { body: RequestBody::TableFeatures(t), .. })
            | Message::MultipartReply(MultipartReply { body: ReplyBody::TableFeatures(t), .. }) => {
                for p in t.iter().flat_map(|t| &t.properties) {
                    see("table property", p.kind.0.into());
                    assert_eq!(
                        matches!(p.body, PropBody::Unknown(_)),
                        TablePropType::ALL_NAMED.iter().all(|(k, ..)| *k != p.kind),
                        "{:?}",
                        p.kind
                    );
                }
            }
            Message::Nicira(NxMessage::PacketIn2(p)) => p.properties.iter().for_each(|p| {
                see(
                    "packet-in property",
                    match p {
                        NxPacketInProp::Packet(_) => 0,
                        NxPacketInProp::FullLen(_) => 1,
                        NxPacketInProp::BufferId(_) => 2,
                        NxPacketInProp::TableId(_) => 3,
                        NxPacketInProp::Cookie(_) => 4,
                        NxPacketInProp::Reason(_) => 5,
                        NxPacketInProp::Metadata(_) => 6,
                        NxPacketInProp::Userdata(_) => 7,
                        NxPacketInProp::Continuation(_) => 8,
                        NxPacketInProp::Unknown { .. } => 0x77,
                    },
                )
            }),
            _ => {}
        }
    }
    let mut want: Vec<(&str, u32)> =
        vec![("hello", 1), ("hello", 0xffff), ("band", 1), ("band", 2), ("band", 0xffff)];
    want.extend((0..14).map(|n| ("error type", n)));
    want.extend([1, 2, 0xffff, 0x77].map(|n| ("queue property", n)));
    want.extend((0..9).chain([0x77]).map(|n| ("packet-in property", n)));
    // Every property of "Table features properties": instructions, next tables, write and apply actions and their misses, match, wildcards,
    // write and apply set-field and their misses, experimenter.
    want.extend(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 0xfffe, 0xffff].map(|n| ("table property", n)),
    );
    assert_eq!(TablePropType::ALL_NAMED.len(), 16);
    let missing: Vec<_> = want.iter().filter(|(w, n)| !seen.contains(&format!("{w} {n:#x}"))).collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
}
