//! Bytes between [`Pipe`]s and sockets: TCP, TLS and Unix, dialled or accepted. Tasks run on the control thread's `LocalSet`; each
//! ends by itself when its pipe or its socket does.

use super::pipe::{Pipe, INPUT_LIMIT};
use super::rconn::DIAL_TIMEOUT;
use super::target::Target;
use super::tls::TlsStore;
use bytes::Buf;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, Notify, Semaphore};
use tokio::task::AbortHandle;

/// Bytes asked of a socket at a time.
const READ_SIZE: usize = 64 * 1024;
/// How long the last words of a connection may take.
const LINGER: Duration = Duration::from_secs(2);
/// How long a dial with its TLS handshake may take: less than [`DIAL_TIMEOUT`], so that it is said what took so long.
const DIAL: Duration = DIAL_TIMEOUT.saturating_sub(Duration::from_millis(500));
/// TLS handshakes of a listener at once.
const MAX_HANDSHAKES: usize = 64;
/// How long the TLS handshake of who connects to us may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// A second handle on the socket, if its bytes are what is said and not a form of it ([`Pipe::set_shortcut`]).
    fn shortcut(&self) -> Option<File> {
        None
    }
}
impl Stream for TcpStream {
    fn shortcut(&self) -> Option<File> {
        Some(self.as_fd().try_clone_to_owned().ok()?.into())
    }
}
impl Stream for UnixStream {
    fn shortcut(&self) -> Option<File> {
        Some(self.as_fd().try_clone_to_owned().ok()?.into())
    }
}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for tokio_rustls::client::TlsStream<T> {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for tokio_rustls::server::TlsStream<T> {}
impl Stream for Box<dyn Stream> {
    fn shortcut(&self) -> Option<File> {
        (**self).shortcut()
    }
}

/// Moves bytes between `stream` and `pipe` until one of them ends; `wake` is told whenever there is something to look at.
pub async fn serve(stream: impl Stream, pipe: Pipe, wake: Arc<Notify>) {
    if let Some(socket) = stream.shortcut() {
        pipe.set_shortcut(socket);
    }
    let (mut rx, mut tx) = tokio::io::split(stream);
    let mut buf = vec![0u8; READ_SIZE];
    let read = async {
        let why = loop {
            let room = poll_fn(|cx| match pipe.poll_room(cx.waker()) {
                0 => Poll::Pending,
                n => Poll::Ready(n),
            })
            .await;
            match rx.read(&mut buf[..room.min(READ_SIZE)]).await {
                Ok(0) => break "connection closed by peer".to_string(),
                Ok(n) => {
                    pipe.feed(&buf[..n]);
                    wake.notify_one();
                }
                Err(e) => break super::tls::explain(&e),
            }
        };
        // What it said before is handled yet, and answered if it still listens; then the manager hangs up.
        pipe.end(why);
        wake.notify_one();
        std::future::pending::<()>().await;
    };
    let write = async {
        let failed = loop {
            let mut out = poll_fn(|cx| {
                let out = pipe.poll_output(cx.waker());
                if out.is_empty() && !pipe.hanging_up() {
                    Poll::Pending
                } else {
                    Poll::Ready(out)
                }
            })
            .await;
            if out.is_empty() {
                let _ = tx.shutdown().await;
                return;
            }
            let done = async {
                while out.has_remaining() {
                    let n = tx.write_buf(&mut out).await?;
                    pipe.took(n);
                    // Whoever was held up by a full pipe may go on.
                    wake.notify_one();
                }
                tx.flush().await
            };
            if let Err(e) = done.await {
                break e;
            }
        };
        // A peer that went may have said something first, be it why.
        pipe.mute();
        tokio::time::sleep(LINGER).await;
        pipe.end(super::tls::explain(&failed));
        wake.notify_one();
        std::future::pending::<()>().await;
    };
    // A peer that does not read our last words is not waited for.
    let linger = async {
        told(&pipe, || pipe.hanging_up() || pipe.closed().is_some()).await;
        tokio::select! {
            () = told(&pipe, || pipe.closed().is_some()) => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    };
    tokio::select! {
        () = write => {
            // Closing a socket with something unread in it would have the peer's kernel throw away our last words.
            let unread = async { while rx.read(&mut buf).await.is_ok_and(|n| n > 0) {} };
            if pipe.ended().is_none() && pipe.closed().is_none() {
                let _ = tokio::time::timeout(LINGER, unread).await;
            }
        }
        () = read => {}
        () = linger => {}
    }
    pipe.close("closed");
    wake.notify_one();
}

/// Waits until the manager wants an end of the connection in the way that `done` looks for.
async fn told(pipe: &Pipe, done: impl Fn() -> bool) {
    poll_fn(|cx| {
        if done() {
            return Poll::Ready(());
        }
        pipe.on_hang_up(cx.waker());
        Poll::Pending
    })
    .await;
}

/// Opens a connection to an active target. With TLS and a `name`, the peer's certificate must be for that name; without, being signed by
/// our CA is enough.
///
/// # Errors
/// Why not, in one line.
pub async fn dial(target: &Target, name: Option<&str>, tls: &TlsStore) -> Result<Box<dyn Stream>, String> {
    let by = tokio::time::Instant::now() + DIAL;
    match target {
        Target::Tcp(a) => Ok(Box::new(connect(*a, by).await?)),
        Target::Ssl(a) => {
            let connector = tls.connector(name.is_some())?;
            let server = match name {
                Some(n) => rustls::pki_types::ServerName::try_from(n.to_string())
                    .map_err(|_| format!("name={n} is neither a host name nor an address"))?,
                None => rustls::pki_types::ServerName::IpAddress(a.ip().into()),
            };
            let s = connect(*a, by).await?;
            match tokio::time::timeout_at(by, connector.connect(server, s)).await {
                Ok(Ok(s)) => Ok(Box::new(s)),
                Ok(Err(e)) => Err(super::tls::explain(&e)),
                Err(_) => Err("TLS handshake timed out".into()),
            }
        }
        Target::Unix(p) => Ok(Box::new(UnixStream::connect(p).await.map_err(|e| e.to_string())?)),
        passive => Err(format!("{passive} is for listening, not for connecting")),
    }
}

async fn connect(to: SocketAddr, by: tokio::time::Instant) -> Result<TcpStream, String> {
    let s = match tokio::time::timeout_at(by, TcpStream::connect(to)).await {
        Ok(r) => r.map_err(|e| e.to_string())?,
        Err(_) => return Err("connection attempt timed out".into()),
    };
    // A port of this host that nobody listens on may become our own end.
    if s.local_addr().is_ok_and(|a| a == to) {
        return Err("nobody listens there: connected to itself".into());
    }
    let _ = s.set_nodelay(true);
    Ok(s)
}

/// Somebody connected to a listener.
pub struct Accepted {
    /// Which listener: the `key` it was made with.
    pub key: u64,
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// The peer's address, for names in listings.
    pub peer: String,
}

/// A listening socket; closing it (by drop) also removes a Unix socket's file.
pub struct Listener {
    /// Address in effect (the port, where 0 was asked for).
    pub target: Target,
    task: AbortHandle,
    path: Option<PathBuf>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(p) = &self.path {
            let _ = std::fs::remove_file(p);
        }
    }
}

/// Binds a Unix socket with mode 0600. A file left by a dead process is replaced; a living one is not.
///
/// # Errors
/// Why not, in one line that names the path.
pub fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let fault = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(fault(&"exists and is not a socket"));
        }
        // A process that is just dying (a restart after kill -9) still answers for a moment.
        let mut tries = 20;
        loop {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(_) => return Err(fault(&"address already in use: another process listens here")),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(|e| fault(&e))?;
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(fault(&e)),
            }
        }
    }
    // Bound under another name and moved, so that it is never open to others, not even for a moment.
    let mut private = path.as_os_str().to_owned();
    private.push(format!(".{}", std::process::id()));
    let private = PathBuf::from(private);
    let _ = std::fs::remove_file(&private);
    let listener = UnixListener::bind(&private).map_err(|e| fault(&e))?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&private, path))
        .map_err(|e| fault(&e))?;
    Ok(listener)
}

