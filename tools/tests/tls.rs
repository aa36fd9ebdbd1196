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
    talk_to(to, None, tls).await
}

async fn talk_to(to: &Target, name: Option<&str>, tls: &TlsStore) -> Result<(), String> {
    let mut c = dial(to, name, tls).await?;
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

/// A CA of the test's own; its certificate replaces the directory's.
fn own_ca(dir: &Path) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut p = rcgen::CertificateParams::default();
    p.distinguished_name.push(rcgen::DnType::CommonName, "a CA of the test's own");
    p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(dir.join("cacert.pem"), p.self_signed(&key).unwrap().pem()).unwrap();
    rcgen::Issuer::new(p, key)
}

/// A certificate of that CA, changed as the test wants; its files.
fn special(
    dir: &Path,
    ca: &rcgen::Issuer<'static, rcgen::KeyPair>,
    end: &str,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> TlsFiles {
    let mut p = rcgen::CertificateParams::new(vec!["switch.example".to_string()]).unwrap();
    change(&mut p);
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = p.signed_by(&key, ca).unwrap();
    std::fs::write(dir.join(format!("{end}-cert.pem")), cert.pem()).unwrap();
    std::fs::write(dir.join(format!("{end}-privkey.pem")), key.serialize_pem()).unwrap();
    files(dir, end)
}

#[test]
fn a_server_that_is_expired_early_misused_or_another_is_refused_by_name_of_the_check() {
    let d = Dir::new("checks");
    block_on(async move {
        let ca = own_ca(&d.0);
        let client = store(special(&d.0, &ca, "client", |_| ()));
        let year = |n: i64| {
            std::time::SystemTime::now() + std::time::Duration::from_secs(86_400 * 365 * n.unsigned_abs())
        };
        let day_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
        type Change = Box<dyn FnOnce(&mut rcgen::CertificateParams)>;
        let cases: Vec<(&str, Change, &str)> = vec![
            (
                "expired",
                Box::new(move |p| p.not_after = day_ago.into()),
                "TLS: the peer's certificate has expired (or our clock is wrong)",
            ),
            (
                "early",
                Box::new(move |p| p.not_before = year(1).into()),
                "TLS: the peer's certificate is not valid yet (or our clock is wrong)",
            ),
            (
                "misused",
                Box::new(|p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]),
                "TLS: the peer's certificate is not for this purpose (extended key usage)",
            ),
        ];
        for (end, change, want) in cases {
            let (_l, to, rx) = server(store(special(&d.0, &ca, end, change))).await;
            echo_all(rx);
            assert_eq!(talk(&to, &client).await.unwrap_err(), want, "{end}");
        }
        // The name counts where one is given.
        let (_l, to, rx) = server(store(special(&d.0, &ca, "named", |_| ()))).await;
        echo_all(rx);
        talk(&to, &client).await.unwrap();
        talk_to(&to, Some("switch.example"), &client).await.unwrap();
        let e = talk_to(&to, Some("other.example"), &client).await.unwrap_err();
        assert!(
            e.starts_with("TLS: the peer's certificate is for another name: other.example is wanted, it has")
                && e.contains("switch.example"),
            "{e}"
        );
    });
}

/// A client by hand: these versions, with or without a certificate.
async fn by_hand(
    to: &Target,
    dir: &Path,
    versions: &[&'static rustls::SupportedProtocolVersion],
    with_certificate: bool,
) -> Result<(), String> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cacert.pem")).unwrap()).unwrap();
    let b = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = if with_certificate {
        let chain = vec![CertificateDer::from_pem_file(dir.join("client-cert.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(dir.join("client-privkey.pem")).unwrap();
        b.with_client_auth_cert(chain, key).unwrap()
    } else {
        b.with_no_client_auth()
    };
    let Target::Ssl(a) = to else { panic!() };
    let says = |e: std::io::Error| ofproto::conn::tls::explain(&e);
    let tcp = tokio::net::TcpStream::connect(a).await.unwrap();
    let name = ServerName::IpAddress(a.ip().into());
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut c = connector.connect(name, tcp).await.map_err(says)?;
    c.write_all(b"ping").await.map_err(says)?;
    c.flush().await.map_err(says)?;
    let mut b = [0; 4];
    c.read_exact(&mut b).await.map_err(says).map(|_| ())
}

#[test]
fn both_versions_are_spoken_and_a_client_without_certificate_is_told_so() {
    let d = Dir::new("versions");
    block_on(async move {
        let (_l, to, rx) = server(store(files(&d.0, "switch"))).await;
        echo_all(rx);
        let (v12, v13) = (&rustls::version::TLS12, &rustls::version::TLS13);
        by_hand(&to, &d.0, &[v12], true).await.unwrap();
        by_hand(&to, &d.0, &[v13], true).await.unwrap();
        let e = by_hand(&to, &d.0, &[v13], false).await.unwrap_err();
        assert_eq!(e, "TLS: the peer wants a certificate from us");
        // 1.2 has no alert of its own for it.
        let e = by_hand(&to, &d.0, &[v12], false).await.unwrap_err();
        assert!(e.starts_with("TLS: the peer"), "{e}");
        // Somebody who speaks something else.
        let Target::Ssl(a) = &to else { panic!() };
        let mut plain = tokio::net::TcpStream::connect(a).await.unwrap();
        plain.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).await.unwrap();
        let mut rest = Vec::new();
        plain.read_to_end(&mut rest).await.unwrap();
        talk(&to, &store(files(&d.0, "client"))).await.unwrap();
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
    assert!(s.connector(false).is_err());
    assert!(tools::pki::make(&d.0, 1).unwrap_err().contains("exists"));
}
