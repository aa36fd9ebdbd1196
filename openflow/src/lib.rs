//! OpenFlow 1.3 on the wire and in words: typed messages, parse and emit, text in and out. No I/O, no clock, no unsafe.
//!
//! Version 1.3.5 (wire version 4) is spoken whole; of other versions only what is the same in all (HELLO, ERROR, ECHO). Extensions:
//! the ONF's bundles (EXT-230), flow monitors (EXT-187) and TCP flags, and Nicira's actions, fields and messages as 1.3 controllers
//! send them. This crate must never know what a packet looks like, what a switch can do, or what time it is: whether a
//! flow-mod makes sense is `ofproto`'s to say, here it is only read, written and printed.
//!
//! | module | what |
//! | --- | --- |
//! | [`wire`] | `Reader` and `Writer`: named fields, offsets, length guards |
//! | [`error`] | every OpenFlow error once; [`DecodeError`]: what is wrong, where, and which error answers it |
//! | [`header`], [`codec`] | the 8-byte header; cutting a byte stream into messages |
//! | [`field`], [`matching`] | one row per field; matches with masks, prerequisites and their judgement |
//! | [`action`], [`instruction`], [`port`], [`group`], [`meter`] | structures that several messages share |
//! | [`msg`] | one file per message, [`msg::multipart`] one per multipart type, cut into parts and put together again |
//! | [`text`] | the language of `ovs-ofctl`, read and printed; JSON |
//! | `arbitrary`, `checks` | (feature `arbitrary`) random and sample values; what must hold for any bytes |
//!
//! Unknown values survive: protocol numbers are newtypes with names ([`num`]), unknown TLVs are kept as bytes. What comes back out is
//! what came in, except that a field named by its NXM id is written by its OXM id.
#![forbid(unsafe_code)]

pub mod action;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
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
