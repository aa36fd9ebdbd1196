//! Connections: from a byte stream to messages that the bridge acts on, and back.
//!
//! [`rconn`] decides when to connect, probe and give up; it does no I/O and is given the time. [`manager`] speaks OpenFlow with
//! every controller and management client of one bridge: hello, roles, asynchronous messages, bundles, barriers, dumps in
//! slices. It knows bytes only as a [`pipe::Pipe`]. [`io`] moves bytes between pipes and TCP, TLS and Unix sockets. [`target`]
//! reads `tcp:IP:PORT` and friends.
//!
//! All of it runs on the control thread. A connection holds at most [`pipe::INPUT_LIMIT`] bytes of unread input; its replies
//! stop being made while [`pipe::OUTPUT_HIGH`] bytes wait to be sent, so a slow reader only slows itself down.

pub mod bundled;
pub mod io;
pub mod manager;
pub mod pipe;
pub mod rconn;
#[cfg(any(test, feature = "testing"))]
pub mod remembering;
pub mod target;
pub mod tls;

pub use manager::{Backend, ConnId, ConnKind, ConnOptions, Event, Manager, PacketInEvent};
pub use pipe::Pipe;
pub use target::Target;
