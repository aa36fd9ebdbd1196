//! TLS 1.2 and 1.3 with certificates on both sides, as OVS has it: a peer is who the CA says it is; its name is checked where one is given.
//! Certificates are read again when their files change, so renewing them needs no restart.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible,
    RootCertStore, ServerConfig, SignatureScheme,
};
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The three files of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our private key (PEM).
    pub private_key: PathBuf,
    /// Our certificate and its chain (PEM).
    pub certificate: PathBuf,
    /// The CA that peers' certificates must come from (PEM).
    pub ca_cert: PathBuf,
}

type Stamp = [Option<SystemTime>; 3];

struct Loaded {
    stamp: Stamp,
    client: Arc<ClientConfig>,
    /// The same, for peers whose name counts.
    named: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// What TLS connections are made with; empty until files are given.
#[derive(Default)]
pub struct TlsStore {
    files: RefCell<Option<TlsFiles>>,
    loaded: RefCell<Option<Loaded>>,
}

impl TlsStore {
    /// Uses these files from now on, after checking that they can be used.
    ///
    /// # Errors
    /// Which file is wrong and how; what was in use stays in use.
    pub fn set_files(&self, files: TlsFiles) -> Result<(), String> {
        let loaded = load(&files)?;
        *self.files.borrow_mut() = Some(files);
        *self.loaded.borrow_mut() = Some(loaded);
        Ok(())
    }
    /// The files in use.
    pub fn files(&self) -> Option<TlsFiles> {
        self.files.borrow().clone()
    }
    /// For dialling; `with_name`: the certificate must be for the name given to `connect`.
    ///
    /// # Errors
    /// No files, or none that were ever good.
    pub fn connector(&self, with_name: bool) -> Result<TlsConnector, String> {
        self.fresh(|l| TlsConnector::from(if with_name { l.named.clone() } else { l.client.clone() }))
    }
    /// For dialling without tokio.
    ///
    /// # Errors
    /// No files, or none that were ever good.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        self.fresh(|l| l.client.clone())
    }
    /// For accepting.
    ///
    /// # Errors
    /// No files, or none that were ever good.
    pub fn acceptor(&self) -> Result<TlsAcceptor, String> {
        self.fresh(|l| TlsAcceptor::from(l.server.clone()))
    }

    fn fresh<T>(&self, use_it: impl FnOnce(&Loaded) -> T) -> Result<T, String> {
        let files = self.files.borrow();
        let Some(files) = files.as_ref() else {
            return Err("TLS needs --private-key, --certificate and --ca-cert".into());
        };
        let mut loaded = self.loaded.borrow_mut();
        if loaded.as_ref().is_none_or(|l| l.stamp != stamp(files)) {
            match load(files) {
                Ok(l) => {
                    tracing::info!("TLS certificates read");
                    *loaded = Some(l);
                }
                // A half-written file: the old certificates stay till it is whole.
                Err(e) if loaded.is_some() => tracing::warn!(error = %e, "TLS certificates not reloaded"),
                Err(e) => return Err(e),
            }
        }
        loaded.as_ref().map(use_it).ok_or_else(|| "TLS is not set up".into())
    }
}

fn stamp(f: &TlsFiles) -> Stamp {
    let of = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    [of(&f.private_key), of(&f.certificate), of(&f.ca_cert)]
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let at = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let pem = std::fs::read(path).map_err(|e| at(&e))?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match list {
        Ok(l) if l.is_empty() => Err(at(&"holds no certificate (PEM expected)")),
        Ok(l) => Ok(l),
        Err(e) => Err(at(&format!("not a PEM certificate: {e}"))),
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, String> {
    let stamp = stamp(files);
    let at = |p: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", p.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key_pem = std::fs::read(&files.private_key).map_err(|e| at(&files.private_key, &e))?;
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|e| at(&files.private_key, &format!("not a PEM private key: {e}")))?;
    let chain = certificates(&files.certificate)?;
    let mut roots = RootCertStore::empty();
    for ca in certificates(&files.ca_cert)? {
        roots.add(ca).map_err(|e| at(&files.ca_cert, &format!("not a usable CA certificate: {e}")))?;
    }
    let roots = Arc::new(roots);
    let mismatch = |e: Error| {
        at(&files.certificate, &format!("does not go with private key {}: {e}", files.private_key.display()))
    };
    let client_verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| at(&files.ca_cert, &e))?;
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(client_verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(mismatch)?;
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| at(&files.ca_cert, &e))?;
    let by_authority = Arc::new(ByAuthority(inner.clone()));
    let client = |verifier: Arc<dyn ServerCertVerifier>| {
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(mismatch)?;
        Ok::<_, String>(Arc::new(client))
    };
    Ok(Loaded { stamp, client: client(by_authority)?, named: client(inner)?, server: Arc::new(server) })
}

