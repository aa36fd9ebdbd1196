//! Where to connect to or listen: `tcp:IP[:PORT]`, `ssl:IP[:PORT]`, `ptcp:[PORT][:IP]`, `pssl:[PORT][:IP]`, `unix:PATH`, `punix:PATH`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The port registered for OpenFlow.
pub const OFP_PORT: u16 = 6653;

/// One end of an OpenFlow connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Connect by TCP.
    Tcp(SocketAddr),
    /// Connect by TLS.
    Ssl(SocketAddr),
    /// Listen for TCP.
    Ptcp(SocketAddr),
    /// Listen for TLS.
    Pssl(SocketAddr),
    /// Connect to a Unix socket.
    Unix(PathBuf),
    /// Listen on a Unix socket.
    Punix(PathBuf),
}

impl Target {
    /// Whether we wait for the peer.
    pub fn is_passive(&self) -> bool {
        matches!(self, Self::Ptcp(_) | Self::Pssl(_) | Self::Punix(_))
    }
    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Ssl(_) | Self::Pssl(_))
    }
}

/// Not a target: says what was given and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a connection target: {problem}; write tcp:IP:PORT, ssl:IP:PORT, ptcp:PORT:IP, pssl:PORT:IP, unix:PATH or punix:PATH")]
pub struct TargetError {
    given: String,
    problem: String,
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(p) => Ok(p),
        Err(_) => Err(format!("port {text:?} is not a number from 0 to 65535")),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("{text:?} is not an IP address (names are not looked up)"))
}

/// `IP`, `IP:PORT`, `[IPv6]`, `[IPv6]:PORT`.
fn active(rest: &str) -> Result<SocketAddr, String> {
    if let Ok(a) = rest.parse::<SocketAddr>() {
        return Ok(a);
    }
    if let Ok(a) = ip(rest) {
        return Ok(SocketAddr::new(a, OFP_PORT));
    }
    match rest.rsplit_once(':') {
        Some((a, p)) => Ok(SocketAddr::new(ip(a)?, port(p)?)),
        None => Err(ip(rest).unwrap_err()),
    }
}

/// ``, `PORT`, `PORT:IP`, `PORT:[IPv6]`.
fn passive(rest: &str) -> Result<SocketAddr, String> {
    let (p, a) = rest.split_once(':').unwrap_or((rest, ""));
    let p = if p.is_empty() { OFP_PORT } else { port(p)? };
    let a = if a.is_empty() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { ip(a)? };
    Ok(SocketAddr::new(a, p))
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let fault = |problem: String| TargetError { given: text.into(), problem };
        let (kind, rest) = text.split_once(':').ok_or_else(|| fault("the method is missing".into()))?;
        let path =
            || if rest.is_empty() { Err("the path is missing".into()) } else { Ok(PathBuf::from(rest)) };
        match kind {
            "tcp" => active(rest).map(Self::Tcp),
            "ssl" | "tls" => active(rest).map(Self::Ssl),
            "ptcp" => passive(rest).map(Self::Ptcp),
            "pssl" | "ptls" => passive(rest).map(Self::Pssl),
            "unix" => path().map(Self::Unix),
            "punix" => path().map(Self::Punix),
            other => Err(format!("method {other:?} is unknown")),
        }
        .map_err(fault)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = |a: &SocketAddr| match a.ip() {
            IpAddr::V4(v) => v.to_string(),
            IpAddr::V6(v) => format!("[{v}]"),
        };
        match self {
            Self::Tcp(a) => write!(f, "tcp:{a}"),
            Self::Ssl(a) => write!(f, "ssl:{a}"),
            Self::Ptcp(a) => write!(f, "ptcp:{}:{}", a.port(), ip(a)),
            Self::Pssl(a) => write!(f, "pssl:{}:{}", a.port(), ip(a)),
            Self::Unix(p) => write!(f, "unix:{}", p.display()),
            Self::Punix(p) => write!(f, "punix:{}", p.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_ovs_reads_them() {
        for (text, shown) in [
            ("tcp:127.0.0.1:6653", "tcp:127.0.0.1:6653"),
            ("tcp:10.0.0.1", "tcp:10.0.0.1:6653"),
            ("ssl:[::1]:6640", "ssl:[::1]:6640"),
            ("tcp:[fe80::1]", "tcp:[fe80::1]:6653"),
            ("ptcp:", "ptcp:6653:0.0.0.0"),
            ("ptcp:6634:127.0.0.1", "ptcp:6634:127.0.0.1"),
            ("pssl:1:[::1]", "pssl:1:[::1]"),
            ("unix:/run/x", "unix:/run/x"),
            ("punix:x.sock", "punix:x.sock"),
        ] {
            let t: Target = text.parse().unwrap();
            assert_eq!(t.to_string(), shown);
            assert_eq!(shown.parse::<Target>().unwrap(), t);
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, needle) in [
            ("127.0.0.1", "the method is missing"),
            ("tcp:host:1", "not an IP address"),
            ("tcp:1.2.3.4:99999", "port \"99999\""),
            ("udp:1.2.3.4", "method \"udp\""),
            ("unix:", "the path is missing"),
        ] {
            let e = text.parse::<Target>().unwrap_err().to_string();
            assert!(e.contains(needle), "{e}");
        }
    }
}
