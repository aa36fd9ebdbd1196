//! A blocking OpenFlow connection to a switch, any switch.

use super::options::Options;
use anyhow::{anyhow, bail, Context, Result};
use bytes::{Bytes, BytesMut};
use ofproto::conn::rconn::{negotiate, OUR_VERSIONS};
use ofproto::conn::tls::{explain, TlsFiles, TlsStore};
use ofproto::conn::Target;
use openflow::codec::{Frame, OfCodec};
use openflow::header::OFP13_VERSION;
use openflow::msg::multipart::{MultipartFlags, Reassembler};
use openflow::msg::{
    ErrorMsg, Hello, Message, MultipartReply, MultipartRequest, OfMessage, ReplyBody, RequestBody,
};
use openflow::{OfpError, Xid};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::codec::Decoder;

/// How long a switch may take to answer, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of requests sent between barriers.
const WINDOW_BYTES: usize = 64 * 1024;
/// Barriers in flight.
const WINDOWS: usize = 8;

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The switch said no.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Refused {
    /// Its error.
    pub error: OfpError,
    /// The request it quotes.
    pub quoted: Bytes,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the switch refused: {}", self.error)?;
        if let Some(kind) = self.error.kind_name() {
            write!(f, " ({kind})")?;
        }
        Ok(())
    }
}

/// An open connection, HELLOs done.
pub struct Vconn {
    stream: Box<dyn Stream>,
    codec: OfCodec,
    input: BytesMut,
    output: BytesMut,
    next_xid: u32,
    /// What to call the peer in messages.
    pub peer: String,
    kept: VecDeque<Frame>,
}

/// Where `name` is: a target, a path, or a bridge of the run directory.
///
/// # Errors
/// Something that looks like a target but is none.
pub fn resolve(name: &str, o: &Options, suffix: &str) -> Result<Target> {
    if name.contains(':') {
        return Ok(name.parse()?);
    }
    if name.contains('/') {
        return Ok(Target::Unix(name.into()));
    }
    let path = o.run_dir.join(format!("{name}.{suffix}"));
    if !path.exists() {
        bail!("{name} is not a bridge: no {} (is ofswitchd running with this --run-dir?)", path.display());
    }
    Ok(Target::Unix(path))
}

fn tls_of(o: &Options) -> Result<Arc<TlsStore>> {
    let (Some(private_key), Some(certificate), Some(ca_cert)) =
        (o.private_key.clone(), o.certificate.clone(), o.ca_cert.clone())
    else {
        bail!("ssl: needs --private-key, --certificate and --ca-cert");
    };
    let store = TlsStore::default();
    store.set_files(TlsFiles { private_key, certificate, ca_cert }).map_err(|e| anyhow!(e))?;
    #[allow(clippy::arc_with_non_send_sync)]
    Ok(Arc::new(store))
}

