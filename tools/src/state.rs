//! `--state-dir`: flows, groups, meters, port settings and configuration that outlive the process.
//!
//! The store is a journal per bridge of the OpenFlow messages that changed something, and one JSON file of configuration. A journal
//! suits because what must be kept already has a compact, versioned, well-tested form: the wire's. There is nothing to keep in step with
//! the tables but the requests themselves, and a reply never leaves before its request is in the file (the control thread writes before it
//! lets sockets go on). So `kill -9` loses nothing that was answered. Against the loss of power there is [`Sync`]: a thread of its own has the
//! disk take what was written, at most a second later; or before the barrier's reply leaves, for whoever asks for that.
//!
//! ```text
//! journal  one line "ofswitch journal FORMAT CRC32", then records
//! record   length:4 | crc32:4 | kind:1 | messages        little-endian; the sum covers kind and messages
//! kind     0 one message, 1 the messages of a bundle, 2 flow entries (as ADDs) of a snapshot
//! ```
//! A torn or damaged record ends the journal: all before it counts, the rest is cut off (and put beside it, as `.journal.torn`). At start the
//! journal is replayed and then written anew as a snapshot of what is. What is no journal of ours, or of a format to come, is refused by name
//! and not touched; format 0, which had no first line, is read.
//!
//! **What nobody asked for** (expiry, eviction, learned entries) depends on time and packets, so it is written as flow-mods that do the same,
//! each before the request that it came with ([`Unasked`]); while the journal is replayed, none of it happens by itself.
//!
//! **A disk that takes no more.** The tables then go on without the journal, whose end stays where it was. Every [`RETRY`] a new one is tried
//! as for a rewrite; when one is on the disk, state is kept again, all of it. Meanwhile the log, `state-show` and the metrics say so, and
//! under [`Sync::Barrier`] a barrier is answered by an error and a commit is refused, because their replies would promise what is not so.
//!
//! **Rewriting.** A journal that has grown to `GROWTH` times its last snapshot is written anew, a few entries at a time between the requests,
//! so that none waits more than a slice (about a millisecond; figures: `docs/performance/flow-mods.md`). Meanwhile requests go on: each is recorded in the old file and, between the slices of the snapshot, in the new one.
//! That gives the same tables: an entry changed before its slice was written is found changed there, one changed after is changed again
//! by the record behind. Nothing can be refused that was taken before, since groups and meters come first and entries are never more
//! than there were. When all of it is on the disk the new file takes the old one's name.

use crate::config::{BridgeSettings, ControllerConfig, FailMode};
use bytes::BytesMut;
use ofproto::conn::bundled::Bundled;
use ofproto::conn::manager::{Backend, ConnId, Unasked};
use ofproto::rule::Place;
use ofproto::switch::FlowCursor;
use ofproto::table_features::{self, TableShapes};
use ofproto::PortSpec;
use openflow::codec::OfCodec;
use openflow::header::{Header, MsgType};
use openflow::msg::multipart::{FlowStats, FlowStatsRequest, MeterRequest, MultipartFlags, Reassembler};
use openflow::msg::{
    BundleFlags, FlowMod, FlowModFlags, GroupMod, GroupModCommand, Message, MeterMod, MeterModCommand,
    MultipartReply, MultipartRequest, OfMessage, PortMod, ReplyBody, RequestBody, OFP_NO_BUFFER,
};
use openflow::port::{Port, PortConfig};
use openflow::{Action, GroupId, MeterId, OfpError};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::codec::Decoder;

/// How a journal's first line begins.
const MAGIC: &str = "ofswitch journal ";
/// The format written. 0 had no first line, and left to the replay what was evicted.
const FORMAT: u32 = 1;
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

/// How often a disk that took no more is tried again.
pub const RETRY: Duration = Duration::from_secs(1);

/// How long something written may not be on the disk yet.
pub const LAZY: Duration = Duration::from_secs(1);

/// What makes the disk take a file; a test has its own.
type Flush = Arc<dyn Fn(&File) -> std::io::Result<()> + Send + std::marker::Sync>;

/// Bytes recorded since the start, and how many of them are on the disk.
struct Flushed {
    file: Arc<File>,
    /// Its name is new: this directory has to be on the disk, too.
    dir: Option<PathBuf>,
    /// Nothing more is to count as on the disk.
    held: bool,
    wanted: u64,
    done: u64,
    stop: bool,
    /// What the disk said when it took something no more.
    failed: Option<String>,
}

