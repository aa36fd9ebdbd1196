//! How many messages a second one core reads and writes: `cargo bench -p openflow --bench codec`.
//! Items are messages (for the flow-stats reply also entries, in their own line).

use bytes::BytesMut;
use divan::counter::{BytesCount, ItemsCount};
use divan::{black_box, Bencher};
use openflow::codec::OfCodec;
use openflow::field::Field;
use openflow::msg::multipart::{FlowStats, ReplyBody};
use openflow::msg::*;
use openflow::*;
use tokio_util::codec::Decoder;

fn main() {
    divan::main();
}

/// A learning switch's entry: in_port, eth_dst, eth_src; one output.
fn l2_flow_mod() -> OfMessage {
    let m = Match::new().with(Field::InPort, 1).with(Field::EthDst, 0x0200_0000_0001).with(Field::EthSrc, 2);
    let out = Action::Output { port: PortNo(2), max_len: 0xffff };
    flow_mod(m, vec![Instruction::ApplyActions(vec![out])])
}

/// An ACL's five-tuple with prefixes, a set-field, an output and a goto.
fn acl_flow_mod() -> OfMessage {
    let m = Match::new()
        .with(Field::EthType, 0x0800)
        .with(Field::IpProto, 6)
        .with_masked(Field::Ipv4Src, 0x0a00_0000, 0xff00_0000)
        .with_masked(Field::Ipv4Dst, 0x0a01_0000, 0xffff_0000)
        .with(Field::TcpDst, 443);
    let actions = vec![
        Action::SetField(OxmField::exact(Field::EthDst, 0x0200_0000_0001).into()),
        Action::Output { port: PortNo(2), max_len: 0 },
    ];
    flow_mod(m, vec![Instruction::ApplyActions(actions), Instruction::GotoTable(TableId(2))])
}

fn flow_mod(matching: Match, instructions: Vec<Instruction>) -> OfMessage {
    OfMessage::new(
        7,
        FlowMod {
            cookie: 1,
            priority: 100,
            matching,
            instructions: instructions.into(),
            ..Default::default()
        },
    )
}

fn packet_in() -> OfMessage {
    OfMessage::new(
        0,
        PacketIn {
            buffer_id: OFP_NO_BUFFER,
            total_len: 128,
            reason: PacketInReason::ACTION,
            table_id: TableId(0),
            cookie: 0,
            matching: Match::new().with(Field::InPort, 3),
            data: vec![0u8; 128].into(),
        },
    )
}

/// As many learning switch's entries as one message of at most 64 KiB holds.
fn flow_stats() -> OfMessage {
    let Message::FlowMod(f) = l2_flow_mod().body else { unreachable!() };
    let one = FlowStats {
        matching: f.matching,
        instructions: f.instructions,
        packet_count: 5,
        ..Default::default()
    };
    let reply = |n| OfMessage::new(7, MultipartReply::new(ReplyBody::Flow(vec![one.clone(); n])));
    let empty = reply(0).to_bytes().unwrap().len();
    let entry = reply(1).to_bytes().unwrap().len() - empty;
    reply((0xffff - empty) / entry)
}

const SHAPES: [(&str, fn() -> OfMessage); 4] = [
    ("flow_mod_l2", l2_flow_mod),
    ("flow_mod_acl", acl_flow_mod),
    ("packet_in_128", packet_in),
    ("flow_stats_64k", flow_stats),
];

fn shape(name: &str) -> OfMessage {
    SHAPES.iter().find(|(n, _)| *n == name).map(|(_, f)| f()).unwrap()
}
fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|(n, _)| *n)
}

#[divan::bench(args = names())]
fn decode(b: Bencher, name: &str) {
    let bytes = shape(name).to_bytes().unwrap();
    b.counter(ItemsCount::new(1u64))
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| OfMessage::parse(black_box(&bytes)));
}

#[divan::bench(args = names())]
fn encode(b: Bencher, name: &str) {
    let m = shape(name);
    let mut out = BytesMut::with_capacity(1 << 17);
    let n = m.to_bytes().unwrap().len();
    b.counter(ItemsCount::new(1u64)).counter(BytesCount::new(n)).bench_local(|| {
        out.clear();
        black_box(&m).emit(&mut out).unwrap();
        out.len()
    });
}

/// A thousand flow-mods cut out of a byte stream, as a connection sees them.
#[divan::bench(args = ["flow_mod_l2", "flow_mod_acl"])]
fn stream_of_1000(b: Bencher, name: &str) {
    let one = shape(name).to_bytes().unwrap();
    let all = one.repeat(1000);
    b.counter(ItemsCount::new(1000u64)).with_inputs(|| BytesMut::from(&all[..])).bench_local_values(
        |mut src| {
            let (mut codec, mut n) = (OfCodec::new(), 0);
            while let Ok(Some(f)) = codec.decode(&mut src) {
                n += f.message.is_ok() as usize;
            }
            assert_eq!(n, 1000);
        },
    );
}
