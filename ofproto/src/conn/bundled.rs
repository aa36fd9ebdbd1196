//! The messages of a bundle, kept as the bytes they came as: a tenth of what they take as structures, and one allocation for thousands
//! of them, so that a large bundle leaves no holes behind when it is gone. They are read again at the commit.

use openflow::header::Header;
use openflow::msg::OfMessage;

/// Bytes of a chunk.
const CHUNK: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Bundled {
    chunks: Vec<Vec<u8>>,
    len: usize,
}

impl Bundled {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.len
    }
    /// No messages.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Appends a message, all its bytes. It must be one that parses.
    pub fn push(&mut self, raw: &[u8]) {
        match self.chunks.last_mut() {
            Some(c) if c.len() + raw.len() <= c.capacity() => c.extend_from_slice(raw),
            _ => {
                // Small bundles stay small; what grows is moved a few times at most.
                let before = self.chunks.last().map_or(0, Vec::len);
                let mut c = Vec::with_capacity((before * 4).clamp(4096, CHUNK).max(raw.len()));
                c.extend_from_slice(raw);
                self.chunks.push(c);
            }
        }
        self.len += 1;
    }
    /// The messages in order, each as its bytes.
    pub fn raw(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().flat_map(|c| {
            let mut rest = &c[..];
            std::iter::from_fn(move || {
                let (one, after) = rest.split_at_checked(Header::peek(rest)?.length.into())?;
                rest = after;
                (!one.is_empty()).then_some(one)
            })
        })
    }
    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = OfMessage> + '_ {
        self.raw().filter_map(|m| OfMessage::parse(m).ok())
    }
}

impl<'a> FromIterator<&'a OfMessage> for Bundled {
    /// Messages that are too long for a header to say so are left out: they can come from nowhere.
    fn from_iter<I: IntoIterator<Item = &'a OfMessage>>(list: I) -> Self {
        let mut out = Self::default();
        list.into_iter().filter_map(|m| m.to_bytes().ok()).for_each(|m| out.push(&m));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openflow::msg::{Echo, Message};

    #[test]
    fn gives_back_what_was_put_in() {
        let all: Vec<OfMessage> = (0..5000u32)
            .map(|i| OfMessage::new(i, Message::EchoRequest(Echo { data: vec![7; i as usize % 700].into() })))
            .collect();
        let b: Bundled = all.iter().collect();
        assert_eq!((b.len(), b.raw().count()), (5000, 5000));
        assert!(b.iter().eq(all.iter().cloned()));
        let used: usize = b.chunks.iter().map(Vec::len).sum();
        let taken: usize = b.chunks.iter().map(Vec::capacity).sum();
        assert!(taken < used + used / 2 + CHUNK, "{taken} bytes for {used}");
    }
}
