//! The command socket `ofswitchd.sock`: JSON-RPC 1.0 as `ovs-appctl -t` speaks it. A request is
//! `{"method": NAME, "params": [STRING...], "id": ANY}`; the answer has a string as its result, or as its error.

use ofproto::conn::io::bind_unix;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// A request may be this long; `trace` of a jumbo frame fits well.
const MAX_REQUEST: usize = 1 << 20;
/// Clients served at once.
const MAX_CLIENTS: usize = 64;

/// One command on its way to the control loop.
pub struct Request {
    /// The command.
    pub method: String,
    /// Its arguments.
    pub params: Vec<String>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// The listening socket; its file goes away with it.
pub struct ControlSocket {
    /// Where it is.
    pub path: PathBuf,
    task: AbortHandle,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Listens; commands come out of `requests`.
    ///
    /// # Errors
    /// One line that names the path.
    pub fn listen(path: &Path, requests: mpsc::Sender<Request>) -> Result<Self, String> {
        let socket = bind_unix(path)?;
        let clients = std::rc::Rc::new(tokio::sync::Semaphore::new(MAX_CLIENTS));
        let task = tokio::task::spawn_local(async move {
            loop {
                match socket.accept().await {
                    Ok((stream, _)) => {
                        let (requests, clients) = (requests.clone(), clients.clone());
                        tokio::task::spawn_local(async move {
                            if let Ok(_seat) = clients.acquire().await {
                                if let Err(e) = serve(stream, requests).await {
                                    tracing::debug!(error = %e, "command socket client");
                                }
                            }
                        });
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "command socket");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(Self { path: path.into(), task: task.abort_handle() })
    }
}

/// Takes the first JSON value off `buf`; `None` if it is not whole yet.
fn next_value(buf: &mut Vec<u8>) -> Result<Option<Value>, String> {
    let mut stream = serde_json::Deserializer::from_slice(buf).into_iter::<Value>();
    match stream.next() {
        None => {
            buf.clear();
            Ok(None)
        }
        Some(Ok(v)) => {
            let used = stream.byte_offset();
            buf.drain(..used);
            Ok(Some(v))
        }
        Some(Err(e)) if e.is_eof() => Ok(None),
        Some(Err(e)) => Err(format!("not JSON: {e}")),
    }
}

fn understand(v: &Value) -> Result<(String, Vec<String>), String> {
    let method = v["method"].as_str().ok_or("a request needs a \"method\"")?;
    let none = Vec::new();
    let params = match &v["params"] {
        Value::Null => &none,
        Value::Array(a) => a,
        _ => return Err("\"params\" must be an array of strings".into()),
    };
    let params: Option<Vec<String>> = params.iter().map(|p| p.as_str().map(String::from)).collect();
    Ok((method.into(), params.ok_or("\"params\" must be an array of strings")?))
}

async fn serve(mut stream: UnixStream, requests: mpsc::Sender<Request>) -> Result<(), String> {
    let mut buf = Vec::new();
    let mut piece = [0u8; 8192];
    loop {
        while let Some(v) = next_value(&mut buf)? {
            let id = v["id"].clone();
            let answer = match understand(&v) {
                Err(e) => Err(e),
                Ok((method, params)) => {
                    let (reply, answer) = oneshot::channel();
                    let sent = requests.send(Request { method, params, reply }).await;
                    match sent {
                        Ok(()) => answer.await.unwrap_or_else(|_| Err("ofswitchd is shutting down".into())),
                        Err(_) => Err("ofswitchd is shutting down".into()),
                    }
                }
            };
            let out = match answer {
                Ok(text) => json!({"id": id, "result": text, "error": null}),
                // ovs-appctl prints errors as they are: a line needs its end.
                Err(e) => json!({"id": id, "result": null, "error": format!("{}\n", e.trim_end())}),
            };
            let mut line = out.to_string();
            line.push('\n');
            stream.write_all(line.as_bytes()).await.map_err(|e| e.to_string())?;
        }
        if buf.len() > MAX_REQUEST {
            return Err("request too long".into());
        }
        match stream.read(&mut piece).await {
            Ok(0) => return Ok(()),
            Ok(n) => buf.extend_from_slice(&piece[..n]),
            Err(e) => return Err(e.to_string()),
        }
    }
}

/// Sends one command and waits for its answer (blocking; for `ofctl`).
///
/// # Errors
/// The daemon's refusal, or that there is no daemon.
pub fn call(
    path: &Path,
    method: &str,
    params: &[String],
    patience: Option<Duration>,
) -> Result<String, String> {
    use std::io::{Read, Write};
    let at = |e: &dyn std::fmt::Display| {
        format!("{}: {e} (is ofswitchd running with this --run-dir?)", path.display())
    };
    let mut s = std::os::unix::net::UnixStream::connect(path).map_err(|e| at(&e))?;
    s.set_read_timeout(patience).map_err(|e| at(&e))?;
    let request = json!({"method": method, "params": params, "id": 0}).to_string();
    s.write_all(request.as_bytes()).map_err(|e| at(&e))?;
    let mut buf = Vec::new();
    let mut piece = [0u8; 65536];
    loop {
        if let Some(v) = next_value(&mut buf)? {
            return match (&v["error"], &v["result"]) {
                (Value::Null, Value::String(s)) => Ok(s.clone()),
                (Value::Null, other) => Ok(other.to_string()),
                (Value::String(e), _) => Err(e.trim_end().to_string()),
                (e, _) => Err(e.to_string()),
            };
        }
        match s.read(&mut piece) {
            Ok(0) => return Err(at(&"closed without an answer")),
            Ok(n) => buf.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(format!("{method}: no answer in time"))
            }
            Err(e) => return Err(at(&e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_from_a_stream_however_it_arrives() {
        let all = br#"{"method":"a","params":["x"],"id":1} {"method":"b","id":2}"#;
        for cut in 0..all.len() {
            let mut buf = all[..cut].to_vec();
            let mut got = Vec::new();
            while let Some(v) = next_value(&mut buf).unwrap() {
                got.push(understand(&v).unwrap());
            }
            buf.extend_from_slice(&all[cut..]);
            while let Some(v) = next_value(&mut buf).unwrap() {
                got.push(understand(&v).unwrap());
            }
            assert_eq!(got, [("a".to_string(), vec!["x".to_string()]), ("b".into(), vec![])]);
        }
        assert!(next_value(&mut b"nonsense".to_vec()).is_err());
        assert!(understand(&json!({"method": "a", "params": [1]})).is_err());
        assert!(understand(&json!({"params": []})).is_err());
    }
}
