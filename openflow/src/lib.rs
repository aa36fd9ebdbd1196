//! OpenFlow 1.3 on the wire and in words: typed messages, parse and emit, text in and out. No I/O, no clock, no unsafe.
#![forbid(unsafe_code)]

pub mod action;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod check;
#[cfg(any(test, feature = "arbitrary"))]
pub mod checks;
pub mod codec;
pub mod error;
pub mod field;
pub mod group;
pub mod header;
pub mod ids;
pub mod instruction;
pub mod matching;
pub mod meter;
pub mod msg;
pub mod num;
pub mod port;
pub mod text;
pub mod wire;

pub use action::Action;
pub use error::{DecodeError, OfpError};
pub use field::Field;
pub use ids::{EthAddr, GroupId, MeterId, PortNo, TableId, Xid};
pub use instruction::{Instruction, Instructions};
pub use matching::{Match, Oxm, OxmField};
pub use msg::{Message, OfMessage};
