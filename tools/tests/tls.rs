//! TLS between two ends with certificates of `ofctl pki`: who is let in, who is not and why, and renewal without a restart.

use ofproto::conn::io::{dial, listen, Accepted, Listener};
use ofproto::conn::tls::{TlsFiles, TlsStore};
use ofproto::conn::Target;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let d = std::env::temp_dir().join(format!("ofsw-tls-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&d);
        tools::pki::make(&d, 2).unwrap();
        Self(d)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path, end: &str) -> TlsFiles {
    TlsFiles {
        private_key: dir.join(format!("{end}-privkey.pem")),
        certificate: dir.join(format!("{end}-cert.pem")),
        ca_cert: dir.join("cacert.pem"),
    }
}

fn store(f: TlsFiles) -> Rc<TlsStore> {
    let s = TlsStore::default();
    s.set_files(f).unwrap();
    Rc::new(s)
}

fn block_on(test: impl std::future::Future<Output = ()>) {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&rt, test);
}

async fn server(tls: Rc<TlsStore>) -> (Listener, Target, mpsc::Receiver<Accepted>) {
    let (tx, rx) = mpsc::channel(4);
    let l = listen(&"pssl:0:127.0.0.1".parse().unwrap(), tls, 1, tx).await.unwrap();
    let Target::Pssl(a) = l.target else { panic!() };
    (l, Target::Ssl(a), rx)
}

/// Dials and sends a word; what the client is told if that fails.
async fn talk(to: &Target, tls: &TlsStore) -> Result<(), String> {
    let mut c = dial(to, tls).await?;
    let says = |e: std::io::Error| ofproto::conn::tls::explain(&e);
    c.write_all(b"ping").await.map_err(says)?;
    c.flush().await.map_err(says)?;
    // In TLS 1.3 a refused client learns of it with the first read.
    let mut b = [0; 4];
    c.read_exact(&mut b).await.map_err(says).map(|_| ())
}

fn echo_all(mut rx: mpsc::Receiver<Accepted>) {
    tokio::task::spawn_local(async move {
        while let Some(mut a) = rx.recv().await {
            let mut b = [0; 4];
            if a.stream.read_exact(&mut b).await.is_ok() {
                a.stream.write_all(&b).await.unwrap();
                a.stream.flush().await.unwrap();
            }
        }
    });
}

#[test]
fn both_sides_are_checked_and_refusals_name_the_check() {
    let (ours, theirs) = (Dir::new("ours"), Dir::new("theirs"));
    block_on(async move {
        let (_l, to, rx) = server(store(files(&ours.0, "switch"))).await;
        echo_all(rx);
        talk(&to, &store(files(&ours.0, "controller"))).await.unwrap();

        let e = talk(&to, &store(files(&theirs.0, "controller"))).await.unwrap_err();
        assert_eq!(e, "TLS: the peer's certificate is not signed by our CA certificate (--ca-cert)");

        // A client that trusts the server but has a certificate of another CA is refused by the server.
        let mixed = TlsFiles { ca_cert: ours.0.join("cacert.pem"), ..files(&theirs.0, "controller") };
        let e = talk(&to, &store(mixed)).await.unwrap_err();
        assert!(e.starts_with("TLS: the peer"), "{e}");
    });
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let (old, new) = (Dir::new("old"), Dir::new("new"));
    block_on(async move {
        let (_l, to, rx) = server(store(files(&old.0, "switch"))).await;
        echo_all(rx);
        let client = store(files(&new.0, "client"));
        assert!(talk(&to, &client).await.is_err());
        for f in ["switch-privkey.pem", "switch-cert.pem", "cacert.pem"] {
            std::fs::copy(new.0.join(f), old.0.join(f)).unwrap();
        }
        talk(&to, &client).await.unwrap();
    });
}

#[test]
fn unusable_files_are_named() {
    let d = Dir::new("bad");
    let s = TlsStore::default();
    let missing = TlsFiles { private_key: d.0.join("none.pem"), ..files(&d.0, "switch") };
    assert!(s.set_files(missing).unwrap_err().contains("none.pem: No such file"));
    let swapped = TlsFiles { private_key: d.0.join("client-privkey.pem"), ..files(&d.0, "switch") };
    assert!(s.set_files(swapped).unwrap_err().contains("does not go with private key"));
    std::fs::write(d.0.join("cacert.pem"), "nonsense").unwrap();
    assert!(s.set_files(files(&d.0, "switch")).unwrap_err().contains("holds no certificate"));
    assert!(s.connector().is_err());
    assert!(tools::pki::make(&d.0, 1).unwrap_err().contains("exists"));
}
