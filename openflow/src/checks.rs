//! What must hold for any bytes at all: asked by the fuzz targets, by the tests that replay what they found, and by the
//! property tests (feature `arbitrary`). Each panics if it does not hold.

use crate::action::Action;
use crate::codec::OfCodec;
use crate::header::OFP13_VERSION;
use crate::matching::Match;
use crate::msg::multipart::Reassembler;
use crate::msg::{Message, OfMessage};
use crate::text::{json, print, NoNames};
use crate::wire::{Reader, Writer};
use bytes::BytesMut;
use tokio_util::codec::Decoder;

/// A message that parses is said again in bytes that mean the same; one that does not is at fault inside the buffer.
pub fn message(bytes: &[u8]) {
    match OfMessage::parse(bytes) {
        Ok(m) => {
            // A message may grow when said canonically (an alias id becomes an experimenter's), even too long.
            if let Ok(again) = m.to_bytes() {
                if again.len() <= 0xffff && again[2..4] == (again.len() as u16).to_be_bytes() {
                    assert_eq!(OfMessage::parse(&again).as_ref(), Ok(&m));
                }
            }
        }
        Err(e) => assert!(e.offset <= bytes.len(), "{e} of {}", bytes.len()),
    }
}

/// The same, with the header's length made right, so that a fuzzer need not find it.
pub fn message_of_any_length(bytes: &[u8]) {
    message(&with_right_length(bytes));
}

/// A message of 1.3 whose header says how long it is.
pub fn with_right_length(bytes: &[u8]) -> Vec<u8> {
    let mut b = bytes[..bytes.len().min(0xffff)].to_vec();
    if let [version, _, l0, l1, _, _, _, _, ..] = &mut b[..] {
        *version = OFP13_VERSION;
        [*l0, *l1] = (bytes.len().min(0xffff) as u16).to_be_bytes();
    }
    b
}

/// Whatever the bytes are, they can be told to people, and to machines.
pub fn message_in_words(bytes: &[u8]) {
    let words = print::bytes(bytes, 2, &NoNames);
    assert!(bytes.is_empty() || words.ends_with('\n'), "{words:?}");
    if let Ok(m) = OfMessage::parse(bytes) {
        assert!(json::to_json(&m)["type"].is_string());
    }
}

/// A match that parses is said again the same, and can be judged.
pub fn match_(bytes: &[u8]) {
    let mut r = Reader::new(bytes);
    match Match::parse(&mut r) {
        Ok(m) => {
            let _ = m.validate().map_err(|e| e.to_string());
            let mut b = BytesMut::new();
            let mut w = Writer::new(&mut b);
            m.emit(&mut w);
            if !w.overflowed() {
                assert_eq!(Match::parse(&mut Reader::new(&b)).as_ref(), Ok(&m));
            }
        }
        Err(e) => assert!(e.offset <= bytes.len(), "{e} of {}", bytes.len()),
    }
}

/// Actions that parse are said again the same.
pub fn actions(bytes: &[u8]) {
    match Action::parse_list(&mut Reader::new(bytes)) {
        Ok(list) => {
            let mut b = BytesMut::new();
            let mut w = Writer::new(&mut b);
            Action::emit_list(&list, &mut w);
            if !w.overflowed() {
                assert_eq!(Action::parse_list(&mut Reader::new(&b)).as_ref(), Ok(&list));
            }
        }
        Err(e) => assert!(e.offset <= bytes.len(), "{e} of {}", bytes.len()),
    }
}

/// A stream gives the same messages however it is cut; the first byte says how. Multiparts come together again.
pub fn stream(bytes: &[u8]) {
    const MAX: usize = 1 << 20;
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let run = |step: usize| {
        let (mut codec, mut src, mut got) = (OfCodec::new(), BytesMut::new(), Vec::new());
        let (mut requests, mut replies) = (Reassembler::new(MAX), Reassembler::new(MAX));
        for piece in bytes.chunks(step) {
            src.extend_from_slice(piece);
            loop {
                let f = match codec.decode(&mut src) {
                    Ok(Some(f)) => f,
                    Ok(None) => break,
                    Err(_) => return got,
                };
                let whole = match f.message {
                    Ok(OfMessage { xid, body: Message::MultipartRequest(m), .. }) => {
                        requests.request(xid, m, f.raw.len()).map(|b| b.is_some())
                    }
                    Ok(OfMessage { xid, body: Message::MultipartReply(m), .. }) => {
                        replies.reply(xid, m, f.raw.len()).map(|b| b.is_some())
                    }
                    Ok(_) => Ok(true),
                    Err(e) => Err(e.code),
                };
                got.push((f.header, f.raw.len(), whole));
            }
        }
        got
    };
    assert_eq!(run(bytes.len().max(1)), run(*cut as usize + 1));
}

/// A flow that can be read is printed in words that are read as the same flow, and goes over the wire; the same for
/// actions, groups, meters and packet-outs.
pub fn flow_text(text: &str) {
    crate::text::laws::flow(text);
    crate::text::laws::others(text);
}

/// A trace's packet that can be read is printed in words that are read as the same packet.
pub fn trace_text(text: &str) {
    crate::text::laws::packet(text);
}
