//! `OFPT_QUEUE_GET_CONFIG_*`: the queues of a port (OpenFlow 1.3.5, "Queue Configuration Messages").
//! Request: `port:4 | pad:4`. Reply: `port:4 | pad:4 | queues`; queue: `queue_id:4 | port:4 | len:2 | pad:6 | properties`;
//! property: `property:2 | len:2 | pad:4 | ...`.

use crate::error::DecodeError;
use crate::ids::PortNo;
use crate::num::hex;
use crate::wire::{Reader, Writer};
use serde::Serialize;

/// Request; port ANY asks for all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct QueueGetConfigRequest {
    pub port: PortNo,
}

/// Reply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct QueueGetConfigReply {
    pub port: PortNo,
    pub queues: Vec<PacketQueue>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct PacketQueue {
    pub queue_id: u32,
    pub port: PortNo,
    pub properties: Vec<QueueProp>,
}

/// One property of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum QueueProp {
    /// `OFPQT_MIN_RATE` in 1/10 of a per cent; above 1000: off.
    MinRate(u16),
    /// `OFPQT_MAX_RATE` in 1/10 of a per cent; above 1000: off.
    MaxRate(u16),
    /// `OFPQT_EXPERIMENTER`.
    Experimenter {
        /// Whose.
        experimenter: u32,
        /// The rest.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
    /// A property we do not know; `data` follows the 8-byte header.
    Unknown {
        /// Property number.
        kind: u16,
        /// The rest.
        #[serde(serialize_with = "hex")]
        data: Vec<u8>,
    },
}

impl QueueGetConfigRequest {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = PortNo(r.u32("port")?);
        r.pad::<4>()?;
        Ok(Self { port })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port } = self;
        w.u32(port.0);
        w.zeros(4);
    }
}

impl QueueGetConfigReply {
    /// Reads the structure after what its module calls the header.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = PortNo(r.u32("port")?);
        r.pad::<4>()?;
        let mut queues = Vec::new();
        while !r.is_empty() {
            queues.push(PacketQueue::parse(r)?);
        }
        Ok(Self { port, queues })
    }
    /// Writes the same.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { port, queues } = self;
        w.u32(port.0);
        w.zeros(4);
        for x in queues {
            x.emit(w);
        }
    }
}

const OFPQT_MIN_RATE: u16 = 1;
const OFPQT_MAX_RATE: u16 = 2;
const OFPQT_EXPERIMENTER: u16 = 0xffff;

impl PacketQueue {
    /// Reads one queue.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut q = *r;
        let (queue_id, port) = (q.u32("queue_id")?, PortNo(q.u32("port")?));
        let at = q;
        let len = q.u16("len")? as usize;
        if len < 16 {
            return Err(at.bad_len("len", "at least 16", len));
        }
        let mut q = r.sub(len, "queue")?;
        q.pad::<16>()?;
        let mut properties = Vec::new();
        while !q.is_empty() {
            properties.push(QueueProp::parse(&mut q)?);
        }
        Ok(Self { queue_id, port, properties })
    }
    /// Writes one queue.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let Self { queue_id, port, properties } = self;
        let start = w.pos();
        w.u32(*queue_id);
        w.u32(port.0);
        let at = w.len_later();
        w.zeros(6);
        for p in properties {
            p.emit(w);
        }
        w.set_len(at, start);
    }
}

impl QueueProp {
    /// Reads one property.
    pub fn parse(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut p = *r;
        let kind = p.u16("property")?;
        let at = p;
        let len = p.u16("len")? as usize;
        if len < 8 {
            return Err(at.bad_len("len", "at least 8", len));
        }
        let mut p = r.sub(len, "property")?;
        p.pad::<8>()?;
        let out = match kind {
            OFPQT_MIN_RATE | OFPQT_MAX_RATE => {
                let rate = p.u16("rate")?;
                p.pad::<6>()?;
                if kind == OFPQT_MIN_RATE {
                    Self::MinRate(rate)
                } else {
                    Self::MaxRate(rate)
                }
            }
            OFPQT_EXPERIMENTER => {
                let experimenter = p.u32("experimenter")?;
                p.pad::<4>()?;
                Self::Experimenter { experimenter, data: p.rest().to_vec() }
            }
            kind => Self::Unknown { kind, data: p.rest().to_vec() },
        };
        p.finish()?;
        Ok(out)
    }
    /// Writes one property.
    pub fn emit(&self, w: &mut Writer<'_>) {
        let start = w.pos();
        w.u16(match self {
            Self::MinRate(_) => OFPQT_MIN_RATE,
            Self::MaxRate(_) => OFPQT_MAX_RATE,
            Self::Experimenter { .. } => OFPQT_EXPERIMENTER,
            Self::Unknown { kind, .. } => *kind,
        });
        let at = w.len_later();
        w.zeros(4);
        match self {
            Self::MinRate(rate) | Self::MaxRate(rate) => {
                w.u16(*rate);
                w.zeros(6);
            }
            Self::Experimenter { experimenter, data } => {
                w.u32(*experimenter);
                w.zeros(4);
                w.bytes(data);
            }
            Self::Unknown { data, .. } => w.bytes(data),
        }
        w.set_len(at, start);
    }
}
