//! Writes the seed corpora of the fuzz targets: `cargo run -p openflow --features arbitrary --example fuzz_seeds`.
//! Samples of everything, the messages of other encoders, recorded sessions, and the flows of the text cases.

use bytes::BytesMut;
use openflow::arbitrary::{all_actions, all_messages};
use openflow::wire::Writer;
use openflow::{Action, Instruction, Message, OfMessage};
use std::path::Path;

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect()
}

fn main() -> std::io::Result<()> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = crate_dir.join("../fuzz/corpus");
    let mut n = 0;
    let mut put = |target: &str, bytes: &[u8]| -> std::io::Result<()> {
        let dir = corpus.join(target);
        std::fs::create_dir_all(&dir)?;
        n += 1;
        std::fs::write(dir.join(format!("seed-{n:04}")), bytes)
    };
    let mut all = vec![7u8];
    for m in all_messages() {
        let b = m.to_bytes().expect("a sample fits");
        put("message", &b)?;
        if b.len() < 200 {
            all.extend_from_slice(&b);
        }
        if let Message::FlowMod(f) = &m.body {
            let mut b = BytesMut::new();
            f.matching.emit(&mut Writer::new(&mut b));
            put("match", &b)?;
        }
    }
    put("stream", &all)?;
    for a in all_actions() {
        let mut b = BytesMut::new();
        a.emit(&mut Writer::new(&mut b));
        put("action", &b)?;
    }
    for file in ["os_ken.hex", "python_openflow.hex", "ovs_ofctl.hex"] {
        for line in std::fs::read_to_string(crate_dir.join("tests/corpus").join(file))?.lines() {
            let hex = line.split(' ').nth(1).unwrap_or("");
            put("message", &unhex(hex))?;
        }
    }
    // What was recorded of real sessions: each message, what is in it, and each side's stream.
    let sessions = std::fs::read_to_string(crate_dir.join("tests/corpus/sessions.hex"))?;
    let mut streams: std::collections::BTreeMap<&str, Vec<u8>> = Default::default();
    for line in sessions.lines() {
        let (name, hex) = line.split_once(' ').unwrap_or((line, ""));
        let b = unhex(hex);
        put("message", &b)?;
        let side = name.rsplit_once('-').map_or(name, |(s, _)| s);
        streams.entry(side).or_insert_with(|| vec![40]).extend_from_slice(&b);
        let Ok(m) = OfMessage::parse(&b) else { continue };
        let mut with = |f: &dyn Fn(&mut Writer<'_>), target: &str| -> std::io::Result<()> {
            let mut b = BytesMut::new();
            f(&mut Writer::new(&mut b));
            put(target, &b)
        };
        match m.body {
            Message::FlowMod(f) => {
                with(&|w| f.matching.emit(w), "match")?;
                for i in &f.instructions {
                    if let Instruction::ApplyActions(a) | Instruction::WriteActions(a) = i {
                        with(&|w| Action::emit_list(a, w), "action")?;
                    }
                }
                put("flow_text", f.to_string().trim_start_matches("add ").as_bytes())?;
            }
            Message::PacketIn(p) => put("extract", &p.data)?,
            Message::PacketOut(p) => put("extract", &p.data)?,
            _ => {}
        }
    }
    for s in streams.values() {
        put("stream", &s[..s.len().min(4096)])?;
    }
    for line in std::fs::read_to_string(crate_dir.join("tests/cases/flows.txt"))?.lines() {
        if line.contains('=') {
            put("flow_text", line.as_bytes())?;
            let packet = line.split("actions=").next().unwrap_or(line).trim();
            put("trace_text", packet.as_bytes())?;
        }
    }
    // Frames: the shapes that key extraction knows, one inside the other.
    let eth = |tail: &[u8]| [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], tail].concat();
    let ipv4 = |proto: u8, l4: &[u8]| {
        let mut h = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        h[2..4].copy_from_slice(&(20 + l4.len() as u16).to_be_bytes());
        [&h[..], l4].concat()
    };
    let ipv6 = |next: u8, l4: &[u8]| {
        let mut h = [0u8; 40];
        (h[0], h[6], h[7], h[23], h[39]) = (0x60, next, 64, 1, 2);
        h[4..6].copy_from_slice(&(l4.len() as u16).to_be_bytes());
        [&h[..], l4].concat()
    };
    let tcp = [0, 80, 4, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 1, 0, 0, 0, 0, 0];
    let nd = [&[135u8, 0, 0, 0, 0, 0, 0, 0][..], &[0xfe; 16], &[1, 1, 2, 0, 0, 0, 0, 9]].concat();
    let arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    for frame in [
        eth(&[&[8, 0][..], &ipv4(6, &tcp)].concat()),
        eth(&[&[8, 0][..], &ipv4(17, &tcp[..8])].concat()),
        eth(&[&[8, 0][..], &ipv4(132, &tcp)].concat()),
        eth(&[&[8, 0][..], &ipv4(1, &tcp[..8])].concat()),
        eth(&[&[0x86, 0xdd][..], &ipv6(6, &tcp)].concat()),
        eth(&[&[0x86, 0xdd][..], &ipv6(58, &nd)].concat()),
        eth(&[
            &[0x86, 0xdd][..],
            &ipv6(
                0,
                &[
                    &[
                        43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0,
                        0, 0, 0, 0, 0,
                    ][..],
                    &tcp,
                ]
                .concat(),
            ),
        ]
        .concat()),
        eth(&[&[0x81, 0, 0x20, 5, 0x81, 0, 0, 6, 8, 0][..], &ipv4(6, &tcp)].concat()),
        eth(&[&[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64][..], &ipv4(6, &tcp)].concat()),
        eth(&[&[0x88, 0xe7, 0x10, 0, 0, 5, 2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0][..], &ipv4(6, &tcp)]
            .concat()),
        eth(&[&[8, 6][..], &arp].concat()),
        eth(&[0, 46, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]),
    ] {
        put("extract", &frame)?;
    }
    for life in [
        &[2u8, 4, 0, 0, 0, 1, 0, 5, 0, 5, 0, 3, 0, 5, 0][..],
        &[3, 1, 0, 5, 0, 2, 0, 5, 0, 5, 0],
        &[0xe2, 3, 0, 5, 0, 3, 0, 5, 0],
    ] {
        put("rconn", life)?;
    }
    // Connections: hello, then a bit of each; who says it is in the two top bits of an operation.
    for life in [
        &[0u8, 0, 6, 7, 5, 0, 22, 0, 31, 0, 12, 4, 5, 0, 22, 0, 31, 0][..],
        &[0, 0, 64, 0, 128, 0, 192, 0, 31, 0, 7, 2, 71, 2, 16, 9, 31, 0, 7, 6, 16, 1, 31, 0],
        &[0, 0, 8, 1, 11, 5, 11, 9, 8, 9, 5, 0, 8, 17, 22, 0, 31, 0],
        &[128, 0, 153, 252, 147, 1, 31, 0, 19, 0, 147, 255, 154, 0, 31, 0],
        &[0, 0, 14, 255, 15, 2, 16, 3, 17, 1, 18, 2, 21, 255, 21, 255, 31, 0, 24, 0, 31, 0],
        &[0, 0, 13, 0, 12, 1, 13, 0, 23, 1, 31, 0, 3, 64, 1, 2, 3, 4, 5, 6, 7, 8, 31, 0],
    ] {
        put("connection", life)?;
    }
    for text in [
        "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,frag=no),tcp(src=1024,dst=80)",
        "in_port(1),eth_type(0x8100),vlan(vid=5,pcp=1),encap(eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135))",
        "push_vlan(vid=5,pcp=0),set(ipv4(ttl=63)),1,2,recirc(0x1)",
    ] {
        put("dp_text", text.as_bytes())?;
    }
    println!("{n} seeds");
    Ok(())
}
