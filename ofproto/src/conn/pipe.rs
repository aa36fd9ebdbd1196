//! The two byte queues between a connection and its socket. Held by both the manager and the I/O task, on one thread.
//!
//! **Shortcut.** Of a plain socket the pipe has a second handle ([`Pipe::set_shortcut`]). Then the control loop moves bytes itself where that can be
//! done at once, which spares a peer that waits for each answer the wake-ups of two tasks: [`Pipe::look`] reads what has come, [`Pipe::flush`] writes
//! what is to be sent. What does not go at once, and the end of the connection, stay the task's.

use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::rc::Rc;
use std::task::Waker;

/// Unread input beyond this stops reading from the socket.
pub const INPUT_LIMIT: usize = 512 * 1024;
/// While this much waits to be sent, no more requests of the peer are handled and packet-ins are dropped.
pub const OUTPUT_HIGH: usize = 1024 * 1024;
/// A peer for which this much waits is dropped: it reads nothing, and what waits must not be lost silently.
pub const OUTPUT_LIMIT: usize = 32 * 1024 * 1024;

#[derive(Default)]
struct Inner {
    input: BytesMut,
    output: BytesMut,
    in_flight: usize,
    closed: Option<String>,
    hang_up: bool,
    received: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
    linger: Option<Waker>,
    shortcut: Option<File>,
}

/// Shared handle; clones are the same pipe.
#[derive(Clone, Default)]
pub struct Pipe(Rc<RefCell<Inner>>);

impl Pipe {
    /// An open pipe without content.
    pub fn new() -> Self {
        Self::default()
    }

    // ---- the manager's side ----

    /// Lets `f` take bytes off the front of the input; wakes the reader if room was made.
    pub fn with_input<T>(&self, f: impl FnOnce(&mut BytesMut) -> T) -> T {
        let mut p = self.0.borrow_mut();
        let out = f(&mut p.input);
        if p.input.len() < INPUT_LIMIT / 2 {
            if let Some(w) = p.reader.take() {
                w.wake();
            }
        }
        out
    }
    /// Unread input in bytes.
    pub fn input_len(&self) -> usize {
        self.0.borrow().input.len()
    }
    /// Lets `f` append to the output; wakes the writer.
    pub fn with_output<T>(&self, f: impl FnOnce(&mut BytesMut) -> T) -> T {
        let mut p = self.0.borrow_mut();
        let out = f(&mut p.output);
        if !p.output.is_empty() && p.shortcut.is_none() {
            if let Some(w) = p.writer.take() {
                w.wake();
            }
        }
        out
    }
    /// Has what is to be sent taken by the socket, or woken who does that. To be called when output may have come, if there is a shortcut; else
    /// [`Pipe::with_output`] does it.
    pub fn flush(&self) {
        let mut inner = self.0.borrow_mut();
        let p = &mut *inner;
        let Some(socket) = p.shortcut.as_mut().filter(|_| !p.output.is_empty()) else { return };
        // While the task is writing, the order of bytes is in its hands.
        if p.in_flight == 0 && p.writer.is_some() {
            if let Ok(n) = socket.write(&p.output) {
                p.output.advance(n);
            }
        }
        if !p.output.is_empty() {
            if let Some(w) = p.writer.take() {
                w.wake();
            }
        }
    }
    /// Reads what has come on the shortcut; whether there was something.
    pub fn look(&self, buf: &mut [u8]) -> bool {
        let mut inner = self.0.borrow_mut();
        let p = &mut *inner;
        let room = INPUT_LIMIT.saturating_sub(p.input.len()).min(buf.len());
        let Some(socket) = p.shortcut.as_mut().filter(|_| room > 0) else { return false };
        match socket.read(&mut buf[..room]) {
            Ok(n) if n > 0 => {
                p.received += n as u64;
                p.input.extend_from_slice(&buf[..n]);
                true
            }
            // The end and errors are the task's to see.
            _ => false,
        }
    }
    /// Bytes that the socket has not taken yet.
    pub fn output_len(&self) -> usize {
        let p = self.0.borrow();
        p.output.len() + p.in_flight
    }
    /// Why the peer's side is closed, if it is.
    pub fn closed(&self) -> Option<String> {
        self.0.borrow().closed.clone()
    }
    /// Close once the output is sent.
    pub fn hang_up(&self) {
        let mut p = self.0.borrow_mut();
        p.hang_up = true;
        for w in [p.writer.take(), p.reader.take(), p.linger.take()].into_iter().flatten() {
            w.wake();
        }
    }
    /// All bytes ever received: changes when the peer is heard.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }

    // ---- the socket's side ----

    /// A second handle on the socket, which does not block.
    pub fn set_shortcut(&self, socket: File) {
        self.0.borrow_mut().shortcut = Some(socket);
    }

    /// Whether [`Pipe::hang_up`] was called.
    pub fn hanging_up(&self) -> bool {
        self.0.borrow().hang_up
    }
    /// Tells `waker` of [`Pipe::hang_up`].
    pub fn on_hang_up(&self, waker: &Waker) {
        self.0.borrow_mut().linger = Some(waker.clone());
    }
    /// Bytes from the peer.
    pub fn feed(&self, data: &[u8]) {
        let mut p = self.0.borrow_mut();
        p.received += data.len() as u64;
        p.input.extend_from_slice(data);
    }
    /// Room for input in bytes; at zero, `waker` is told when there is some again.
    pub fn poll_room(&self, waker: &Waker) -> usize {
        let mut p = self.0.borrow_mut();
        let room = INPUT_LIMIT.saturating_sub(p.input.len());
        if room == 0 {
            p.reader = Some(waker.clone());
        }
        room
    }
    /// The output, all of it; empty if there is none, then `waker` is told when there is. `sent` bytes of what was taken before are
    /// now with the socket.
    pub fn poll_output(&self, sent: usize, waker: &Waker) -> Bytes {
        let mut p = self.0.borrow_mut();
        p.in_flight = p.in_flight.saturating_sub(sent);
        let out = p.output.split().freeze();
        p.in_flight += out.len();
        if out.is_empty() && !p.hang_up {
            p.writer = Some(waker.clone());
        }
        out
    }
    /// The socket is gone.
    pub fn close(&self, why: impl Into<String>) {
        let mut p = self.0.borrow_mut();
        p.closed.get_or_insert(why.into());
        p.in_flight = 0;
        p.output.clear();
        p.shortcut = None;
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = self.0.borrow();
        write!(f, "Pipe(in {}, out {}, closed {:?})", p.input.len(), p.output.len() + p.in_flight, p.closed)
    }
}
