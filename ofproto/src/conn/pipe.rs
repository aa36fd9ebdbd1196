//! The two byte queues between a connection and its socket. Held by both the manager and the I/O task, on one thread.
//!
//! **Shortcut.** Of a plain socket the pipe has a second handle ([`Pipe::set_shortcut`]). Then the control loop moves bytes itself where that can be
//! done at once, which spares a peer that waits for each answer the wake-ups of two tasks: [`Pipe::look`] reads what has come, [`Pipe::flush`] writes
//! what is to be sent. What does not go at once, and the end of the connection, stay the task's.
//!
//! **The end.** A peer that closes has often just said something: [`Pipe::end`] says that no more comes, and what has come is handled all the same
//! ("Switches must process every message received from a controller in full", OpenFlow 1.3.5, "Message Handling"). [`Pipe::hang_up`] closes
//! when all is sent, [`Pipe::close`] at once.

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
/// A peer for which this much waits, and that has taken nothing of it for a while, is dropped: what waits must not be lost silently. (The reports of
/// a million flow entries that end at once are more, and a peer that reads gets them all.)
pub const OUTPUT_LIMIT: usize = 32 * 1024 * 1024;
/// A peer for which this much waits is dropped, however fast it reads.
pub const OUTPUT_MOST: usize = 256 * 1024 * 1024;

#[derive(Default)]
struct Inner {
    input: BytesMut,
    output: BytesMut,
    in_flight: usize,
    /// Why no more input comes.
    ended: Option<String>,
    /// Nobody takes output any more: it is thrown away.
    muted: bool,
    closed: Option<String>,
    hang_up: bool,
    received: u64,
    sent: u64,
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
        if p.muted {
            p.output.clear();
        }
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
                p.sent += n as u64;
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
    /// Why the socket is closed, if it is.
    pub fn closed(&self) -> Option<String> {
        self.0.borrow().closed.clone()
    }
    /// Why no more input will come, if so. What has come is still to be handled, and may be answered.
    pub fn ended(&self) -> Option<String> {
        self.0.borrow().ended.clone()
    }
    /// Close once the output is sent.
    pub fn hang_up(&self) {
        let mut p = self.0.borrow_mut();
        p.hang_up = true;
        p.wake_all();
    }
    /// All bytes ever received: changes when the peer is heard.
    pub fn received(&self) -> u64 {
        self.0.borrow().received
    }
    /// All bytes that the socket ever took.
    pub fn sent(&self) -> u64 {
        self.0.borrow().sent
    }
    /// Both sides: nothing goes either way any more. The socket is closed at once.
    pub fn close(&self, why: impl Into<String>) {
        let mut p = self.0.borrow_mut();
        p.closed.get_or_insert(why.into());
        p.mute();
        p.wake_all();
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
    /// Tells `waker` of [`Pipe::hang_up`] and [`Pipe::close`].
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
    /// The output, all of it; empty if there is none, then `waker` is told when there is.
    pub fn poll_output(&self, waker: &Waker) -> Bytes {
        let mut p = self.0.borrow_mut();
        let out = p.output.split().freeze();
        p.in_flight += out.len();
        if out.is_empty() && !p.hang_up {
            p.writer = Some(waker.clone());
        }
        out
    }
    /// So many bytes of what was taken are now with the socket.
    pub fn took(&self, sent: usize) {
        let mut p = self.0.borrow_mut();
        p.in_flight = p.in_flight.saturating_sub(sent);
        p.sent += sent as u64;
    }
    /// The peer will say no more.
    pub fn end(&self, why: impl Into<String>) {
        self.0.borrow_mut().ended.get_or_insert(why.into());
    }
    /// The peer hears no more; what it said before may still come in.
    pub fn mute(&self) {
        self.0.borrow_mut().mute();
    }
}

impl Inner {
    fn mute(&mut self) {
        self.muted = true;
        self.in_flight = 0;
        self.output.clear();
        self.shortcut = None;
    }
    fn wake_all(&mut self) {
        for w in [self.writer.take(), self.reader.take(), self.linger.take()].into_iter().flatten() {
            w.wake();
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let p = self.0.borrow();
        write!(f, "Pipe(in {}, out {}, closed {:?})", p.input.len(), p.output.len() + p.in_flight, p.closed)
    }
}
