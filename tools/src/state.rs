//! `--state-dir`: flows, groups, meters, port settings and configuration that outlive the process.
//!
//! The store is a journal per bridge of the OpenFlow messages that changed something, and one JSON file of configuration. A journal
//! suits because what must be kept already has a compact, versioned, well-tested form: the wire's. There is nothing to keep in step with
//! the tables but the requests themselves, and a reply never leaves before its request is in the file (the control thread writes before it
//! lets sockets go on). So `kill -9` loses nothing that was answered. Against the loss of power there is [`Sync`]: a thread of its own has the
//! disk take what was written, at most a second later; or before the barrier's reply leaves, for whoever asks for that.
//!
//! ```text
//! record   length:4 | crc32:4 | kind:1 | messages        little-endian; the sum covers kind and messages
//! kind     0 one message, 1 the messages of a bundle, 2 flow entries (as ADDs) of a snapshot
//! ```
//! A torn or damaged record ends the journal: all before it counts, the rest is cut off (and put beside it, as `.journal.torn`). At start the
//! journal is replayed and then written anew as a snapshot of what is.
//!
//! **Rewriting.** A journal that has grown to `GROWTH` times its last snapshot is written anew, a few entries at a time between the requests,
//! so that nobody waits. Meanwhile requests go on: each is recorded in the old file and, between the slices of the snapshot, in the new one.
//! That gives the same tables: an entry changed before its slice was written is found changed there, one changed after is changed again
//! by the record behind. Nothing can be refused that was taken before, since groups and meters come first and entries are never more
//! than there were. When all of it is on the disk the new file takes the old one's name.

use crate::config::{BridgeSettings, ControllerConfig, FailMode};
use bytes::BytesMut;
use ofproto::conn::bundled::Bundled;
use ofproto::conn::manager::{Backend, ConnId};
use ofproto::switch::FlowCursor;
use ofproto::table_features::TableShapes;
use ofproto::PortSpec;
use openflow::codec::OfCodec;
use openflow::header::{Header, MsgType};
use openflow::msg::multipart::flow_monitor::{FlowUpdate, FlowUpdateEvent};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest, MeterRequest, MultipartFlags, Reassembler};
use openflow::msg::{
    BundleFlags, FlowMod, FlowModCommand, FlowModFlags, FlowRemovedReason, GroupMod, GroupModCommand,
    Message, MeterMod, MeterModCommand, MultipartReply, MultipartRequest, OfMessage, PortMod, ReplyBody,
    RequestBody, OFP_NO_BUFFER,
};
use openflow::port::{Port, PortConfig};
use openflow::{Action, GroupId, MeterId, OfpError};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

const HEAD: usize = 8;
const ONE: u8 = 0;
const BUNDLE: u8 = 1;
const SNAPSHOT: u8 = 2;
/// A journal below this is never rewritten.
const SMALL: u64 = 8 << 20;
/// A journal this many times its last snapshot is rewritten.
const GROWTH: u64 = 4;
/// Flow entries of a snapshot's record.
const FLOWS: usize = 512;

/// CRC-32 (IEEE 802.3), table made at compile time.
const CRC: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |c, b| CRC[((c ^ u32::from(*b)) & 0xff) as usize] ^ (c >> 8))
}

/// When what is written is on the disk, so that it survives the loss of power too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// At most [`LAZY`] later.
    #[default]
    Lazy,
    /// Before the reply to a barrier or to a bundle's commit leaves.
    Barrier,
}

/// How long something written may not be on the disk yet.
pub const LAZY: Duration = Duration::from_secs(1);

/// What makes the disk take a file; a test has its own.
type Flush = Arc<dyn Fn(&File) -> std::io::Result<()> + Send + std::marker::Sync>;

/// Bytes recorded since the start, and how many of them are on the disk.
struct Flushed {
    file: Arc<File>,
    wanted: u64,
    done: u64,
    stop: bool,
    failed: bool,
}

