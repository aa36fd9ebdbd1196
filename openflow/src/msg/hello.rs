//! `OFPT_HELLO`: which versions the sender speaks (OpenFlow 1.3.5, "Hello").
//! Body: elements `type:2 | length:2 | payload`, each padded to 8 bytes.

use crate::num::hex;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// A HELLO; the highest version is also in the message header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Hello {
    /// Elements, as sent.
    pub elements: Vec<HelloElement>,
}

/// One element of a HELLO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum HelloElement {
    /// `OFPHET_VERSIONBITMAP`: bit n of word n/32 set: version n is spoken.
    VersionBitmap(Vec<u32>),
    /// An element we do not know; ignored, as the specification wants.
    Unknown {
        /// Element type.
        kind: u16,
        /// Payload.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
}

impl Hello {
    /// A HELLO that announces these wire versions (1 to 31) by bitmap.
    pub fn with_versions(versions: &[u8]) -> Self {
        let bitmap = versions.iter().filter(|v| **v < 32).fold(0u32, |m, v| m | 1 << v);
        Self { elements: vec![HelloElement::VersionBitmap(vec![bitmap])] }
    }
    /// The bitmap's first word (versions 0 to 31), if the HELLO has a bitmap.
    pub fn bitmap(&self) -> Option<u32> {
        self.elements.iter().find_map(|e| match e {
            HelloElement::VersionBitmap(words) => Some(words.first().copied().unwrap_or(0)),
            HelloElement::Unknown { .. } => None,
        })
    }
}

const OFPHET_VERSIONBITMAP: u16 = 1;

impl Hello {
    /// Reads the body. An element that makes no sense ends the list: whatever a HELLO says beyond its header must not
    /// stop two peers from agreeing on a version.
    pub fn parse(r: &mut Reader<'_>) -> Self {
        let mut elements = Vec::new();
        let mut element = |r: &mut Reader<'_>| {
            let (kind, len) = (r.u16("element_type").ok()?, r.u16("element_length").ok()? as usize);
            let mut e = r.sub(len.checked_sub(4)?, "element").ok()?;
            let _ = r.pad8(len);
            elements.push(if kind == OFPHET_VERSIONBITMAP && e.remaining() % 4 == 0 {
                let mut words = Vec::with_capacity(e.remaining() / 4);
                while let Ok(word) = e.u32("bitmap") {
                    words.push(word);
                }
                HelloElement::VersionBitmap(words)
            } else {
                HelloElement::Unknown { kind, data: e.rest().to_vec() }
            });
            Some(())
        };
        while !r.is_empty() && element(r).is_some() {}
        r.rest();
        Self { elements }
    }
    /// Writes the body.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { elements } = self;
        for e in elements {
            let start = w.pos();
            w.u16(match e {
                HelloElement::VersionBitmap(_) => OFPHET_VERSIONBITMAP,
                HelloElement::Unknown { kind, .. } => *kind,
            });
            let at = w.len_later();
            match e {
                HelloElement::VersionBitmap(words) => words.iter().for_each(|word| w.u32(*word)),
                HelloElement::Unknown { data, .. } => w.bytes(data),
            }
            w.set_len(at, start);
            w.pad8(start);
        }
    }
}
