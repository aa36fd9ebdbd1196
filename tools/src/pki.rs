//! `ofctl pki DIR`: a CA and certificates for a switch, a controller and a client, to try TLS with.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Ends that get a certificate.
const ENDS: &[&str] = &["switch", "controller", "client"];

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::OpenOptionsExt;
    let at = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut f = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(at)?;
    f.write_all(text.as_bytes()).map_err(at)
}

/// Makes `cacert.pem` and, for each end, `END-cert.pem` and `END-privkey.pem` in `dir`; gives back the files. An existing CA is not
/// replaced.
///
/// # Errors
/// One line.
pub fn make(dir: &Path, days: u32) -> Result<Vec<PathBuf>, String> {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let ca_path = dir.join("cacert.pem");
    if ca_path.exists() {
        return Err(format!("{} exists; choose an empty directory", ca_path.display()));
    }
    let until = |p: &mut CertificateParams| {
        let now = std::time::SystemTime::now();
        p.not_before = (now - std::time::Duration::from_secs(3600)).into();
        p.not_after = (now + std::time::Duration::from_secs(u64::from(days) * 86_400)).into();
    };
    let fault = |e: rcgen::Error| e.to_string();
    let mut ca = CertificateParams::default();
    // A name of its own: two CAs of one name make errors that mislead.
    let made = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    ca.distinguished_name.push(DnType::CommonName, format!("ofswitch test CA {made:x}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    until(&mut ca);
    let ca_key = KeyPair::generate().map_err(fault)?;
    let ca_cert = ca.self_signed(&ca_key).map_err(fault)?;
    let mut out = vec![ca_path.clone(), dir.join("cakey.pem")];
    write(&ca_path, &ca_cert.pem(), 0o644)?;
    write(&out[1], &ca_key.serialize_pem(), 0o600)?;
    let issuer = Issuer::new(ca, ca_key);
    for end in ENDS {
        let mut p = CertificateParams::new(vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()])
            .map_err(fault)?;
        p.distinguished_name.push(DnType::CommonName, format!("ofswitch test {end}"));
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        until(&mut p);
        let key = KeyPair::generate().map_err(fault)?;
        let cert = p.signed_by(&key, &issuer).map_err(fault)?;
        let (c, k) = (dir.join(format!("{end}-cert.pem")), dir.join(format!("{end}-privkey.pem")));
        write(&c, &cert.pem(), 0o644)?;
        write(&k, &key.serialize_pem(), 0o600)?;
        out.extend([c, k]);
    }
    Ok(out)
}