/// Checks everything but the name: controllers are named by address, and their certificates rarely hold one. The CA is private
/// to the switches and controllers of one network, so whoever it signed is one of them.
#[derive(Debug)]
struct ByAuthority(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when all else was found right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Makes sure that rustls has a provider even where a default is asked for.
pub fn install_provider() {
    let _ = CryptoProvider::install_default(rustls::crypto::ring::default_provider());
}

const NO_COMMON_VERSION: &str = "the peer speaks neither TLS 1.2 nor 1.3";

/// An I/O error in words; for TLS the check that failed, and on which side.
pub fn explain(e: &io::Error) -> String {
    let Some(tls) = e.get_ref().and_then(|r| r.downcast_ref::<Error>()) else {
        return match (e.kind(), e.to_string()) {
            (io::ErrorKind::UnexpectedEof, t) if t.contains("handshake") => {
                "TLS: the peer closed the connection during the handshake".into()
            }
            // Most peers do not say goodbye (close_notify).
            (io::ErrorKind::UnexpectedEof, _) => "connection closed by peer".into(),
            (_, t) => t,
        };
    };
    let why = match tls {
        Error::InvalidCertificate(c) => match c {
            CertificateError::UnknownIssuer => {
                "the peer's certificate is not signed by our CA certificate (--ca-cert)".to_string()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the peer's certificate has expired (or our clock is wrong)".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the peer's certificate is not valid yet (or our clock is wrong)".into()
            }
            CertificateError::BadSignature => {
                "the peer's certificate is not signed by our CA certificate (another CA of the same name?)"
                    .into()
            }
            CertificateError::NotValidForName => "the peer's certificate is for another name".into(),
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "the peer's certificate is for another name: {} is wanted, it has {}",
                expected.to_str(),
                if presented.is_empty() { "none".into() } else { presented.join(", ") }
            ),
            CertificateError::Revoked => "the peer's certificate is revoked".into(),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the peer's certificate is not for this purpose (extended key usage)".into()
            }
            // webpki has its own word for it, and no type that is ours to match.
            CertificateError::Other(o) if o.to_string().contains("UnsupportedCertVersion") => {
                "the peer's certificate is of X.509 version 1; version 3 is needed (openssl x509 -extfile)".into()
            }
            other => format!("the peer's certificate is refused: {other:?}"),
        },
        Error::NoCertificatesPresented => "the peer sent no certificate".into(),
        Error::AlertReceived(a) => match a {
            AlertDescription::UnknownCA => "the peer does not know the CA of our certificate".to_string(),
            AlertDescription::CertificateRequired => "the peer wants a certificate from us".into(),
            AlertDescription::CertificateExpired => "the peer says our certificate has expired".into(),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied => {
                format!("the peer refuses our certificate ({a:?})")
            }
            AlertDescription::ProtocolVersion => NO_COMMON_VERSION.into(),
            other => format!("the peer ended TLS: {other:?}"),
        },
        Error::InvalidMessage(_) => "the peer does not speak TLS".into(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            // Of a client: 1.2 and 1.3 have it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => NO_COMMON_VERSION.into(),
        Error::PeerIncompatible(p) => format!("no common TLS parameters with the peer: {p:?}"),
        other => other.to_string(),
    };
    format!("TLS: {why}")
}
