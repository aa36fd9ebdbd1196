//! OpenFlow 1.3 on the wire and in words: typed messages, parse and emit, text in and out. No I/O, no clock, no unsafe.
#![forbid(unsafe_code)]

pub mod action;
pub mod field;
pub mod ids;
pub mod instruction;
pub mod matching;

pub use action::Action;
pub use field::Field;
pub use ids::{EthAddr, GroupId, MeterId, PortNo, TableId, Xid};
pub use instruction::Instruction;
pub use matching::{Match, Oxm, OxmField};
