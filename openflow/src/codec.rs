//! A byte stream cut into messages and back: `tokio_util`'s [`Decoder`] and [`Encoder`] over [`bytes`].
//!
//! Framing needs only a header's length. A message that is framed but wrong is an item, not an error: the connection
//! answers it and lives on. Only lost framing (a length below 8, or above the limit) is an error, and ends the connection.
//! Back-pressure is the transport's: nothing is read ahead of the message being waited for but what the socket gave.

use crate::error::DecodeError;
use crate::header::{Header, HEADER_LEN, MAX_MESSAGE_LEN};
use crate::msg::{OfMessage, TooLong};
use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// One message off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its header: version, type and xid are right even if the rest is not.
    pub header: Header,
    /// All its bytes, for the error that quotes it.
    pub raw: Bytes,
    /// The message, or what is wrong with it.
    pub message: Result<OfMessage, DecodeError>,
}

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A header says a length that no message can have: where the next one starts is unknown.
    #[error("message of {length} bytes announced; it must be {HEADER_LEN} to {max}")]
    Framing {
        /// What the header says.
        length: u16,
        /// Longest message accepted.
        max: usize,
    },
    /// A message of ours does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// The codec of one connection.
#[derive(Debug, Clone)]
pub struct OfCodec {
    max_len: usize,
}

impl OfCodec {
    /// Accepts messages of up to 65535 bytes.
    pub fn new() -> Self {
        Self::with_max_len(MAX_MESSAGE_LEN)
    }
    /// Accepts messages of up to `max_len` bytes (at least 8).
    pub fn with_max_len(max_len: usize) -> Self {
        Self { max_len: max_len.clamp(HEADER_LEN, MAX_MESSAGE_LEN) }
    }
}

impl Default for OfCodec {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for OfCodec {
    type Item = Frame;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, CodecError> {
        let Some(header) = Header::peek(src) else { return Ok(None) };
        let len = header.length as usize;
        if !(HEADER_LEN..=self.max_len).contains(&len) {
            return Err(CodecError::Framing { length: header.length, max: self.max_len });
        }
        if src.len() < len {
            src.reserve(len - src.len());
            return Ok(None);
        }
        let raw = src.split_to(len).freeze();
        let message = OfMessage::parse(&raw);
        Ok(Some(Frame { header, raw, message }))
    }
}

impl Encoder<&OfMessage> for OfCodec {
    type Error = CodecError;

    fn encode(&mut self, m: &OfMessage, dst: &mut BytesMut) -> Result<(), CodecError> {
        Ok(m.emit(dst)?)
    }
}

impl Encoder<OfMessage> for OfCodec {
    type Error = CodecError;

    fn encode(&mut self, m: OfMessage, dst: &mut BytesMut) -> Result<(), CodecError> {
        Ok(m.emit(dst)?)
    }
}

/// Bytes already encoded go out as they are.
impl Encoder<Bytes> for OfCodec {
    type Error = CodecError;

    fn encode(&mut self, b: Bytes, dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.extend_from_slice(&b);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::OfpError;
    use crate::msg::{Echo, Hello, Message};

    #[test]
    fn messages_are_cut_out_of_any_fragmentation() {
        let messages = [
            OfMessage::new(1, Hello::with_versions(&[1, 4])),
            OfMessage::new(2, Message::EchoRequest(Echo { data: Bytes::from_static(b"abc") })),
            OfMessage::new(3, Message::BarrierRequest),
        ];
        let mut all = BytesMut::new();
        let mut codec = OfCodec::new();
        for m in &messages {
            codec.encode(m, &mut all).unwrap();
        }
        for step in 1..all.len() {
            let (mut src, mut got) = (BytesMut::new(), Vec::new());
            for piece in all.chunks(step) {
                src.extend_from_slice(piece);
                while let Some(f) = codec.decode(&mut src).unwrap() {
                    got.push(f.message.unwrap());
                }
            }
            assert_eq!(got, messages);
        }
    }

    #[test]
    fn a_wrong_message_is_an_item_and_the_next_one_follows() {
        let mut src = BytesMut::from(&[4u8, 77, 0, 8, 0, 0, 0, 9, 4, 20, 0, 8, 0, 0, 0, 10][..]);
        let mut codec = OfCodec::new();
        let f = codec.decode(&mut src).unwrap().unwrap();
        assert_eq!(f.message.unwrap_err().code, OfpError::OFPBRC_BAD_TYPE);
        assert_eq!((f.header.xid.0, f.raw.len()), (9, 8));
        assert_eq!(codec.decode(&mut src).unwrap().unwrap().message.unwrap().body, Message::BarrierRequest);
    }

    #[test]
    fn lost_framing_is_an_error() {
        let mut src = BytesMut::from(&[4u8, 0, 0, 7, 0, 0, 0, 0][..]);
        assert!(matches!(OfCodec::new().decode(&mut src), Err(CodecError::Framing { length: 7, .. })));
        let mut src = BytesMut::from(&[4u8, 2, 1, 0, 0, 0, 0, 0][..]);
        assert!(matches!(
            OfCodec::with_max_len(255).decode(&mut src),
            Err(CodecError::Framing { length: 256, .. })
        ));
    }

    #[test]
    fn a_peer_that_does_not_read_stops_the_writer_and_a_slow_reader_holds_little() {
        use futures_core::Stream;
        use futures_sink::Sink;
        use std::pin::Pin;
        use std::task::{Context, Poll, Waker};
        use tokio_util::codec::{FramedRead, FramedWrite};

        const PIPE: usize = 4096;
        let cx = &mut Context::from_waker(Waker::noop());
        let (a, b) = tokio::io::duplex(PIPE);
        let mut tx = FramedWrite::new(a, OfCodec::new());
        let mut rx = FramedRead::new(b, OfCodec::new());
        let body = Message::EchoRequest(Echo { data: vec![7; 992].into() });
        let mut send = |n: u32| {
            let mut tx = Pin::new(&mut tx);
            let ready = <FramedWrite<_, _> as Sink<OfMessage>>::poll_ready(tx.as_mut(), cx).is_ready();
            if ready {
                tx.start_send(OfMessage::new(n, body.clone())).unwrap();
            }
            ready
        };
        // Nobody reads: the pipe fills, then the writer's buffer, and then it has to wait.
        let sent = (0u32..1000).find(|n| !send(*n)).expect("it is stopped");
        assert!((5..30).contains(&sent), "{sent} messages of 1000 bytes before it stops");
        // Reading lets it go on; what the reader holds is what it was given at once, however much there is to read.
        let cx = &mut Context::from_waker(Waker::noop());
        let (mut next, mut got) = (sent, 0);
        for _ in 0..10_000 {
            if next < 1000 && send(next) {
                next += 1;
            }
            if let Poll::Ready(Some(f)) = Pin::new(&mut rx).poll_next(cx) {
                assert_eq!(f.unwrap().header.xid.0, got);
                got += 1;
            }
            assert!(rx.read_buffer().len() <= PIPE + 1000, "{} bytes read ahead", rx.read_buffer().len());
        }
        assert!(got > 900, "{got} of 1000");
        // A header that announces much reserves no more than one message.
        let mut src = BytesMut::from(&[4u8, 2, 0xff, 0xff, 0, 0, 0, 1][..]);
        assert!(OfCodec::new().decode(&mut src).unwrap().is_none());
        assert!(src.capacity() <= 2 * MAX_MESSAGE_LEN, "{}", src.capacity());
    }
}