impl Vconn {
    /// Connects and agrees on OpenFlow 1.3.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn open(name: &str, o: &Options) -> Result<Self> {
        Self::open_as(name, o, "mgmt")
    }
    /// As [`Vconn::open`], on another socket of the bridge (`snoop`).
    ///
    /// # Errors
    /// As [`Vconn::open`].
    pub fn open_as(name: &str, o: &Options, suffix: &str) -> Result<Self> {
        let target = resolve(name, o, suffix)?;
        let at = || format!("cannot connect to {target}");
        let patience = o.timeout.unwrap_or(PATIENCE).max(Duration::from_millis(1));
        let stream: Box<dyn Stream> = match &target {
            Target::Tcp(a) => {
                let s = TcpStream::connect_timeout(a, patience).with_context(at)?;
                s.set_nodelay(true)?;
                s.set_read_timeout(Some(patience))?;
                Box::new(s)
            }
            Target::Unix(p) => {
                let s = UnixStream::connect(p).with_context(at)?;
                s.set_read_timeout(Some(patience))?;
                Box::new(s)
            }
            Target::Ssl(a) => {
                let config = tls_of(o)?.client_config().map_err(|e| anyhow!(e))?;
                let s = TcpStream::connect_timeout(a, patience).with_context(at)?;
                s.set_nodelay(true)?;
                s.set_read_timeout(Some(patience))?;
                let name = rustls::pki_types::ServerName::IpAddress(a.ip().into());
                let session = rustls::ClientConnection::new(config, name).with_context(at)?;
                Box::new(rustls::StreamOwned::new(session, s))
            }
            passive => bail!("{passive} is for listening; ofctl only connects"),
        };
        let mut v = Self {
            stream,
            codec: OfCodec::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            next_xid: 1,
            peer: name.to_string(),
            kept: VecDeque::new(),
        };
        v.hello().with_context(at)?;
        Ok(v)
    }

    fn hello(&mut self) -> Result<()> {
        let hello = Hello::with_versions(&[OFP13_VERSION]);
        self.send(hello)?;
        self.flush()?;
        let f = self.frame()?;
        match f.message {
            Ok(OfMessage { version, body: Message::Hello(h), .. }) => {
                match negotiate(OUR_VERSIONS, version, h.bitmap()) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(anyhow!("no common version: {e}")),
                }
            }
            // A HELLO in a version whose body we cannot read still says so in its header.
            _ => bail!("the peer's first message is no HELLO: is this an OpenFlow port?"),
        }
    }

    fn xid(&mut self) -> Xid {
        self.next_xid = self.next_xid.wrapping_add(1).max(2);
        Xid(self.next_xid)
    }
    /// Queues a message; its xid.
    ///
    /// # Errors
    /// A message that is too long.
    pub fn send(&mut self, body: impl Into<Message>) -> Result<Xid> {
        let xid = self.xid();
        self.send_as(xid, body)?;
        Ok(xid)
    }
    /// Queues a message with this xid.
    ///
    /// # Errors
    /// A message that is too long.
    pub fn send_as(&mut self, xid: Xid, body: impl Into<Message>) -> Result<()> {
        OfMessage::new(xid, body).emit(&mut self.output)?;
        Ok(())
    }
    /// Sends what is queued.
    ///
    /// # Errors
    /// The connection broke.
    pub fn flush(&mut self) -> Result<()> {
        let out = self.output.split();
        self.stream.write_all(&out).and_then(|()| self.stream.flush()).map_err(|e| self.broken(&e))
    }
    fn broken(&self, e: &std::io::Error) -> anyhow::Error {
        match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("{}: no answer in time", self.peer),
            _ => anyhow!("{}: {}", self.peer, explain(e)),
        }
    }

    /// The next message, whatever it is; echo requests are answered on the way.
    ///
    /// # Errors
    /// The connection broke or nothing came in time.
    pub fn frame(&mut self) -> Result<Frame> {
        if let Some(f) = self.kept.pop_front() {
            return Ok(f);
        }
        let mut buf = [0u8; 64 * 1024];
        loop {
            if let Some(f) = self.codec.decode(&mut self.input)? {
                if let Ok(OfMessage { body: Message::EchoRequest(e), xid, .. }) = &f.message {
                    let (xid, e) = (*xid, e.clone());
                    self.send_as(xid, Message::EchoReply(e))?;
                    self.flush()?;
                    continue;
                }
                // Comes when it comes: most switches say HELLO before they read ours.
                if let Ok(OfMessage { body: Message::Error(ErrorMsg { error, data }), .. }) = &f.message {
                    if matches!(*error, OfpError::OFPHFC_INCOMPATIBLE | OfpError::OFPHFC_EPERM) {
                        bail!("the switch refused our HELLO: {error} {}", String::from_utf8_lossy(data));
                    }
                }
                return Ok(f);
            }
            match self.stream.read(&mut buf) {
                Ok(0) => bail!("{}: the switch closed the connection", self.peer),
                Ok(n) => self.input.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.broken(&e)),
            }
        }
    }

    /// Sends a request and gives back its reply.
    ///
    /// # Errors
    /// [`Refused`], or a broken connection.
    pub fn transact(&mut self, body: impl Into<Message>) -> Result<OfMessage> {
        let xid = self.send(body)?;
        self.flush()?;
        loop {
            let f = self.frame()?;
            if f.header.xid != xid {
                continue;
            }
            let m = f.message.map_err(|e| anyhow!("unreadable reply: {e}"))?;
            if let Message::Error(ErrorMsg { error, data }) = m.body {
                return Err(Refused { error, quoted: data }.into());
            }
            return Ok(m);
        }
    }

    /// Sends a multipart request; each part of the reply goes to `part` as it comes.
    ///
    /// # Errors
    /// As [`Vconn::transact`], and what `part` says.
    pub fn multipart_parts(
        &mut self,
        body: RequestBody,
        mut part: impl FnMut(Xid, ReplyBody) -> Result<()>,
    ) -> Result<()> {
        let xid = self.send(MultipartRequest { flags: MultipartFlags::empty(), body })?;
        self.flush()?;
        loop {
            let f = self.frame()?;
            if f.header.xid != xid {
                continue;
            }
            match f.message.map_err(|e| anyhow!("unreadable reply: {e}"))?.body {
                Message::MultipartReply(MultipartReply { flags, body }) => {
                    part(xid, body)?;
                    if !flags.contains(MultipartFlags::MORE) {
                        return Ok(());
                    }
                }
                Message::Error(ErrorMsg { error, data }) => {
                    return Err(Refused { error, quoted: data }.into())
                }
                other => bail!("{}: a {} where a multipart reply was due", self.peer, other.msg_type()),
            }
        }
    }

    /// Sends a multipart request; the whole reply, its parts put together.
    ///
    /// # Errors
    /// As [`Vconn::transact`].
    pub fn multipart(&mut self, body: RequestBody) -> Result<OfMessage> {
        let mut parts: Reassembler<ReplyBody> = Reassembler::new(usize::MAX);
        let (mut whole, mut id) = (None, Xid(0));
        let mut waiting: Option<ReplyBody> = None;
        self.multipart_parts(body, |xid, body| {
            id = xid;
            // One part behind: only the last is known not to have a successor.
            if let Some(b) = waiting.replace(body) {
                parts.push(xid, MultipartFlags::MORE, b, 0).map_err(|e| anyhow!("parts do not fit: {e}"))?;
            }
            Ok(())
        })?;
        if let Some(b) = waiting {
            whole = parts
                .push(id, MultipartFlags::empty(), b, 0)
                .map_err(|e| anyhow!("parts do not fit: {e}"))?;
        }
        let body = whole.context("empty multipart reply")?;
        Ok(OfMessage::new(id, MultipartReply { flags: MultipartFlags::empty(), body }))
    }

    /// Sends requests that have no reply, many in flight, and waits until the switch has dealt with all of them. Each refusal
    /// goes to `refused` with the index of its request.
    ///
    /// # Errors
    /// The connection broke, or the switch has done it all and cannot promise to keep it.
    pub fn pipeline(
        &mut self,
        requests: impl IntoIterator<Item = Message>,
        mut refused: impl FnMut(usize, Refused),
    ) -> Result<()> {
        let first = self.next_xid.wrapping_add(1).max(2);
        let mut barriers: VecDeque<Xid> = VecDeque::new();
        // Barriers take xids too: where each stood, to tell a request's index from its xid.
        let mut stood: Vec<u32> = Vec::new();
        let mut requests = requests.into_iter();
        let mut more = true;
        let mut unkept = None;
        while more || !barriers.is_empty() {
            while more && barriers.len() < WINDOWS {
                while self.output.len() < WINDOW_BYTES {
                    match requests.next() {
                        Some(m) => {
                            self.send(m)?;
                        }
                        None => {
                            more = false;
                            break;
                        }
                    }
                }
                let xid = self.send(Message::BarrierRequest)?;
                stood.push(xid.0.wrapping_sub(first));
                barriers.push_back(xid);
                self.flush()?;
            }
            let f = self.frame()?;
            match f.message {
                Ok(OfMessage { body: Message::BarrierReply, xid, .. }) if barriers.front() == Some(&xid) => {
                    barriers.pop_front();
                }
                Ok(OfMessage { body: Message::Error(e), xid, .. }) if barriers.front() == Some(&xid) => {
                    barriers.pop_front();
                    unkept = Some(e.error);
                }
                Ok(OfMessage { body: Message::Error(ErrorMsg { error, data }), xid, .. }) => {
                    let at = xid.0.wrapping_sub(first);
                    let before = stood.iter().filter(|s| **s < at).count();
                    refused(at as usize - before.min(at as usize), Refused { error, quoted: data });
                }
                _ => {}
            }
        }
        match unkept {
            Some(e) => bail!("a barrier was answered by {e}: what was sent is done, but will not outlive a restart (see state-show)"),
            None => Ok(()),
        }
    }

    /// Sends requests as one atomic, ordered bundle.
    ///
    /// # Errors
    /// The first refusal, with the index of its message; then nothing has changed.
    pub fn bundle(&mut self, requests: Vec<Message>) -> Result<(), (Option<usize>, anyhow::Error)> {
        use openflow::msg::{BundleAdd, BundleControl, BundleCtrlType, BundleFlags};
        let flags = BundleFlags::ATOMIC | BundleFlags::ORDERED;
        let control = |kind| BundleControl { bundle_id: 1, kind, flags, properties: Vec::new() };
        let whole = |e| (None, e);
        self.transact(control(BundleCtrlType::OPEN_REQUEST)).map_err(whole)?;
        let first = self.next_xid.wrapping_add(1);
        let n = requests.len();
        for m in requests {
            let xid = self.xid();
            let message = Box::new(OfMessage::new(xid, m));
            let add = BundleAdd { bundle_id: 1, flags, message, properties: Vec::new() };
            self.send_as(xid, add).map_err(whole)?;
            if self.output.len() > WINDOW_BYTES {
                self.flush().map_err(whole)?;
            }
        }
        let close = self.send(control(BundleCtrlType::CLOSE_REQUEST)).map_err(whole)?;
        self.flush().map_err(whole)?;
        let mut fault = None;
        let mut waiting = close;
        let mut committed = false;
        loop {
            let f = self.frame().map_err(whole)?;
            let last = f.header.xid == waiting;
            match f.message {
                Ok(OfMessage { body: Message::Error(ErrorMsg { error, data }), xid, .. }) => {
                    let i = xid.0.wrapping_sub(first) as usize;
                    let refused = Refused { error, quoted: data };
                    if i < n {
                        fault.get_or_insert((Some(i), anyhow::Error::from(refused)));
                    } else if last {
                        fault.get_or_insert((None, anyhow::Error::from(refused)));
                    }
                    if last {
                        break;
                    }
                }
                Ok(_) if last && committed => return Ok(()),
                Ok(_) if last => {
                    if fault.is_some() {
                        let _ = self.transact(control(BundleCtrlType::DISCARD_REQUEST));
                        break;
                    }
                    waiting = self.send(control(BundleCtrlType::COMMIT_REQUEST)).map_err(whole)?;
                    self.flush().map_err(whole)?;
                    committed = true;
                }
                _ => {}
            }
        }
        Err(fault.unwrap_or((None, anyhow!("bundle failed"))))
    }

    /// Whether something can be read within `wait`.
    ///
    /// # Errors
    /// The connection broke.
    pub fn frame_within(&mut self, _wait: Duration) -> Result<Option<Frame>> {
        match self.frame() {
            Ok(f) => Ok(Some(f)),
            Err(e) if e.to_string().ends_with("no answer in time") => Ok(None),
            Err(e) => Err(e),
        }
    }
}
