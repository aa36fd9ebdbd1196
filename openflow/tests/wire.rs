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

mod variants;

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

#[test]
fn the_lists_of_samples_forget_nothing() {
    let mut seen = variants::Seen::default();
    all_messages().iter().for_each(|m| seen.message(&m.body));
    all_actions().iter().for_each(|a| seen.action(a));
    all_instructions().iter().for_each(|i| seen.instruction(i));
    let missing = seen.missing();
    assert!(missing.is_empty(), "no sample of {missing:?}");
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

/// Every multipart that is a list goes out in parts of at most 65535 bytes, all but the last flagged MORE, and comes together again.
#[test]
fn every_long_multipart_comes_together_again() {
    let g = &mut Gen::from_size_and_seed(8, 3);
    let mut done = std::collections::BTreeSet::new();
    for m in all_messages() {
        let long = match m.body {
            Message::MultipartRequest(r) => {
                let body = match r.body {
                    RequestBody::TableFeatures(_) => RequestBody::TableFeatures(many(g)),
                    RequestBody::FlowMonitor(_) => RequestBody::FlowMonitor(many(g)),
                    RequestBody::NxFlowMonitor(_) => RequestBody::NxFlowMonitor(many(g)),
                    // One structure or none.
                    RequestBody::Desc
                    | RequestBody::Flow(_)
                    | RequestBody::Aggregate(_)
                    | RequestBody::Table
                    | RequestBody::PortStats(_)
                    | RequestBody::Queue(_)
                    | RequestBody::Group(_)
                    | RequestBody::GroupDesc
                    | RequestBody::GroupFeatures
                    | RequestBody::Meter(_)
                    | RequestBody::MeterConfig(_)
                    | RequestBody::MeterFeatures
                    | RequestBody::PortDesc
                    | RequestBody::Experimenter { .. } => continue,
                };
                Message::from(MultipartRequest::new(body))
            }
            Message::MultipartReply(r) => {
                let body = match r.body {
                    ReplyBody::Flow(_) => ReplyBody::Flow(many(g)),
                    ReplyBody::Table(_) => ReplyBody::Table(many(g)),
                    ReplyBody::PortStats(_) => ReplyBody::PortStats(many(g)),
                    ReplyBody::Queue(_) => ReplyBody::Queue(many(g)),
                    ReplyBody::Group(_) => ReplyBody::Group(many(g)),
                    ReplyBody::GroupDesc(_) => ReplyBody::GroupDesc(many(g)),
                    ReplyBody::Meter(_) => ReplyBody::Meter(many(g)),
                    ReplyBody::MeterConfig(_) => ReplyBody::MeterConfig(many(g)),
                    ReplyBody::TableFeatures(_) => ReplyBody::TableFeatures(many(g)),
                    ReplyBody::PortDesc(_) => ReplyBody::PortDesc(many(g)),
                    ReplyBody::FlowMonitor(u) => ReplyBody::FlowMonitor(copies(u)),
                    ReplyBody::NxFlowMonitor(u) => ReplyBody::NxFlowMonitor(copies(u)),
                    // One structure.
                    ReplyBody::Desc(_)
                    | ReplyBody::Aggregate(_)
                    | ReplyBody::GroupFeatures(_)
                    | ReplyBody::MeterFeatures(_)
                    | ReplyBody::Experimenter { .. } => continue,
                };
                Message::from(MultipartReply::new(body))
            }
            _ => continue,
        };
        done.insert(kind_of(&long));
        let out = emit(&OfMessage::new(9, long.clone()));
        let mut requests = multipart::Reassembler::new(8 << 20);
        let mut replies = multipart::Reassembler::new(8 << 20);
        let (mut rest, mut parts, mut whole) = (&out[..], 0, None);
        while !rest.is_empty() {
            let len = u16::from_be_bytes([rest[2], rest[3]]) as usize;
            let (part, after) = rest.split_at(len);
            rest = after;
            parts += 1;
            let m = OfMessage::parse(part)
                .unwrap_or_else(|e| panic!("{e} in part {parts} of {}", kind_of(&long)));
            assert_eq!(m.xid.0, 9);
            let more;
            match m.body {
                Message::MultipartRequest(r) => {
                    more = r.flags.contains(MultipartFlags::MORE);
                    whole = requests.request(m.xid, r, len).unwrap().map(|b| MultipartRequest::new(b).into());
                }
                Message::MultipartReply(r) => {
                    more = r.flags.contains(MultipartFlags::MORE);
                    whole = replies.reply(m.xid, r, len).unwrap().map(|b| MultipartReply::new(b).into());
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(more, !rest.is_empty());
        }
        assert!(parts > 1, "{} is in one part", kind_of(&long));
        assert_eq!(whole, Some(long));
    }
    assert_eq!(done.len(), 15, "{done:?}");
}

fn kind_of(m: &Message) -> &'static str {
    match m {
        Message::MultipartRequest(r) => variants::request(&r.body),
        Message::MultipartReply(r) => variants::reply(&r.body),
        m => variants::message(m),
    }
}

/// Structures that together fill several messages.
fn many<T: Arbitrary>(g: &mut Gen) -> Vec<T> {
    (0..4000).map(|_| T::arbitrary(g)).collect()
}

fn copies(mut of: Vec<multipart::FlowUpdate>) -> Vec<multipart::FlowUpdate> {
    of.push(multipart::FlowUpdate::Abbrev { xid: 7.into() });
    let n = of.len();
    of.into_iter().cycle().take(n * 12_000).collect()
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

/// Messages of a shape that is made of many small parts, about `len` bytes long.
fn long_messages(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let header = |kind: u8, body: Vec<u8>| {
        let total = (8 + body.len()) as u16;
        [&[4, kind][..], &total.to_be_bytes(), &[0; 4], &body].concat()
    };
    let repeat = |piece: &[u8]| piece.repeat(len / piece.len());
    let flow_mod = |fields: Vec<u8>, instructions: Vec<u8>| {
        let mut b = vec![0; 40];
        b.extend(1u16.to_be_bytes());
        b.extend((4 + fields.len() as u16).to_be_bytes());
        b.extend(&fields);
        b.resize(b.len() + (4 + fields.len()).wrapping_neg() % 8, 0);
        b.extend(instructions);
        header(14, b)
    };
    let apply = |actions: Vec<u8>| {
        let total = (8 + actions.len()) as u16;
        [&[0, 4][..], &total.to_be_bytes(), &[0; 4], &actions].concat()
    };
    let unknown = [0x7f, 0xff, 2, 0];
    let in_port = [0x80, 0, 0, 4, 0, 0, 0, 1];
    let half = len / 2;
    let packet_out = |actions: Vec<u8>| {
        let mut b = vec![0xff; 8];
        b.extend((actions.len() as u16).to_be_bytes());
        b.extend([0; 6]);
        b.extend(actions);
        header(13, b)
    };
    let multipart = |kind: u16, body: Vec<u8>| header(19, [&kind.to_be_bytes()[..], &[0; 6], &body].concat());
    vec![
        ("unknown fields", flow_mod(repeat(&unknown), vec![])),
        ("one field again and again", flow_mod(repeat(&in_port), vec![])),
        ("unknown fields, then known ones", {
            flow_mod([unknown.repeat(half / 4), in_port.repeat(half / 8)].concat(), vec![])
        }),
        ("instructions", flow_mod(vec![], repeat(&[0, 1, 0, 8, 5, 0, 0, 0]))),
        ("small actions", flow_mod(vec![], apply(repeat(&[0, 24, 0, 8, 0, 0, 0, 0])))),
        ("notes", packet_out(repeat(&[0xff, 0xff, 0, 16, 0, 0, 0x23, 0x20, 0, 8, 1, 2, 3, 4, 5, 6]))),
        ("hello elements", header(0, repeat(&[0, 9, 0, 8, 1, 2, 3, 4]))),
        ("buckets", header(15, [&[0; 8][..], &repeat(&[[0, 16].as_slice(), &[0; 14]].concat())].concat())),
        (
            "bands",
            header(29, [&[0; 8][..], &repeat(&[[0, 1, 0, 16].as_slice(), &[1; 12]].concat())].concat()),
        ),
        ("table statistics", multipart(3, repeat(&[1; 24]))),
        ("group descriptions", multipart(7, repeat(&[0, 8, 0, 0, 0, 0, 0, 1]))),
        ("a packet", packet_out(vec![]).into_iter().chain(repeat(&[0x81, 0, 0, 5])).collect::<Vec<u8>>()),
    ]
    .into_iter()
    .map(|(name, b)| (name, openflow::checks::with_right_length(&b)))
    .collect()
}

#[test]
fn time_is_linear_in_the_message() {
    let (small, large) = (long_messages(3_000), long_messages(60_000));
    for ((name, small), (_, large)) in small.iter().zip(&large) {
        let time = |b: &[u8]| {
            let t = std::time::Instant::now();
            openflow::checks::message(b);
            openflow::checks::message_in_words(b);
            if let Ok(OfMessage { body: Message::FlowMod(f), .. }) = OfMessage::parse(b) {
                let _ = f.matching.validate();
            }
            t.elapsed().as_secs_f64()
        };
        // Twenty times as long; what is quadratic takes four hundred times as long. The best of several measurements counts.
        let mut ratio = f64::MAX;
        for _ in 0..10 {
            ratio = ratio.min(time(large) / time(small).max(20e-6));
            if ratio < 100.0 {
                break;
            }
        }
        assert!(ratio < 100.0, "{name}: twenty times the bytes take {ratio} times as long");
    }
}