/// Starts listening; connections come out of `accepted`, labelled with `key`.
///
/// # Errors
/// Why not, in one line that names the address.
pub async fn listen(
    target: &Target,
    tls: Rc<TlsStore>,
    key: u64,
    accepted: mpsc::Sender<Accepted>,
) -> Result<Listener, String> {
    let fault = |e: io::Error| format!("cannot listen on {target}: {e}");
    match target {
        Target::Ptcp(a) | Target::Pssl(a) => {
            let socket = TcpListener::bind(a).await.map_err(fault)?;
            let a = socket.local_addr().map_err(fault)?;
            let is_tls = target.is_tls();
            if is_tls {
                tls.acceptor().map_err(|e| format!("cannot listen on {target}: {e}"))?;
            }
            let target = if is_tls { Target::Pssl(a) } else { Target::Ptcp(a) };
            let task = tokio::task::spawn_local(async move {
                let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
                loop {
                    // Others wait in the kernel's queue.
                    let Ok(turn) = handshakes.clone().acquire_owned().await else { return };
                    let (s, peer) = match socket.accept().await {
                        Ok(x) => x,
                        Err(e) => {
                            tracing::warn!(error = %e, "accept failed");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    };
                    let _ = s.set_nodelay(true);
                    if !is_tls {
                        let a = Accepted { key, stream: Box::new(s), peer: format!("tcp:{peer}") };
                        if accepted.send(a).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    let (tls, accepted) = (tls.clone(), accepted.clone());
                    tokio::task::spawn_local(async move {
                        let _turn = turn;
                        let handshake = async {
                            let acceptor = tls.acceptor()?;
                            match tokio::time::timeout(HANDSHAKE, acceptor.accept(s)).await {
                                Ok(r) => r.map_err(|e| super::tls::explain(&e)),
                                Err(_) => Err("TLS handshake timed out".into()),
                            }
                        };
                        match handshake.await {
                            Ok(s) => {
                                let a = Accepted { key, stream: Box::new(s), peer: format!("ssl:{peer}") };
                                let _ = accepted.send(a).await;
                            }
                            Err(e) => tracing::warn!(%peer, error = %e, "TLS connection refused"),
                        }
                    });
                }
            });
            Ok(Listener { target, task: task.abort_handle(), path: None })
        }
        Target::Punix(p) => {
            let socket = bind_unix(p).map_err(|e| format!("cannot listen on punix:{e}"))?;
            let task = tokio::task::spawn_local(async move {
                let mut n = 0u64;
                loop {
                    match socket.accept().await {
                        Ok((s, _)) => {
                            n += 1;
                            let a = Accepted { key, stream: Box::new(s), peer: format!("unix#{n}") };
                            if accepted.send(a).await.is_err() {
                                return;
                            }
                        }
                        Err(e) => {
                            tracing::warn!(error = %e, "accept failed");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            });
            Ok(Listener { target: target.clone(), task: task.abort_handle(), path: Some(p.clone()) })
        }
        active => Err(format!("{active} is for connecting, not for listening")),
    }
}

const _: () = assert!(READ_SIZE <= INPUT_LIMIT);
