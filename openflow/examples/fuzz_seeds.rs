//! Writes the seed corpora of the fuzz targets: `cargo run -p openflow --features arbitrary --example fuzz_seeds`.
//! Samples of everything, the messages of other encoders, and the flows of the text cases.

use bytes::BytesMut;
use openflow::arbitrary::{all_actions, all_messages};
use openflow::wire::Writer;
use openflow::Message;
use std::path::Path;

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
    for file in ["os_ken.hex", "python_openflow.hex"] {
        for line in std::fs::read_to_string(crate_dir.join("tests/corpus").join(file))?.lines() {
            let hex = line.split(' ').nth(1).unwrap_or("");
            let b: Vec<u8> = (0..hex.len() / 2)
                .filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok())
                .collect();
            put("message", &b)?;
        }
    }
    for line in std::fs::read_to_string(crate_dir.join("tests/cases/flows.txt"))?.lines() {
        if line.contains('=') {
            put("flow_text", line.as_bytes())?;
            let packet = line.split("actions=").next().unwrap_or(line).trim();
            put("trace_text", packet.as_bytes())?;
        }
    }
    println!("{n} seeds");
    Ok(())
}