/// The thread that waits for the disk.
struct Flusher {
    state: Arc<(Mutex<Flushed>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    fn new(file: Arc<File>, mode: Sync, flush: Flush) -> Self {
        let state = Flushed { file, wanted: 0, done: 0, stop: false, failed: false };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = state.clone();
        let work = move || {
            let (lock, changed) = &*shared;
            let mut s = lock.lock();
            loop {
                while s.wanted == s.done && !s.stop {
                    changed.wait(&mut s);
                }
                if s.stop && s.wanted == s.done {
                    return;
                }
                if mode == Sync::Lazy && !s.stop {
                    // What comes meanwhile goes along.
                    let until = Instant::now() + LAZY * 4 / 5;
                    while !s.stop && !changed.wait_until(&mut s, until).timed_out() {}
                }
                let (file, upto) = (s.file.clone(), s.wanted);
                let flushed = parking_lot::MutexGuard::unlocked(&mut s, || flush(&file));
                if let Err(e) = flushed {
                    // Said, and not waited for any longer.
                    tracing::error!(error = %e, "the disk does not take the state");
                    s.failed = true;
                }
                s.done = upto;
            }
        };
        let thread = std::thread::Builder::new().name("state".into()).spawn(work);
        if let Err(e) = &thread {
            tracing::error!(error = %e, "no thread to have state on the disk");
            state.0.lock().failed = true;
        }
        Self { state, thread: thread.ok() }
    }
    fn want(&self, upto: u64) {
        let mut s = self.state.0.lock();
        s.wanted = upto;
        if s.failed {
            s.done = upto;
        }
        self.state.1.notify_one();
    }
    /// Another file holds the same from now on, and is on the disk.
    fn moved(&self, file: Arc<File>) {
        self.state.0.lock().file = file;
    }
    fn done(&self) -> u64 {
        self.state.0.lock().done
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.state.0.lock().stop = true;
        self.state.1.notify_one();
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// A new journal under way.
struct Rewrite<C> {
    file: Arc<File>,
    path: PathBuf,
    cursor: C,
    written: u64,
    /// All is in it; the answer of the thread that has the disk take it.
    flushed: Option<Receiver<std::io::Result<()>>>,
}

/// The journal of one bridge. `C`: where a dump of its tables stands.
pub struct Journal<C = FlowCursor> {
    path: PathBuf,
    file: Arc<File>,
    pending: BytesMut,
    written: u64,
    snapshot: u64,
    /// While it is replayed, nothing is recorded.
    replaying: bool,
    failed: bool,
    mode: Sync,
    /// Bytes recorded since the start.
    recorded: u64,
    flusher: Flusher,
    /// Versions of the tables, and the bytes that must be on the disk for them; the oldest first.
    marks: VecDeque<(u64, u64)>,
    rewrite: Option<Rewrite<C>>,
}

fn at<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> String + '_ {
    move |e| format!("{}: {e}", path.display())
}

/// The whole records of a journal, and where the first that is not whole starts.
fn records(data: &[u8]) -> (Vec<(u8, &[u8])>, usize) {
    let mut out = Vec::new();
    let mut pos = 0;
    while let Some(head) = data.get(pos..pos + HEAD) {
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let Some(body) = data.get(pos + HEAD..).and_then(|d| d.get(..word(0) as usize)) else { break };
        if body.is_empty() || crc32(body) != word(4) {
            break;
        }
        out.push((body[0], &body[1..]));
        pos += HEAD + body.len();
    }
    (out, pos)
}

fn messages(body: &[u8]) -> Vec<OfMessage> {
    let mut buf = BytesMut::from(body);
    let mut codec = OfCodec::new();
    let (mut out, mut parts) = (Vec::new(), Reassembler::new(body.len()));
    while let Ok(Some(f)) = codec.decode(&mut buf) {
        let Ok(m) = f.message else { continue };
        match m.body {
            // A set of table features may be longer than a message can be.
            Message::MultipartRequest(r) => {
                let whole = parts.request(m.xid, r, f.raw.len()).ok().flatten();
                out.extend(whole.map(|body| OfMessage::new(m.xid, MultipartRequest::new(body))));
            }
            _ => out.push(m),
        }
    }
    out
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Messages that the tables took.
    pub messages: usize,
    /// Messages that the tables refused now (a port that is gone, say).
    pub refused: usize,
    /// Bytes cut off as torn.
    pub torn_bytes: u64,
}

impl<C: Default> Journal<C> {
    /// Opens or makes a bridge's journal.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(dir: &Path, bridge: &str, mode: Sync) -> Result<Self, String> {
        Self::open_with(dir, bridge, mode, Arc::new(File::sync_data))
    }

    fn open_with(dir: &Path, bridge: &str, mode: Sync, flush: Flush) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let path = dir.join(format!("{bridge}.journal"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at(&path))?;
        let file = Arc::new(file);
        Ok(Self {
            path,
            flusher: Flusher::new(file.clone(), mode, flush),
            file,
            pending: BytesMut::new(),
            written: 0,
            snapshot: 0,
            replaying: false,
            failed: false,
            mode,
            recorded: 0,
            marks: VecDeque::new(),
            rewrite: None,
        })
    }

    /// Gives the tables back what the journal holds, then rewrites it as a snapshot.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn replay<B: Backend<Cursor = C>>(
        &mut self,
        backend: &mut B,
        now: Instant,
    ) -> Result<Replayed, String> {
        let mut data = Vec::new();
        let mut did = Replayed::default();
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut data)).map_err(at(&self.path))?;
        let (list, end) = records(&data);
        did.torn_bytes = (data.len() - end) as u64;
        if end < data.len() {
            // Nothing is thrown away that somebody may want to look at.
            let _ = std::fs::write(self.path.with_extension("journal.torn"), &data[end..]);
        }
        file.set_len(end as u64).map_err(at(&self.path))?;
        file.seek(SeekFrom::Start(end as u64)).map_err(at(&self.path))?;
        self.written = end as u64;
        self.replaying = true;
        let from = ConnId(0);
        for (kind, body) in list {
            let mut msgs = messages(body);
            address(&mut msgs, backend, now);
            without_buffers(&mut msgs);
            if kind == BUNDLE {
                let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
                match backend.handle_bundle(now, from, &msgs.iter().collect(), flags) {
                    Ok(()) => did.messages += msgs.len(),
                    Err(_) => did.refused += msgs.len(),
                }
                continue;
            }
            for m in &msgs {
                match backend.handle(now, from, m, &mut Vec::new()) {
                    Ok(()) => did.messages += 1,
                    Err(e) => {
                        tracing::warn!(journal = %self.path.display(), message = %m.body.msg_type(), error = %e, "not restored");
                        did.refused += 1;
                    }
                }
            }
        }
        self.replaying = false;
        self.rewrite(backend, now)?;
        Ok(did)
    }

    fn record(&mut self, kind: u8, msgs: &[&OfMessage]) {
        if self.replaying || self.failed {
            return;
        }
        append(&mut self.pending, kind, |out| msgs.iter().all(|m| m.emit(out).is_ok()));
    }

    /// What the tables took.
    pub fn took(&mut self, msg: &OfMessage) {
        if is_state(&msg.body) {
            self.record(ONE, &[msg]);
        }
    }
    /// A bundle that the tables took.
    pub fn took_bundle(&mut self, msgs: &Bundled) {
        if self.replaying || self.failed {
            return;
        }
        append(&mut self.pending, BUNDLE, |out| {
            for m in msgs.raw() {
                // Of what a bundle may hold, only packet-outs are not state.
                if Header::peek(m).is_some_and(|h| h.msg_type != MsgType::PACKET_OUT) {
                    out.extend_from_slice(m);
                }
            }
            true
        });
    }
    /// What happened to flows by itself: expiry, learning.
    pub fn happened(&mut self, from: Option<ConnId>, update: &FlowUpdate, flags: FlowModFlags) {
        let FlowUpdate::Full { event, reason, .. } = update else { return };
        let by_itself = from.is_none()
            || matches!(
                *reason,
                FlowRemovedReason::IDLE_TIMEOUT
                    | FlowRemovedReason::HARD_TIMEOUT
                    | FlowRemovedReason::EVICTION
            ) && *event == FlowUpdateEvent::DELETED;
        if !by_itself {
            return;
        }
        if let Some(f) = flow_of(update, flags) {
            self.record(ONE, &[&OfMessage::new(0u32, f)]);
        }
    }

    /// Writes what was recorded. To be called before replies leave.
    pub fn write(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let out = self.pending.split();
        if let Err(e) = (&*self.file).write_all(&out) {
            // The switch goes on; what is kept ends here, and says so.
            tracing::error!(journal = %self.path.display(), error = %e, "state is no longer kept");
            self.failed = true;
            self.rewrite = None;
            let _ = self.file.set_len(self.written);
            return;
        }
        self.written += out.len() as u64;
        self.recorded += out.len() as u64;
        self.flusher.want(self.recorded);
        if let Some(r) = &mut self.rewrite {
            match (&*r.file).write_all(&out) {
                Ok(()) => r.written += out.len() as u64,
                Err(e) => {
                    tracing::error!(journal = %r.path.display(), error = %e, "journal not rewritten");
                    self.rewrite = None;
                }
            }
        }
    }

    /// `version` of the tables holds what was recorded so far.
    pub fn mark(&mut self, version: u64) {
        self.write();
        if self.mode == Sync::Barrier && !self.failed {
            match self.marks.back_mut() {
                Some(m) if m.0 == version => m.1 = self.recorded,
                _ => self.marks.push_back((version, self.recorded)),
            }
        }
    }

    /// Versions from this one on are not on the disk yet; `None`: all are, or nobody asked.
    pub fn not_on_disk(&mut self) -> Option<u64> {
        if self.marks.is_empty() || self.failed {
            return None;
        }
        let done = self.flusher.done();
        while self.marks.front().is_some_and(|m| m.1 <= done) {
            self.marks.pop_front();
        }
        self.marks.front().map(|m| m.0)
    }

    /// Whether [`Journal::rewrite_some`] has something to do.
    pub fn is_due(&self) -> bool {
        self.rewrite.is_some()
            || !self.failed && self.written > SMALL && self.written > GROWTH * self.snapshot
    }

    fn begin<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> Result<(), String> {
        self.write();
        let path = self.path.with_extension("journal.new");
        let file = File::create(&path).map_err(at(&path))?;
        let mut out = BytesMut::new();
        for m in settings(backend, now).into_iter().chain(meters(backend, now)).chain(groups(backend, now)) {
            append(&mut out, ONE, |o| m.emit(o).is_ok());
        }
        (&file).write_all(&out).map_err(at(&path))?;
        let written = out.len() as u64;
        self.rewrite =
            Some(Rewrite { file: Arc::new(file), path, cursor: C::default(), written, flushed: None });
        Ok(())
    }

    /// A slice of the snapshot; true once all of it is written.
    fn slice<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> Result<bool, String> {
        self.write();
        let Some(r) = &mut self.rewrite else { return Ok(true) };
        let mut flows = Vec::new();
        let more = backend.dump_flows(now, &FlowStatsRequest::default(), &mut r.cursor, FLOWS, &mut flows);
        let mut out = BytesMut::new();
        append(&mut out, SNAPSHOT, |o| {
            flows.into_iter().all(|f| OfMessage::new(0u32, add_of(f)).emit(o).is_ok())
        });
        (&*r.file).write_all(&out).map_err(at(&r.path))?;
        r.written += out.len() as u64;
        Ok(!more)
    }

    /// The new file takes the old one's place.
    fn finish(&mut self) -> Result<(), String> {
        let Some(r) = self.rewrite.take() else { return Ok(()) };
        std::fs::rename(&r.path, &self.path).map_err(at(&r.path))?;
        if let Some(dir) = self.path.parent() {
            // The name, too, must survive.
            let _ = File::open(dir).and_then(|d| d.sync_all());
        }
        self.flusher.moved(r.file.clone());
        (self.file, self.written, self.snapshot, self.failed) = (r.file, r.written, r.written, false);
        Ok(())
    }

    /// Goes on with writing the journal anew, for a moment; begins if it has not. The old one counts until the new one is on the disk. True:
    /// there is more to do at once.
    ///
    /// # Errors
    /// The new file cannot be written; the old one stays.
    pub fn rewrite_some<B: Backend<Cursor = C>>(
        &mut self,
        backend: &mut B,
        now: Instant,
    ) -> Result<bool, String> {
        let done = self.rewrite_step(backend, now);
        if done.is_err() {
            // Not at once again: it takes as much growth as the last time.
            (self.rewrite, self.snapshot) = (None, self.written);
        }
        done
    }

    fn rewrite_step<B: Backend<Cursor = C>>(
        &mut self,
        backend: &mut B,
        now: Instant,
    ) -> Result<bool, String> {
        let Some(r) = &mut self.rewrite else {
            self.begin(backend, now)?;
            return Ok(true);
        };
        let Some(answer) = &r.flushed else {
            if !self.slice(backend, now)? {
                return Ok(true);
            }
            if let Some(r) = &mut self.rewrite {
                let (tell, answer) = std::sync::mpsc::channel();
                let file = r.file.clone();
                std::thread::spawn(move || tell.send(file.sync_data()));
                r.flushed = Some(answer);
            }
            return Ok(false);
        };
        match answer.try_recv() {
            Err(TryRecvError::Empty) => {}
            Ok(Ok(())) => self.finish()?,
            Ok(Err(e)) => return Err(at(&r.path)(e)),
            Err(TryRecvError::Disconnected) => return Err(at(&r.path)("the disk gave no answer")),
        }
        Ok(false)
    }

    /// Replaces the journal by a snapshot of what the tables hold, at once.
    ///
    /// # Errors
    /// The new file cannot be written; the old one stays.
    pub fn rewrite<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> Result<(), String> {
        self.begin(backend, now)?;
        while !self.slice(backend, now)? {}
        if let Some(r) = &self.rewrite {
            r.file.sync_data().map_err(at(&r.path))?;
        }
        self.finish()
    }
}

