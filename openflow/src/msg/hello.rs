//! `OFPT_HELLO`: which versions the sender speaks (OpenFlow 1.3.5, "Hello").
//! Body: elements `type:2 | length:2 | payload`, each padded to 8 bytes.

use crate::num::hex;
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