/// The thread that waits for the disk.
struct Flusher {
    state: Arc<(Mutex<Flushed>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    fn new(file: Arc<File>, mode: Sync, flush: Flush) -> std::io::Result<Self> {
        let state = Flushed { file, dir: None, held: false, wanted: 0, done: 0, stop: false, failed: None };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = state.clone();
        let work = move || {
            let (lock, changed) = &*shared;
            let mut s = lock.lock();
            loop {
                while (s.held || s.wanted == s.done && s.dir.is_none()) && !s.stop {
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
                let (file, dir, upto) = (s.file.clone(), s.dir.take(), s.wanted);
                let flushed = parking_lot::MutexGuard::unlocked(&mut s, || {
                    // Not every file system does that for a directory.
                    let flushed = flush(&file);
                    dir.iter().for_each(|d| _ = File::open(d).and_then(|d| d.sync_all()));
                    flushed
                });
                if !Arc::ptr_eq(&file, &s.file) {
                    // Another file counts by now. This one may be gone for good, which takes a while.
                    parking_lot::MutexGuard::unlocked(&mut s, || drop(file));
                    continue;
                }
                if let Err(e) = flushed {
                    s.failed = Some(e.to_string());
                }
                s.done = s.done.max(upto);
            }
        };
        let thread = std::thread::Builder::new().name("state".into()).spawn(work)?;
        Ok(Self { state, thread: Some(thread) })
    }
    fn want(&self, upto: u64) {
        let mut s = self.state.0.lock();
        s.wanted = upto;
        self.state.1.notify_one();
    }
    /// Another file, whose name in `dir` is new, holds all that was recorded. Once it and its name are on the disk, all counts as there.
    fn moved(&self, file: Arc<File>, dir: Option<PathBuf>, recorded: u64) {
        let mut s = self.state.0.lock();
        (s.file, s.dir, s.wanted, s.failed, s.held) = (file, dir, recorded, None, false);
        self.state.1.notify_one();
    }
    /// Whether what is recorded from now on is kept from counting as on the disk.
    fn hold(&self, on: bool) {
        self.state.0.lock().held = on;
        self.state.1.notify_one();
    }
    /// What the disk said, if it takes no more.
    fn failed(&self) -> Option<String> {
        self.state.0.lock().failed.clone()
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
    /// What is promised is in it and, once there is that answer, on the disk; nothing more is promised until it has the journal's name.
    is_last: bool,
}

/// Has the disk take a file, on a thread of its own.
fn flush_aside(file: &Arc<File>) -> Receiver<std::io::Result<()>> {
    let (tell, answer) = std::sync::mpsc::channel();
    let file = file.clone();
    std::thread::spawn(move || tell.send(file.sync_data()));
    answer
}

/// Closes a file that has no name any more, on a thread of its own: the kernel then gives back all memory and room that it took, which takes tens of
/// milliseconds for tens of megabytes.
fn close_aside(file: Arc<File>) {
    std::thread::spawn(move || drop(file));
}

/// Why nothing is kept at present.
struct Failure {
    since: Instant,
    why: String,
    /// When it is tried again.
    again: Instant,
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
    /// What the file held when it was opened, where its records begin, and their format.
    found: (Vec<u8>, usize, u32),
    failed: Option<Failure>,
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

/// The first line of a journal of this format.
fn first_line(format: u32) -> String {
    let line = format!("{MAGIC}{format}");
    let sum = crc32(line.as_bytes());
    format!("{line} {sum:08x}\n")
}

/// Where the records of a journal begin, and their format.
///
/// # Errors
/// It is none that this program can read; what to do.
fn beginning(data: &[u8]) -> Result<(usize, u32), String> {
    let line =
        data.iter().take(64).position(|b| *b == b'\n').and_then(|n| std::str::from_utf8(&data[..=n]).ok());
    if let Some(line) = line {
        let format = line.strip_prefix(MAGIC).and_then(|l| l.split(' ').next()?.parse().ok());
        match format.filter(|f| first_line(*f) == line) {
            Some(format @ 0..=FORMAT) => return Ok((line.len(), format)),
            Some(format) => {
                return Err(format!(
                    "a journal of format {format}, and this ofswitchd reads up to {FORMAT}: start the newer ofswitchd that wrote it, or move the file \
                     away to start with empty tables"
                ))
            }
            None => {}
        }
    }
    // The line may be damaged, or torn, or of the time before there was one.
    let own = first_line(FORMAT);
    let n = own.len().min(data.len());
    if record(data, own.len()).is_some() {
        return Ok((own.len(), FORMAT));
    }
    if record(data, 0).is_some_and(|r| r[0] <= SNAPSHOT) {
        return Ok((0, 0));
    }
    // Zeros at the end are what a file system leaves of bytes it never wrote.
    let seen = data.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let wrong = own.bytes().zip(&data[..seen]).filter(|(a, b)| a != *b).count();
    if wrong <= 2 {
        return Ok((n, FORMAT));
    }
    Err("not a journal of ofswitchd, and left as it is: move it away to start with empty tables, or give another --state-dir".into())
}

/// The kind and body of the record at `pos`, if it is whole.
fn record(data: &[u8], pos: usize) -> Option<&[u8]> {
    let head = data.get(pos..pos + HEAD)?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let body = data.get(pos + HEAD..)?.get(..word(0) as usize)?;
    (!body.is_empty() && crc32(body) == word(4)).then_some(body)
}

/// The whole records of a journal that begin at `pos`, and where the first that is not whole starts.
fn records(data: &[u8], mut pos: usize) -> (Vec<(u8, &[u8])>, usize) {
    let mut out = Vec::new();
    while let Some(body) = record(data, pos) {
        out.push((body[0], &body[1..]));
        pos += HEAD + body.len();
    }
    (out, pos)
}

/// The messages of a record, and how many cannot be read.
fn messages(body: &[u8]) -> (Vec<OfMessage>, usize) {
    let mut buf = BytesMut::from(body);
    let mut codec = OfCodec::new();
    let (mut out, mut parts, mut bad) = (Vec::new(), Reassembler::new(body.len()), 0);
    while let Ok(Some(f)) = codec.decode(&mut buf) {
        let Ok(m) = f.message else {
            bad += 1;
            continue;
        };
        match m.body {
            // A set of table features may be longer than a message can be.
            Message::MultipartRequest(r) => {
                let whole = parts.request(m.xid, r, f.raw.len()).ok().flatten();
                out.extend(whole.map(|body| OfMessage::new(m.xid, MultipartRequest::new(body))));
            }
            _ => out.push(m),
        }
    }
    (out, bad + usize::from(!buf.is_empty()))
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
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at(&path))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data).map_err(at(&path))?;
        let (begin, format) = beginning(&data).map_err(at(&path))?;
        // A new one begins with its first line, unless the disk is full: that comes out as soon as something is to be kept.
        let mut written = data.len() as u64;
        if data.is_empty() {
            match file.write_all(first_line(FORMAT).as_bytes()) {
                Ok(()) => written = first_line(FORMAT).len() as u64,
                Err(_) => file.set_len(0).and_then(|()| file.rewind()).map_err(at(&path))?,
            }
        }
        let file = Arc::new(file);
        Ok(Self {
            flusher: Flusher::new(file.clone(), mode, flush).map_err(at(&path))?,
            path,
            file,
            pending: BytesMut::new(),
            found: (data, begin, format),
            written,
            snapshot: 0,
            replaying: false,
            failed: None,
            mode,
            recorded: 0,
            marks: VecDeque::new(),
            rewrite: None,
        })
    }

    /// Whether the journal says in so many words what was not asked for: then nothing must happen by itself while it is replayed.
    pub fn is_explicit(&self) -> bool {
        self.found.2 >= 1
    }

    /// Gives the tables back what the journal held when it was opened, then rewrites it as a snapshot. If there is no room for that, nothing
    /// is kept until there is.
    ///
    /// # Errors
    /// The journal holds what this program does not know.
    pub fn replay<B: Backend<Cursor = C>>(
        &mut self,
        backend: &mut B,
        now: Instant,
    ) -> Result<Replayed, String> {
        let (data, begin, format) = std::mem::take(&mut self.found);
        let mut did = Replayed::default();
        let (list, end) = records(&data, begin);
        if let Some((kind, _)) = list.iter().find(|(kind, _)| *kind > SNAPSHOT) {
            return Err(format!(
                "{}: a record of kind {kind}, which this ofswitchd does not know: start the one that wrote it, or move the file away",
                self.path.display()
            ));
        }
        if !data.is_empty() && format == FORMAT && !data.starts_with(first_line(FORMAT).as_bytes()) {
            tracing::warn!(journal = %self.path.display(), "the first line is damaged; what follows was read all the same");
        }
        did.torn_bytes = (data.len() - end) as u64;
        if end < data.len() {
            // Nothing is thrown away that somebody may want to look at.
            let torn = self.path.with_extension("journal.torn");
            let aside =
                std::fs::write(&torn, &data[end..]).inspect_err(|_| drop(std::fs::remove_file(&torn)));
            tracing::warn!(journal = %self.path.display(), from = end, bytes = did.torn_bytes, aside = %torn.display(),
                could_not = aside.err().map(tracing::field::display),
                "the end is damaged: all before it counts, the rest is put aside");
        }
        self.replaying = true;
        let from = ConnId(0);
        for (kind, body) in list {
            let (mut msgs, bad) = messages(body);
            if bad > 0 {
                tracing::warn!(journal = %self.path.display(), messages = bad, "not restored: they cannot be read");
                did.refused += bad;
            }
            address(&mut msgs, backend, now);
            without_buffers(&mut msgs);
            without_old_abilities(&mut msgs);
            if kind == BUNDLE {
                let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
                match backend.handle_bundle(now, from, &msgs.iter().collect(), flags) {
                    Ok(()) => did.messages += msgs.len(),
                    Err((index, e)) => {
                        tracing::warn!(journal = %self.path.display(), messages = msgs.len(), index, error = %e, "bundle not restored");
                        did.refused += msgs.len();
                    }
                }
                continue;
            }
            for m in &msgs {
                match backend.handle(now, from, m, None, &mut Vec::new()) {
                    Ok(()) => did.messages += 1,
                    Err(e) => {
                        tracing::warn!(journal = %self.path.display(), message = %m.body.msg_type(), error = %e, "not restored");
                        did.refused += 1;
                    }
                }
            }
        }
        self.replaying = false;
        if let Err(e) = self.rewrite(backend, now) {
            self.fail(e);
        }
        Ok(did)
    }

    /// Whether what happens now is to be recorded anywhere.
    fn records(&self) -> bool {
        !self.replaying && (self.failed.is_none() || self.rewrite.is_some())
    }

    fn record(&mut self, kind: u8, msgs: &[&OfMessage]) {
        if !self.records() {
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
    /// A bundle that the tables took, and what else happened to them by it.
    pub fn took_bundle(&mut self, msgs: &Bundled, unasked: Vec<Unasked>) {
        if !self.records() {
            return;
        }
        let mut unasked = unasked.into_iter().peekable();
        append(&mut self.pending, BUNDLE, |out| {
            for (i, m) in msgs.raw().enumerate() {
                while let Some(u) = unasked.next_if(|u| u.after <= i) {
                    if OfMessage::new(0u32, u.flow_mod).emit(out).is_err() {
                        return false;
                    }
                }
                // Of what a bundle may hold, only packet-outs are not state.
                if Header::peek(m).is_some_and(|h| h.msg_type != MsgType::PACKET_OUT) {
                    out.extend_from_slice(m);
                }
            }
            true
        });
    }
    /// What happened to the tables without being asked for.
    pub fn happened(&mut self, unasked: Vec<Unasked>) {
        for u in unasked {
            self.record(ONE, &[&OfMessage::new(0u32, u.flow_mod)]);
        }
    }

    /// Writes what was recorded. To be called before replies leave.
    pub fn write(&mut self) {
        if self.failed.is_none() {
            if let Some(why) = self.flusher.failed() {
                let why = at(&self.path)(why);
                return self.fail(why);
            }
        }
        if self.pending.is_empty() {
            return;
        }
        let out = self.pending.split();
        if self.failed.is_none() {
            if let Err(e) = (&*self.file).write_all(&out) {
                let why = at(&self.path)(e);
                return self.fail(why);
            }
            self.written += out.len() as u64;
            self.flusher.want(self.recorded + out.len() as u64);
        }
        self.recorded += out.len() as u64;
        if let Some(r) = &mut self.rewrite {
            match (&*r.file).write_all(&out) {
                Ok(()) => r.written += out.len() as u64,
                Err(e) => {
                    let why = at(&r.path)(e);
                    self.not_rewritten(why);
                }
            }
        }
    }

    /// The tables go on; what is kept ends here, until a new journal is on the disk.
    fn fail(&mut self, why: String) {
        self.give_up();
        let now = Instant::now();
        if self.failed.is_none() {
            tracing::error!(error = %why, "state is not kept from now on; tried again every {} s", RETRY.as_secs());
            // Of a record that was written in part nothing is to stay.
            let _ = self.file.set_len(self.written);
            self.pending.clear();
            self.marks.clear();
        }
        let since = self.failed.as_ref().map_or(now, |f| f.since);
        self.failed = Some(Failure { since, why, again: now + RETRY });
    }

    /// A new journal could not be written. The old one goes on, if there was nothing wrong with it.
    fn not_rewritten(&mut self, why: String) {
        if self.failed.is_some() {
            return self.fail(why);
        }
        tracing::error!(error = %why, "journal not rewritten; the old one goes on");
        self.give_up();
        // Not at once again: it takes as much growth as the last time.
        self.snapshot = self.written;
    }

    /// Gives the room back that an unfinished new journal takes.
    fn give_up(&mut self) {
        if let Some(r) = self.rewrite.take() {
            self.flusher.hold(false);
            let _ = std::fs::remove_file(&r.path);
            close_aside(r.file);
        }
    }

    /// Why nothing is kept at present, and for how long.
    pub fn failure(&self) -> Option<(Duration, &str)> {
        self.failed.as_ref().map(|f| (f.since.elapsed(), f.why.as_str()))
    }

    /// Whether replies that promise it may say that all is kept.
    fn is_kept(&mut self) -> bool {
        self.write();
        self.mode == Sync::Lazy || self.failed.is_none()
    }

    /// The file, its bytes, and how many of them were its last snapshot.
    pub fn size(&self) -> (&Path, u64, u64) {
        (&self.path, self.written, self.snapshot)
    }

    /// `version` of the tables holds what was recorded so far.
    pub fn mark(&mut self, version: u64) {
        self.write();
        if self.mode == Sync::Barrier && self.failed.is_none() {
            match self.marks.back_mut() {
                Some(m) if m.0 == version => m.1 = self.recorded,
                _ => self.marks.push_back((version, self.recorded)),
            }
        }
    }

    /// Versions from this one on are not on the disk yet; `None`: all are, or nobody asked.
    pub fn not_on_disk(&mut self) -> Option<u64> {
        if self.marks.is_empty() {
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
        match &self.failed {
            _ if self.rewrite.is_some() => true,
            Some(f) => Instant::now() >= f.again,
            None => self.written > SMALL && self.written > GROWTH * self.snapshot,
        }
    }

    fn begin<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> Result<(), String> {
        self.write();
        let path = self.path.with_extension("journal.new");
        let file = File::create(&path).map_err(at(&path))?;
        let mut out = BytesMut::from(first_line(FORMAT).as_bytes());
        for m in settings(backend, now).into_iter().chain(meters(backend, now)).chain(groups(backend, now)) {
            append(&mut out, ONE, |o| m.emit(o).is_ok());
        }
        let r = Rewrite {
            file: Arc::new(file),
            path,
            cursor: C::default(),
            written: out.len() as u64,
            flushed: None,
            is_last: false,
        };
        let file = r.file.clone();
        let r = self.rewrite.insert(r);
        (&*file).write_all(&out).map_err(at(&r.path))
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
        let Some(r) = &mut self.rewrite else { return Ok(()) };
        std::fs::rename(&r.path, &self.path).map_err(at(&r.path))?;
        let Some(r) = self.rewrite.take() else { return Ok(()) };
        // The name, too, must survive.
        let dir = self.path.parent().map(Path::to_path_buf);
        self.flusher.moved(r.file.clone(), dir, self.recorded);
        close_aside(std::mem::replace(&mut self.file, r.file));
        (self.written, self.snapshot) = (r.written, r.written);
        if let Some(f) = self.failed.take() {
            let seconds = f.since.elapsed().as_secs();
            tracing::info!(journal = %self.path.display(), seconds, "state is kept again, all of it");
        }
        Ok(())
    }

    /// Goes on with writing the journal anew, for a moment; begins if it has not. The old one counts until the new one is on the disk. True:
    /// there is more to do at once.
    pub fn rewrite_some<B: Backend<Cursor = C>>(&mut self, backend: &mut B, now: Instant) -> bool {
        self.rewrite_step(backend, now).unwrap_or_else(|why| {
            self.not_rewritten(why);
            false
        })
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
                r.flushed = Some(flush_aside(&r.file));
            }
            return Ok(false);
        };
        match answer.try_recv() {
            Err(TryRecvError::Empty) => {}
            // Replies have promised what came while the disk took the rest; it is not much.
            Ok(Ok(())) if self.mode == Sync::Barrier && !r.is_last => {
                self.flusher.hold(true);
                (r.flushed, r.is_last) = (Some(flush_aside(&r.file)), true);
            }
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
        if let Some(r) = self.rewrite.take() {
            let _ = std::fs::remove_file(&r.path);
        }
        let out = self.pending.split();
        if self.failed.is_none() {
            let _ = (&*self.file).write_all(&out).and_then(|()| self.file.sync_data());
        }
    }
}

/// Holds a state directory for this process, until it is dropped.
///
/// # Errors
/// One line: the directory cannot be used, or another process uses it.
pub fn lock(dir: &Path) -> Result<File, String> {
    let fault = |e: std::io::Error| {
        let owner = std::fs::metadata(dir).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
        let whose = match (e.kind(), owner) {
            (std::io::ErrorKind::PermissionDenied, Ok(uid)) => format!(" (it belongs to user {uid})"),
            _ => String::new(),
        };
        format!(
            "--state-dir {}: {e}{whose}: a directory is needed that this user may write in",
            dir.display()
        )
    };
    std::fs::create_dir_all(dir).map_err(fault)?;
    let path = dir.join("lock");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(format!(
                "--state-dir {}: the ofswitchd of process {} keeps its state there: end it, or give each a directory of its own",
                dir.display(),
                holder.trim()
            ));
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(fault(e)),
    }
    // For whoever is refused; a disk that has no room even for that is told of elsewhere.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
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

fn add_of(f: FlowStats) -> FlowMod {
    // It is there: whether it overlapped another was decided when it was added.
    let flags = f.flags & !(FlowModFlags::CHECK_OVERLAP | FlowModFlags::RESET_COUNTS);
    FlowMod {
        cookie: f.cookie,
        table_id: f.table_id,
        idle_timeout: f.idle_timeout,
        hard_timeout: f.hard_timeout,
        priority: f.priority,
        flags,
        matching: f.matching,
        instructions: f.instructions,
        ..FlowMod::default()
    }
}

fn ask<B: Backend>(backend: &mut B, now: Instant, body: RequestBody) -> Vec<ReplyBody> {
    let request = MultipartRequest { flags: MultipartFlags::empty(), body };
    let mut replies = Vec::new();
    let _ = backend.handle(now, ConnId(0), &OfMessage::new(0u32, request), None, &mut replies);
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
    let _ = backend.handle(now, ConnId(0), &get, None, &mut replies);
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

/// Sets of table features as if they had named nothing that this switch told as settable once, and refuses now.
fn without_old_abilities(msgs: &mut [OfMessage]) {
    for m in msgs {
        if let Message::MultipartRequest(MultipartRequest { body: RequestBody::TableFeatures(t), .. }) =
            &mut m.body
        {
            table_features::without_unsettable(t);
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

impl<B: Backend> Recorded<'_, B> {
    /// Records what has happened without being asked for so far.
    fn keep_unasked(&mut self) {
        if let Some(j) = &mut self.journal {
            j.happened(self.inner.take_unasked());
        }
    }
    /// Writes what was recorded so far. To be called before anything is told of it.
    pub fn write(&mut self) {
        self.keep_unasked();
        if let Some(j) = &mut self.journal {
            j.write();
        }
    }
}

impl<B: Backend> Backend for Recorded<'_, B> {
    type Cursor = B::Cursor;
    fn expect(&self, msg: &OfMessage) -> Option<Place> {
        self.inner.expect(msg)
    }
    fn handle(
        &mut self,
        now: Instant,
        from: ConnId,
        msg: &OfMessage,
        place: Option<Place>,
        replies: &mut Vec<Message>,
    ) -> Result<(), OfpError> {
        self.inner.handle(now, from, msg, place, replies)?;
        self.keep_unasked();
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
        self.keep_unasked();
        self.inner.handle_bundle(now, from, msgs, flags)?;
        if let Some(j) = &mut self.journal {
            j.took_bundle(msgs, self.inner.take_unasked());
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
        self.keep_unasked();
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
    fn is_kept(&mut self) -> bool {
        self.journal.as_mut().is_none_or(|j| j.is_kept())
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
    /// Of the file: [`FORMAT`] or older.
    #[serde(default)]
    format: u32,
    #[serde(default)]
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
        Self { format: FORMAT, bridges: bridges.collect(), ..Self::default() }
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
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(at(&path)(e)),
        };
        // The format first: another one may have other fields.
        let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let wrong = match told["format"].as_u64() {
            Some(f) if f > FORMAT.into() => format!(
                "configuration of format {f}, and this ofswitchd reads up to {FORMAT}: start the newer ofswitchd that wrote it"
            ),
            _ => match serde_json::from_str(&text) {
                Ok(saved) => return Ok(saved),
                Err(e) => format!("not a configuration that ofswitchd kept: {e}: mend it"),
            },
        };
        Err(format!(
            "{}: {wrong}, or move the file away to start with what the command line says",
            path.display()
        ))
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
    use openflow::msg::FlowModCommand;

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

    /// Every single byte: where the journal is cut, where a bit is turned, where zeros begin, where what follows comes twice.
    #[test]
    fn whatever_is_damaged_what_was_whole_before_it_comes_back() {
        let now = Instant::now();
        // Where it is at hand, a disk that is none.
        let dir = match std::fs::metadata("/dev/shm") {
            Ok(_) => PathBuf::from(format!("/dev/shm/ofsw-journal-{}", std::process::id())),
            Err(_) => scratch("damage"),
        };
        let _ = std::fs::remove_dir_all(&dir);
        let path = dir.join("br0.journal");
        // Lengths of the journal, and how many entries it holds then.
        let mut marks = Vec::new();
        {
            let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
            j.replay(&mut tables(), now).unwrap();
            // Its first line, and what is configured.
            marks.extend([(0, 0), (first_line(FORMAT).len(), 0), (j.written as usize, 0)]);
            let mut t = Recorded { inner: tables(), journal: Some(&mut j) };
            for i in 1..=5 {
                t.handle(now, ConnId(1), &flow(i), None, &mut Vec::new()).unwrap();
                t.write();
                marks.push((t.journal.as_ref().unwrap().written as usize, i as usize));
            }
            t.handle_bundle(now, ConnId(1), &[flow(6), flow(7)].iter().collect(), BundleFlags::ATOMIC)
                .unwrap();
            t.write();
            marks.push((t.journal.as_ref().unwrap().written as usize, 7));
        }
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), marks.last().unwrap().0);
        let start = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut t = tables();
            let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
            if did.torn_bytes > 0 {
                let torn = std::fs::read(dir.join("br0.journal.torn")).unwrap();
                assert!(bytes.ends_with(&torn) && torn.len() as u64 == did.torn_bytes);
            }
            // What was written anew holds the same, and nothing torn.
            let mut again = tables();
            let second = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut again, now).unwrap();
            assert_eq!((priorities(&again), second.torn_bytes), (priorities(&t), 0));
            (priorities(&t).len(), did.torn_bytes as usize)
        };
        for at in 0..whole.len() {
            let before = *marks.iter().rev().find(|m| m.0 <= at).unwrap();
            let (n, torn) = start(&whole[..at]);
            // Of a first line that is torn nothing is worth keeping.
            let lost = if at < marks[1].0 { 0 } else { at - before.0 };
            assert_eq!((n, torn), (before.1, lost), "cut at {at}");
            let mut bad = whole.clone();
            bad[at] ^= 1 << (at % 8);
            let wanted = if at < marks[1].0 { (7, 0) } else { (before.1, whole.len() - before.0) };
            assert_eq!(start(&bad), wanted, "damaged at {at}");
            bad.copy_from_slice(&whole);
            bad[at..].fill(0);
            let (n, torn) = start(&bad);
            // A record may have ended in zeros.
            assert!(
                marks.iter().any(|m| m.1 == n) && n >= before.1 && (n == 7 || torn > 0),
                "zeros from {at}: {n}"
            );
            assert_eq!(start(&[&whole[..], &whole[at..]].concat()).0, 7, "twice from {at}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn formats_are_told_apart() {
        let records = {
            let mut out = BytesMut::new();
            append(&mut out, ONE, |o| flow(1).emit(o).is_ok());
            out
        };
        let with = |line: &[u8]| beginning(&[line, &records[..]].concat());
        let own = first_line(FORMAT);
        assert_eq!(with(own.as_bytes()), Ok((own.len(), FORMAT)));
        assert_eq!(with(b""), Ok((0, 0)), "before there was a first line");
        assert_eq!(beginning(b""), Ok((0, FORMAT)), "a new one");
        let newer = with(first_line(FORMAT + 1).as_bytes()).unwrap_err();
        assert!(newer.contains("format 2, and this ofswitchd reads up to 1"), "{newer}");
        // The same without its checksum is damage.
        assert_eq!(with(first_line(FORMAT + 1).replace(" 2 ", " 1 ").as_bytes()), Ok((own.len(), FORMAT)));
        let other = beginning(b"# notes, which nobody wants to lose").unwrap_err();
        assert!(other.contains("not a journal of ofswitchd"), "{other}");
        // A record of a kind to come is not left out silently.
        let dir = scratch("formats");
        std::fs::create_dir_all(&dir).unwrap();
        let mut unknown = BytesMut::from(own.as_bytes());
        append(&mut unknown, SNAPSHOT + 1, |o| flow(1).emit(o).is_ok());
        std::fs::write(dir.join("br0.journal"), &unknown).unwrap();
        let mut t = tables();
        let e = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, Instant::now()).unwrap_err();
        assert!(e.contains("br0.journal: a record of kind 3") && t.flows.is_empty(), "{e}");
        assert_eq!(std::fs::read(dir.join("br0.journal")).unwrap(), unknown);
        // One of format 0 is read.
        std::fs::write(dir.join("br0.journal"), &records).unwrap();
        let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
        assert!(!j.is_explicit());
        j.replay(&mut t, Instant::now()).unwrap();
        assert_eq!(priorities(&t), [1]);
        drop(j);
        assert!(std::fs::read(dir.join("br0.journal")).unwrap().starts_with(own.as_bytes()));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_disk_that_fails_once_is_left_for_a_new_file() {
        let (dir, now) = (scratch("fails"), Instant::now());
        let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let flush: Flush = {
            let broken = broken.clone();
            Arc::new(move |_: &File| match broken.load(std::sync::atomic::Ordering::Relaxed) {
                true => Err(std::io::Error::other("worn out")),
                false => Ok(()),
            })
        };
        let mut t = tables();
        let mut j = Journal::open_with(&dir, "br0", Sync::Barrier, flush).unwrap();
        let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
        assert!(r.is_kept());
        r.handle(now, ConnId(1), &flow(1), None, &mut Vec::new()).unwrap();
        let v = r.publish();
        let begun = Instant::now();
        // The barrier comes to its answer, which is no.
        while r.synced() < v || r.is_kept() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the failure is never seen");
            std::thread::yield_now();
        }
        r.handle(now, ConnId(1), &flow(2), None, &mut Vec::new()).unwrap();
        assert!(j.failure().is_some_and(|f| f.1.contains("worn out")) && !j.is_due());
        broken.store(false, std::sync::atomic::Ordering::Relaxed);
        while j.failure().is_some() {
            assert!(begun.elapsed() < 10 * RETRY, "it is never tried again");
            if j.is_due() {
                j.rewrite_some(&mut &mut t, now);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut r = Recorded { inner: &mut t, journal: Some(&mut j) };
        r.handle(now, ConnId(1), &flow(3), None, &mut Vec::new()).unwrap();
        let v = r.publish();
        while r.synced() < v {
            std::thread::yield_now();
        }
        assert!(r.is_kept());
        let mut back = tables();
        let copy = scratch("fails-copy");
        std::fs::create_dir_all(&copy).unwrap();
        std::fs::copy(dir.join("br0.journal"), copy.join("br0.journal")).unwrap();
        Journal::open(&copy, "br0", Sync::Lazy).unwrap().replay(&mut back, now).unwrap();
        assert_eq!(priorities(&back), [1, 2, 3]);
        drop(j);
        [dir, copy].iter().for_each(|d| std::fs::remove_dir_all(d).unwrap());
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
                r.handle(now, ConnId(1), &m, None, &mut Vec::new()).unwrap();
            }
            j.write();
            if j.is_due() {
                j.rewrite_some(&mut &mut t, now);
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

    /// Goes on with a rewrite until it is over; the longest step.
    fn finish_rewrite(j: &mut Journal<u64>, t: &mut Remembering) -> Duration {
        let mut longest = Duration::ZERO;
        while j.rewrite.is_some() {
            let start = Instant::now();
            j.rewrite_some(t, start);
            longest = longest.max(start.elapsed());
            std::thread::sleep(Duration::from_micros(100));
        }
        longest
    }

    #[test]
    fn the_end_of_a_rewrite_does_not_wait_until_the_old_file_is_gone() {
        let dir = scratch("gone");
        let mut t = tables();
        let mut j = Journal::open(&dir, "br0", Sync::Lazy).unwrap();
        let ballast = vec![7; 64 << 20];
        let mut best = [Duration::MAX; 2];
        for _ in 0..4 {
            // What such a file takes whoever closes it.
            let path = dir.join("other");
            let other = File::create(&path).unwrap();
            (&other).write_all(&ballast).unwrap();
            std::fs::remove_file(&path).unwrap();
            let start = Instant::now();
            drop(other);
            best[0] = best[0].min(start.elapsed());
            (&*j.file).write_all(&ballast).unwrap();
            j.begin(&mut t, start).unwrap();
            best[1] = best[1].min(finish_rewrite(&mut j, &mut t));
        }
        assert!(
            best[1] < best[0] / 2,
            "closing takes {:?}, a step of a rewrite up to {:?}",
            best[0],
            best[1]
        );
        drop(j);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_a_barrier_promises_while_a_rewrite_ends_is_in_the_new_file() {
        let (dir, now) = (scratch("promise"), Instant::now());
        let mut t = tables();
        let mut j = Journal::open(&dir, "br0", Sync::Barrier).unwrap();
        let add = |j: &mut Journal<u64>, t: &mut Remembering, p| {
            let mut r = Recorded { inner: t, journal: Some(j) };
            r.handle(now, ConnId(1), &flow(p), None, &mut Vec::new()).unwrap();
            r.publish()
        };
        let synced =
            |j: &mut Journal<u64>, t: &mut Remembering| Recorded { inner: t, journal: Some(j) }.synced();
        add(&mut j, &mut t, 1);
        j.begin(&mut t, now).unwrap();
        while j.rewrite.as_ref().is_some_and(|r| !r.is_last) {
            j.rewrite_some(&mut t, now);
        }
        // The old file's being on the disk does not count any more.
        let v = add(&mut j, &mut t, 2);
        std::thread::sleep(Duration::from_millis(100));
        assert!(j.rewrite.is_some() && synced(&mut j, &mut t) < v);
        finish_rewrite(&mut j, &mut t);
        while synced(&mut j, &mut t) < v {
            std::thread::yield_now();
        }
        // Given up: the old one counts as before.
        j.begin(&mut t, now).unwrap();
        while j.rewrite.as_ref().is_some_and(|r| !r.is_last) {
            j.rewrite_some(&mut t, now);
        }
        let v = add(&mut j, &mut t, 3);
        j.not_rewritten("enough".into());
        while synced(&mut j, &mut t) < v {
            std::thread::yield_now();
        }
        drop(j);
        let mut back = tables();
        Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut back, now).unwrap();
        assert_eq!(priorities(&back), [1, 2, 3]);
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
            r.handle(now, ConnId(1), &flow((i % 3) as u16), None, &mut Vec::new()).unwrap();
            if i % 64 == 0 {
                j.write();
                if j.is_due() && !j.rewrite_some(&mut &mut t, now) {
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
        r.handle(now, ConnId(1), &flow(1), None, &mut Vec::new()).unwrap();
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
        r.handle(now, ConnId(1), &flow(2), None, &mut Vec::new()).unwrap();
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
                t.handle(now, ConnId(1), &OfMessage::new(5u32, m), None, &mut Vec::new()).unwrap();
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
    fn a_set_of_a_time_when_in_port_was_told_as_settable_is_restored() {
        if !datapath::port::sys::is_root() {
            eprintln!("skipped: a bridge's LOCAL port needs root");
            return;
        }
        use openflow::field::Field;
        use openflow::msg::multipart::{OxmId, PropBody, TablePropType};
        let (dir, now) = (scratch("in-port"), Instant::now());
        let mut tables = TableShapes::default().features();
        tables.truncate(9);
        let is_setfield = |kind: TablePropType| {
            matches!(kind, TablePropType::WRITE_SETFIELD | TablePropType::APPLY_SETFIELD)
        };
        let mut told = 0;
        for p in tables.iter_mut().flat_map(|t| &mut t.properties).filter(|p| is_setfield(p.kind)) {
            let PropBody::Oxms(list) = &mut p.body else { panic!("{p:?}") };
            // All that could be set by an action of some kind.
            list.extend([Field::InPort, Field::NxInPort].map(|f| OxmId::new(f, false)));
            told += 1;
        }
        assert_eq!(told, 18);
        {
            let mut j = Journal::<FlowCursor>::open(&dir, "br0", Sync::Lazy).unwrap();
            j.took(&OfMessage::new(1u32, MultipartRequest::new(RequestBody::TableFeatures(tables))));
            j.took(&flow(3));
        }
        for mac in 20..22 {
            let (mut s, id) = a_switch(mac);
            let mut view = s.view(id);
            let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut view, now).unwrap();
            assert_eq!((did.messages >= 2, did.refused), (true, 0), "{did:?}");
            let features = ask(&mut view, now, RequestBody::TableFeatures(Vec::new()));
            let Some(ReplyBody::TableFeatures(kept)) = features.into_iter().next() else { panic!() };
            assert_eq!(kept.len(), 9);
            let before = TableShapes::default().features();
            let settable = |t: &openflow::msg::multipart::TableFeatures| {
                t.properties.iter().filter(|p| is_setfield(p.kind)).cloned().collect::<Vec<_>>()
            };
            assert!(kept.iter().zip(&before).all(|(a, b)| settable(a) == settable(b)));
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
            j.took_bundle(&[buffered(2), flow(3)].iter().collect(), Vec::new());
        }
        let (mut s, id) = a_switch(9);
        let mut view = s.view(id);
        let did = Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut view, now).unwrap();
        assert_eq!((did.messages, did.refused), (3, 0));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_made_room_within_a_bundle_goes_when_it_went() {
        let (dir, now) = (scratch("unasked"), Instant::now());
        let delete =
            |priority| FlowMod { priority, command: FlowModCommand::DELETE_STRICT, ..FlowMod::default() };
        let gone = |after, priority| Unasked { after, flow_mod: delete(priority) };
        {
            let mut j = Journal::<u64>::open(&dir, "br0", Sync::Lazy).unwrap();
            j.took(&flow(1));
            j.took(&flow(2));
            j.happened(vec![gone(0, 1)]);
            // 3 comes, 3 and 2 go for 4 and 5, and 3 comes again.
            let msgs = [flow(3), flow(4), flow(5), flow(3)];
            j.took_bundle(&msgs.iter().collect(), vec![gone(1, 3), gone(2, 2)]);
        }
        let mut t = tables();
        Journal::open(&dir, "br0", Sync::Lazy).unwrap().replay(&mut t, now).unwrap();
        assert_eq!(priorities(&t), [3, 4, 5]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