impl<C> Drop for Journal<C> {
    fn drop(&mut self) {
        let out = self.pending.split();
        let _ = (&*self.file).write_all(&out).and_then(|()| self.file.sync_data());
    }
}

/// Forgets a bridge that was deleted.
pub fn forget(dir: &Path, bridge: &str) {
    let _ = std::fs::remove_file(dir.join(format!("{bridge}.journal")));
}

fn append(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut) -> bool) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    out.extend_from_slice(&[kind]);
    if !body(out) || out.len() == start + HEAD + 1 {
        out.truncate(start);
        return;
    }
    let len = (out.len() - start - HEAD) as u32;
    let sum = crc32(&out[start + HEAD..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Messages whose effect is kept.
fn is_state(m: &Message) -> bool {
    match m {
        Message::FlowMod(_)
        | Message::GroupMod(_)
        | Message::MeterMod(_)
        | Message::PortMod(_)
        | Message::TableMod(_)
        | Message::SetConfig(_) => true,
        Message::MultipartRequest(MultipartRequest { body: RequestBody::TableFeatures(t), .. }) => {
            !t.is_empty()
        }
        _ => false,
    }
}

fn flow_of(update: &FlowUpdate, flags: FlowModFlags) -> Option<FlowMod> {
    let FlowUpdate::Full {
        event,
        priority,
        idle_timeout,
        hard_timeout,
        table_id,
        cookie,
        matching,
        instructions,
        ..
    } = update
    else {
        return None;
    };
    let command = match *event {
        FlowUpdateEvent::DELETED => FlowModCommand::DELETE_STRICT,
        FlowUpdateEvent::ADDED | FlowUpdateEvent::MODIFIED => FlowModCommand::ADD,
        _ => return None,
    };
    let deleted = command == FlowModCommand::DELETE_STRICT;
    Some(FlowMod {
        command,
        priority: *priority,
        idle_timeout: *idle_timeout,
        hard_timeout: *hard_timeout,
        table_id: *table_id,
        cookie: if deleted { 0 } else { *cookie },
        matching: matching.clone(),
        instructions: if deleted { Default::default() } else { instructions.clone() },
        flags: if deleted { FlowModFlags::empty() } else { kept(flags) },
        ..FlowMod::default()
    })
}

/// Flags of an entry that is there: whether it overlapped another was decided when it was added.
fn kept(flags: FlowModFlags) -> FlowModFlags {
    flags & !(FlowModFlags::CHECK_OVERLAP | FlowModFlags::RESET_COUNTS)
}

fn add_of(f: FlowStats) -> FlowMod {
    FlowMod {
        cookie: f.cookie,
        table_id: f.table_id,
        idle_timeout: f.idle_timeout,
        hard_timeout: f.hard_timeout,
        priority: f.priority,
        flags: kept(f.flags),
        matching: f.matching,
        instructions: f.instructions,
        ..FlowMod::default()
    }
}

fn ask<B: Backend>(backend: &mut B, now: Instant, body: RequestBody) -> Vec<ReplyBody> {
    let request = MultipartRequest { flags: MultipartFlags::empty(), body };
    let mut replies = Vec::new();
    let _ = backend.handle(now, ConnId(0), &OfMessage::new(0u32, request), &mut replies);
    replies
        .into_iter()
        .filter_map(|m| match m {
            Message::MultipartReply(MultipartReply { body, .. }) => Some(body),
            _ => None,
        })
        .collect()
}

/// The bridge's settings that requests changed: what tables can do (with TABLE_MOD's bits), SET_CONFIG, PORT_MOD.
fn settings<B: Backend>(backend: &mut B, now: Instant) -> Vec<OfMessage> {
    let mut out = Vec::new();
    for body in ask(backend, now, RequestBody::TableFeatures(Vec::new())) {
        match body {
            ReplyBody::TableFeatures(t) if t != TableShapes::default().features() => {
                let set = MultipartRequest::new(RequestBody::TableFeatures(t));
                out.push(OfMessage::new(0u32, set));
            }
            _ => {}
        }
    }
    let mut replies = Vec::new();
    let get = OfMessage::new(0u32, Message::GetConfigRequest);
    let _ = backend.handle(now, ConnId(0), &get, &mut replies);
    out.extend(replies.into_iter().filter_map(|m| match m {
        Message::GetConfigReply(c) => Some(OfMessage::new(0u32, Message::SetConfig(c))),
        _ => None,
    }));
    let changed = ports(backend, now).into_iter().filter(|p| !p.config.is_empty());
    out.extend(changed.map(|p| {
        let (port_no, hw_addr, config, mask) = (p.port_no, p.hw_addr, p.config, PortConfig::all());
        OfMessage::new(0u32, PortMod { port_no, hw_addr, config, mask, ..PortMod::default() })
    }));
    out
}

fn ports<B: Backend>(backend: &mut B, now: Instant) -> Vec<Port> {
    let list = ask(backend, now, RequestBody::PortDesc).into_iter().flat_map(|body| match body {
        ReplyBody::PortDesc(list) => list,
        _ => Vec::new(),
    });
    list.collect()
}

/// Flow-mods as if they had named no packet: its buffer ended with the process that kept it, the entry did not.
fn without_buffers(msgs: &mut [OfMessage]) {
    for m in msgs {
        if let Message::FlowMod(m) = &mut m.body {
            m.buffer_id = OFP_NO_BUFFER;
        }
    }
}

/// Gives port-mods the address that their port has now: a virtual device gets a new one each time it is made.
fn address<B: Backend>(msgs: &mut [OfMessage], backend: &mut B, now: Instant) {
    let is_mod = |m: &OfMessage| matches!(m.body, Message::PortMod(_));
    if !msgs.iter().any(is_mod) {
        return;
    }
    let ports = ports(backend, now);
    for m in msgs {
        if let Message::PortMod(m) = &mut m.body {
            if let Some(p) = ports.iter().find(|p| p.port_no == m.port_no) {
                m.hw_addr = p.hw_addr;
            }
        }
    }
}

fn meters<B: Backend>(backend: &mut B, now: Instant) -> Vec<OfMessage> {
    let mut out = Vec::new();
    for body in ask(backend, now, RequestBody::MeterConfig(MeterRequest { meter_id: MeterId::ALL })) {
        let ReplyBody::MeterConfig(list) = body else { continue };
        for m in list {
            let m = MeterMod {
                command: MeterModCommand::ADD,
                flags: m.flags,
                meter_id: m.meter_id,
                bands: m.bands,
            };
            out.push(OfMessage::new(0u32, m));
        }
    }
    out
}

/// Groups in an order in which each names only groups before it.
fn groups<B: Backend>(backend: &mut B, now: Instant) -> Vec<OfMessage> {
    let mut left: Vec<GroupMod> = Vec::new();
    for body in ask(backend, now, RequestBody::GroupDesc) {
        let ReplyBody::GroupDesc(list) = body else { continue };
        left.extend(list.into_iter().map(|g| GroupMod {
            command: GroupModCommand::ADD,
            kind: g.kind,
            group_id: g.group_id,
            buckets: g.buckets,
        }));
    }
    let mut out: Vec<GroupMod> = Vec::new();
    let mut placed: std::collections::HashSet<GroupId> = std::collections::HashSet::new();
    while !left.is_empty() {
        let waits = |g: &GroupMod, placed: &std::collections::HashSet<GroupId>| {
            g.buckets.iter().any(|b| {
                let named = b.actions.iter().filter_map(|a| match a {
                    Action::Group(id) => Some(*id),
                    _ => None,
                });
                named
                    .chain((b.watch_group != GroupId::ANY).then_some(b.watch_group))
                    .any(|id| !placed.contains(&id))
            })
        };
        let (later, mut ready): (Vec<_>, Vec<_>) = left.into_iter().partition(|g| waits(g, &placed));
        if ready.is_empty() {
            // Groups watched by name need not exist: the order is then free.
            out.extend(later);
            break;
        }
        placed.extend(ready.iter().map(|g| g.group_id));
        out.append(&mut ready);
        left = later;
    }
    out.into_iter().map(|g| OfMessage::new(0u32, g)).collect()
}

/// A backend whose changes are recorded.
pub struct Recorded<'a, B: Backend> {
    /// The tables.
    pub inner: B,
    /// Where their changes go; `None` records nothing.
    pub journal: Option<&'a mut Journal<B::Cursor>>,
}

impl<B: Backend> Backend for Recorded<'_, B> {
    type Cursor = B::Cursor;
    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        self.inner.handle(now, from, msg, replies)?;
        if let Some(j) = &mut self.journal {
            j.took(msg);
        }
        Ok(())
    }
    fn handle_bundle(
        &mut self,
        now: Instant,
        from: ConnId,
        msgs: &Bundled,
        flags: BundleFlags,
    ) -> Result<(), (usize, OfpError)> {
        self.inner.handle_bundle(now, from, msgs, flags)?;
        if let Some(j) = &mut self.journal {
            j.took_bundle(msgs);
        }
        Ok(())
    }
    fn check_dump(&self, request: &FlowStatsRequest) -> Result<(), OfpError> {
        self.inner.check_dump(request)
    }
    fn dump_flows(
        &mut self,
        now: Instant,
        request: &FlowStatsRequest,
        cursor: &mut B::Cursor,
        max: usize,
        out: &mut Vec<FlowStats>,
    ) -> bool {
        self.inner.dump_flows(now, request, cursor, max, out)
    }
    fn publish(&mut self) -> u64 {
        let version = self.inner.publish();
        if let Some(j) = &mut self.journal {
            j.mark(version);
        }
        version
    }
    fn synced(&mut self) -> u64 {
        let version = self.inner.synced();
        match self.journal.as_mut().and_then(|j| j.not_on_disk()) {
            Some(v) => version.min(v.saturating_sub(1)),
            None => version,
        }
    }
}

/// Writes a file so that it is either the old one or the new one, whole.
///
/// # Errors
/// One line that names the file.
pub fn write_whole(path: &Path, text: &str) -> Result<(), String> {
    let new = path.with_extension("new");
    let mut f = File::create(&new).map_err(at(&new))?;
    f.write_all(text.as_bytes()).and_then(|()| f.sync_data()).map_err(at(&new))?;
    std::fs::rename(&new, path).map_err(at(path))
}

/// How a worker is called: its core is what it keeps over a restart.
fn worker_word(core: Option<usize>) -> String {
    core.map_or("main".into(), |c| format!("core {c}"))
}

/// Bridges as configured while running, to come back with their ports and controllers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    bridges: Vec<SavedBridge>,
    /// What was set of PMDs.
    #[serde(default)]
    pub pmd: BTreeMap<String, String>,
    /// Sizes of exact-match caches: `all`, and single workers as `main` or `core N`.
    #[serde(default)]
    pub emc: BTreeMap<String, String>,
    /// Megaflows of a worker at most, if it was set.
    #[serde(default)]
    pub flow_limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedBridge {
    name: String,
    dpid: String,
    fail_mode: FailMode,
    desc: BTreeMap<String, String>,
    ports: Vec<SavedPort>,
    controllers: Vec<String>,
    /// Tables with limits, as `--table` has them.
    #[serde(default)]
    tables: Vec<String>,
    #[serde(default)]
    n_buffers: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedPort {
    name: String,
    ofport: Option<u32>,
    kind: String,
    options: BTreeMap<String, String>,
}

impl Saved {
    /// What is to be kept of these.
    pub fn of<'a>(bridges: impl Iterator<Item = &'a BridgeSettings>) -> Self {
        let bridges = bridges.map(|b| SavedBridge {
            name: b.name.clone(),
            dpid: format!("{:016x}", b.dpid()),
            fail_mode: b.fail_mode,
            desc: b.desc.clone(),
            ports: b
                .ports
                .iter()
                .map(|p| SavedPort {
                    name: p.name.clone(),
                    ofport: p.ofport.map(|n| n.0),
                    kind: p.kind.clone(),
                    options: p.options.clone(),
                })
                .collect(),
            controllers: b.controllers.iter().map(ToString::to_string).collect(),
            tables: b.tables.iter().map(|(t, l)| crate::config::table_words(*t, l)).collect(),
            n_buffers: b.n_buffers,
        });
        Self { bridges: bridges.collect(), ..Self::default() }
    }

    /// What is to be kept of the workers.
    pub fn keep_workers(&mut self, dp: &datapath::Datapath) {
        self.pmd = dp.pmd_settings().named().into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let (all, single) = dp.emc();
        self.emc = single.iter().map(|(core, size)| (worker_word(*core), size.to_string())).collect();
        self.emc.insert("all".into(), all.to_string());
        let usual = datapath::DatapathConfig::default().flow_limit;
        self.flow_limit = Some(dp.flow_limit()).filter(|n| *n != usual);
    }

    /// Gives the configuration what was kept of the workers, but for what the command line or the file says.
    ///
    /// # Errors
    /// Something kept that cannot be read.
    pub fn restore_workers(&self, config: &mut crate::config::Config) -> Result<(), String> {
        for (k, v) in self.pmd.iter().filter(|(k, _)| !config.pmd_given.contains(k)) {
            config.pmd.set(k, v).map_err(|e| format!("kept setting of PMDs: {e}"))?;
        }
        for (worker, size) in self.emc.iter().filter(|_| !config.emc_given) {
            let size = size.parse().map_err(|e| format!("kept size of an exact-match cache: {e}"))?;
            match worker.as_str() {
                "all" => config.emc_entries = size,
                w => drop(config.emc_of.insert(w.strip_prefix("core ").and_then(|c| c.parse().ok()), size)),
            }
        }
        config.flow_limit = self.flow_limit;
        Ok(())
    }

    /// Writes it to the state directory.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn store(&self, dir: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        write_whole(&dir.join("config.json"), &text)
    }

    /// Reads it; nothing kept is nothing.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn load(dir: &Path) -> Result<Self, String> {
        let path = dir.join("config.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(at(&path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(at(&path)(e)),
        }
    }

    /// Adds what the command line does not speak of; where both do, the command line counts. Ports that were kept are marked by
    /// being listed in the answer: one that has vanished must not stop the start.
    ///
    /// # Errors
    /// Something kept that cannot be read.
    pub fn merge_into(self, bridges: &mut Vec<BridgeSettings>) -> Result<Vec<String>, String> {
        let mut kept = Vec::new();
        for s in self.bridges {
            let i = match bridges.iter().position(|b| b.name == s.name) {
                Some(i) => i,
                None => {
                    bridges.push(BridgeSettings {
                        n_buffers: s.n_buffers,
                        tables: BTreeMap::new(),
                        name: s.name.clone(),
                        dpid: Some(crate::config::dpid(&s.dpid)?),
                        fail_mode: s.fail_mode,
                        ports: Vec::new(),
                        controllers: Vec::new(),
                        desc: s.desc,
                    });
                    bridges.len() - 1
                }
            };
            for t in &s.tables {
                let (table, limit) = crate::config::table_limit(t)?;
                bridges[i].tables.entry(table).or_insert(limit);
            }
            for p in s.ports {
                let of = p.ofport.map(openflow::PortNo);
                match bridges[i].ports.iter_mut().find(|q| q.name == p.name) {
                    // A number given by us stays the port's, so that flows still mean it.
                    Some(q) => {
                        q.ofport = q.ofport.or(of);
                        // So do its queues, unless the command line has some.
                        if !q.options.keys().any(|k| ofproto::queue::is_option(k)) {
                            q.options
                                .extend(p.options.into_iter().filter(|(k, _)| ofproto::queue::is_option(k)));
                        }
                    }
                    None => {
                        kept.push(p.name.clone());
                        bridges[i].ports.push(PortSpec {
                            name: p.name,
                            ofport: of,
                            kind: p.kind,
                            options: p.options,
                        });
                    }
                }
            }
            for c in s.controllers {
                let c: ControllerConfig = c.parse()?;
                if !bridges[i].controllers.iter().any(|d| d.target == c.target) {
                    bridges[i].controllers.push(c);
                }
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ofproto::conn::remembering::Remembering;

    fn tables() -> Remembering {
        Remembering { by_priority: true, ..Remembering::default() }
    }
    fn flow(priority: u16) -> OfMessage {
        OfMessage::new(1u32, FlowMod { priority, cookie: 7, ..FlowMod::default() })
    }
    fn priorities(t: &Remembering) -> Vec<u16> {
        t.flows.values().map(|f| f.priority).collect()
    }

    #[test]
    fn crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_prefix_of_a_journal_gives_back_what_was_whole_in_it() {
        let dir = std::env::temp_dir().join(format!("ofsw-journal-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let now = Instant::now();
        let mut marks = vec![(0, 0)];
        {
            let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
            j.replay(&mut tables(), now).unwrap();
            // What was configured.
            marks.push((j.written as usize, 0));
            let mut t = Recorded { inner: tables(), journal: Some(&mut j) };
            for i in 1..=5 {
                t.handle(now, ConnId(1), &flow(i), &mut Vec::new()).unwrap();
                let j = t.journal.as_mut().unwrap();
                j.write();
                marks.push((j.written as usize, i as usize));
            }
            t.handle_bundle(now, ConnId(1), &[flow(6), flow(7)].iter().collect(), BundleFlags::ATOMIC)
                .unwrap();
            t.journal.as_mut().unwrap().write();
            marks.push((t.journal.as_ref().unwrap().written as usize, 7));
        }
        let whole = std::fs::read(dir.join("br0.journal")).unwrap();
        assert_eq!(whole.len(), marks.last().unwrap().0);
        // Every cut near a record's border, and some between (each is synced to disk twice).
        let near = |c: usize| marks.iter().any(|m| c.abs_diff(m.0) <= 1) || c.is_multiple_of(61);
        for cut in (0..=whole.len()).filter(|c| near(*c)) {
            std::fs::write(dir.join("br0.journal"), &whole[..cut]).unwrap();
            let want = marks.iter().rev().find(|m| m.0 <= cut).unwrap();
            let mut t = tables();
            let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
            assert_eq!(
                (priorities(&t).len(), did.torn_bytes),
                (want.1, (cut - want.0) as u64),
                "cut at {cut}"
            );
            // What was rewritten holds the same, and nothing torn.
            let mut again = tables();
            let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut again, now).unwrap();
            assert_eq!((priorities(&again), did.torn_bytes), (priorities(&t), 0));
        }
        // A damaged byte, wherever it is, ends it there; the rest is put aside.
        let mut at = 7usize;
        for _ in 0..60 {
            at = (at * 31 + 17) % whole.len();
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(dir.join("br0.journal"), &bad).unwrap();
            let want = marks.iter().rev().find(|m| m.0 <= at).unwrap();
            let mut t = tables();
            Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
            assert_eq!(priorities(&t).len(), want.1, "damaged at {at}");
            assert_eq!(std::fs::read(dir.join("br0.journal.torn")).unwrap(), bad[want.0..]);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ofsw-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_rewrite_between_requests_holds_what_the_tables_hold() {
        let (dir, now) = (scratch("r"), Instant::now());
        let flows = (1..20_000).map(|p| (p.into(), FlowMod { priority: p, cookie: 1, ..FlowMod::default() }));
        let mut t = Remembering { flows: flows.collect(), ..tables() };
        let delete = |priority| {
            let command = FlowModCommand::DELETE_STRICT;
            OfMessage::new(1u32, FlowMod { priority, command, ..FlowMod::default() })
        };
        let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
        j.rewrite(&mut t, now).unwrap();
        // Enough for it to begin by itself, and to go on while it is at it.
        let mut n = 0u32;
        let mut rounds = 0;
        while rounds == 0 || j.rewrite.is_some() {
            let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
            for _ in 0..200 {
                n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let m = if n >> 31 == 0 { flow((n >> 8) as u16) } else { delete((n >> 8) as u16) };
                r.handle(now, ConnId(1), &m, &mut Vec::new()).unwrap();
            }
            j.write();
            if j.is_due() {
                j.rewrite_some(&mut &mut t, now).unwrap();
                rounds += 1;
            }
        }
        assert!(rounds > 20, "in slices: {rounds}");
        let (size, snapshot) = (j.written, j.snapshot);
        assert!(size < 2 * SMALL && snapshot <= size, "{size} bytes after a snapshot of {snapshot}");
        drop(j);
        let mut back = tables();
        let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut back, now).unwrap();
        assert_eq!((did.refused, did.torn_bytes), (0, 0));
        let all = |t: &Remembering| t.flows.values().map(|f| (f.priority, f.cookie)).collect::<Vec<_>>();
        assert!(all(&back) == all(&t), "{} and {} entries", back.flows.len(), t.flows.len());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn endless_change_does_not_fill_the_disk() {
        let (dir, now) = (scratch("b"), Instant::now());
        let mut t = tables();
        let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
        j.replay(&mut t, now).unwrap();
        let mut largest = 0;
        for i in 0..400_000u32 {
            let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
            r.handle(now, ConnId(1), &flow((i % 3) as u16), &mut Vec::new()).unwrap();
            if i % 64 == 0 {
                j.write();
                if j.is_due() && !j.rewrite_some(&mut &mut t, now).unwrap() {
                    // The disk's time is not what is bounded here.
                    std::thread::sleep(Duration::from_millis(5));
                }
                largest = largest.max(j.written);
            }
        }
        let all: u64 = 400_000 * 65;
        assert!(largest < 2 * SMALL && j.recorded > all - 100_000, "{largest} bytes of {}", j.recorded);
        drop(j);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_barrier_waits_for_the_disk_where_that_is_asked_for() {
        let (dir, now) = (scratch("s"), Instant::now());
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let flush: Flush = Arc::new(move |_: &File| {
            gone.lock().recv().unwrap();
            Ok(())
        });
        let mut t = tables();
        let mut j = Journal::open_with(&dir, "br0", Sync::Barrier, flush).unwrap();
        let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
        let v0 = r.publish();
        assert!(r.synced() >= v0, "nothing to wait for");
        r.handle(now, ConnId(1), &flow(1), &mut Vec::new()).unwrap();
        let v = r.publish();
        std::thread::sleep(Duration::from_millis(50));
        assert!(r.synced() < v, "the disk has not answered");
        go.send(()).unwrap();
        let begun = Instant::now();
        while r.synced() < v {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        drop(go);
        // Lazy: nobody waits.
        let mut j = Journal::open(&dir, "br1", Sync::Lazy).unwrap();
        let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
        r.handle(now, ConnId(1), &flow(2), &mut Vec::new()).unwrap();
        let v = r.publish();
        assert!(r.synced() >= v);
        let begun = Instant::now();
        while j.flusher.done() < j.recorded {
            assert!(begun.elapsed() < 10 * LAZY, "it never reaches the disk");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(j);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn configuration_comes_back_and_the_command_line_wins() {
        let c = |line: &[&str]| match crate::config::Config::from_args(line.iter().map(|s| s.to_string())) {
            Ok(crate::config::Asked::Run(c)) => c.bridges,
            other => panic!("{other:?}"),
        };
        let before = c(&[
            "--bridge",
            "a",
            "--port",
            "p1,ofport=9",
            "--port",
            "p2",
            "--controller",
            "tcp:1.2.3.4:5,rate=7",
            "--bridge",
            "b",
            "--fail-mode",
            "standalone",
        ]);
        let saved = Saved::of(before.iter());
        let mut after =
            c(&["--bridge", "a", "--dpid", "77", "--port", "p1", "--controller", "tcp:1.2.3.4:5,rate=8"]);
        let kept = saved.clone().merge_into(&mut after).unwrap();
        assert_eq!(kept, ["p2"]);
        assert_eq!((after[0].dpid(), after[0].ports[0].ofport), (0x77, Some(openflow::PortNo(9))));
        assert_eq!((after[0].controllers.len(), after[0].controllers[0].rate), (1, 8));
        assert_eq!(
            (after[1].name.as_str(), after[1].fail_mode, after[1].dpid()),
            ("b", FailMode::Standalone, before[1].dpid())
        );
        let mut same = Vec::new();
        saved.clone().merge_into(&mut same).unwrap();
        assert_eq!(Saved::of(same.iter()), saved);
    }

    /// A real bridge, with a port whose address is another each time.
    fn a_switch(mac: u8) -> (ofproto::Switch, ofproto::BridgeId) {
        let now = Instant::now();
        let mut s = ofproto::Switch::new(Default::default(), std::sync::Arc::new(|| ()), now).unwrap();
        let name = format!("st{}-{mac}", std::process::id());
        let id = s.add_bridge(now, ofproto::BridgeConfig::new(&name, 1)).unwrap();
        let port = PortSpec { name: format!("d{mac}"), kind: "dummy".into(), ..PortSpec::default() };
        s.add_port(now, id, port).unwrap();
        (s, id)
    }

    #[test]
    fn settings_outlive_every_restart() {
        if !datapath::port::sys::is_root() {
            eprintln!("skipped: a bridge's LOCAL port needs root");
            return;
        }
        let dir = scratch("settings");
        let now = Instant::now();
        let config = PortConfig::NO_FWD | PortConfig::NO_PACKET_IN;
        {
            let (mut s, id) = a_switch(1);
            let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
            let mut view = s.view(id);
            j.replay(&mut view, now).unwrap();
            let p = ports(&mut view, now).remove(0);
            let port_mod = PortMod {
                port_no: p.port_no,
                hw_addr: p.hw_addr,
                config,
                mask: config,
                ..PortMod::default()
            };
            let features = ask(&mut view, now, RequestBody::TableFeatures(Vec::new()));
            let Some(ReplyBody::TableFeatures(mut tables)) = features.into_iter().next() else { panic!() };
            tables.truncate(200);
            let set_config = openflow::msg::SwitchConfig {
                flags: openflow::msg::ConfigFlags::FRAG_DROP,
                miss_send_len: 99,
            };
            let overlap = FlowMod { flags: FlowModFlags::CHECK_OVERLAP, ..FlowMod::default() };
            let requests: [Message; 4] = [
                port_mod.into(),
                Message::SetConfig(set_config),
                MultipartRequest::new(RequestBody::TableFeatures(tables)).into(),
                overlap.into(),
            ];
            let mut t = Recorded { inner: view, journal: Some(&mut j) };
            for m in requests {
                t.handle(now, ConnId(1), &OfMessage::new(5u32, m), &mut Vec::new()).unwrap();
            }
        }
        for mac in 2..5 {
            let (mut s, id) = a_switch(mac);
            let mut view = s.view(id);
            let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut view, now).unwrap();
            assert_eq!((did.refused, did.torn_bytes), (0, 0), "restart {mac}");
            let kept = settings(&mut view, now);
            let has = |f: &dyn Fn(&Message) -> bool| kept.iter().any(|m| f(&m.body));
            assert!(has(&|m| matches!(m, Message::PortMod(p) if p.config == config)));
            assert!(has(&|m| matches!(m, Message::SetConfig(c) if c.miss_send_len == 99)));
            let is_set = |m: &Message| matches!(m, Message::MultipartRequest(MultipartRequest { body: RequestBody::TableFeatures(t), .. }) if t.len() == 200);
            assert!(has(&is_set));
            let mut flows = Vec::new();
            view.dump_flows(now, &FlowStatsRequest::default(), &mut Default::default(), 9, &mut flows);
            assert_eq!(flows.len(), 1);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_entry_whose_flow_mod_named_a_buffer_is_there_again() {
        if !datapath::port::sys::is_root() {
            eprintln!("skipped: a bridge's LOCAL port needs root");
            return;
        }
        let dir = scratch("buffer");
        let now = Instant::now();
        let buffered = |priority| {
            OfMessage::new(1u32, FlowMod { priority, buffer_id: 7, cookie: 7, ..FlowMod::default() })
        };
        {
            let mut j = Journal::<FlowCursor>::open(&dir, "br0", Sync::Lazy).unwrap();
            j.took(&buffered(1));
            j.took_bundle(&[buffered(2), flow(3)].iter().collect());
        }
        let (mut s, id) = a_switch(9);
        let mut view = s.view(id);
        let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut view, now).unwrap();
        assert_eq!((did.messages, did.refused), (3, 0));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_was_learned_is_kept_with_its_flags() {
        let dir = scratch("learned");
        let now = Instant::now();
        let update = FlowUpdate::Full {
            event: FlowUpdateEvent::ADDED,
            reason: FlowRemovedReason::DELETE,
            priority: 1,
            idle_timeout: 10,
            hard_timeout: 20,
            table_id: openflow::TableId(3),
            cookie: 7,
            matching: Default::default(),
            instructions: Default::default(),
        };
        {
            let mut j = Journal::<u64>::open(&dir, "br0", Sync::Lazy).unwrap();
            j.happened(None, &update, FlowModFlags::SEND_FLOW_REM);
        }
        let mut t = tables();
        Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
        let f = &t.flows[&1];
        assert_eq!((f.cookie, f.idle_timeout, f.hard_timeout, f.table_id.0), (7, 10, 20, 3));
        assert_eq!(f.flags, FlowModFlags::SEND_FLOW_REM);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_expires_by_itself_is_forgotten_too() {
        let dir = scratch("expiry");
        let now = Instant::now();
        {
            let mut j = Journal::<u64>::open(&dir, "br0", Sync::Lazy).unwrap();
            j.took(&flow(1));
            j.took(&flow(2));
            j.happened(
                None,
                &FlowUpdate::Full {
                    event: FlowUpdateEvent::DELETED,
                    reason: FlowRemovedReason::IDLE_TIMEOUT,
                    priority: 1,
                    idle_timeout: 0,
                    hard_timeout: 0,
                    table_id: Default::default(),
                    cookie: 7,
                    matching: Default::default(),
                    instructions: Default::default(),
                },
                FlowModFlags::empty(),
            );
        }
        let mut t = tables();
        Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
        assert_eq!(priorities(&t), [2]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
