//! The lock of the gateway's door: its certificate, and whose certificates clients have to show.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate with less than this is spoken of as something to be done.
pub(crate) const SOON: Duration = Duration::from_secs(21 * 24 * 3600);

/// The settings that name files.
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
const CLIENT_CA: &str = "client_ca";

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and the root, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// If given, clients have to show a certificate issued by one of these.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("[tls] {setting}: {} cannot be read: {cause}", file.display())]
    Unreadable {
        setting: &'static str,
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error("[tls] {setting}: {} holds no {what} in PEM", file.display())]
    Nothing {
        setting: &'static str,
        file: PathBuf,
        what: &'static str,
    },
    #[error("[tls] {setting}: {} is not right: {cause}", file.display())]
    Bad {
        setting: &'static str,
        file: PathBuf,
        cause: String,
    },
    #[error("[tls] key: the key {} does not belong to the certificate {}, or one of them is damaged: {cause}", key.display(), certificate.display())]
    Mismatch {
        certificate: PathBuf,
        key: PathBuf,
        cause: String,
    },
    #[error("[tls] certificate: {} has expired: renew it", file.display())]
    Expired { file: PathBuf },
}

/// TLS as it is spoken until the files change.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// Seconds since 1970.
    pub(crate) expires: u64,
}

impl Tls {
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = certificates(CERTIFICATE, &files.certificate)?;
        let expires = expiry(&chain[0]).map_err(|cause| TlsError::Bad {
            setting: CERTIFICATE,
            file: files.certificate.clone(),
            cause,
        })?;
        if expires <= now() {
            return Err(TlsError::Expired {
                file: files.certificate.clone(),
            });
        }
        let bytes = read(KEY, &files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Nothing {
            setting: KEY,
            file: files.key.clone(),
            what: "private key",
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|cause| TlsError::Bad {
                setting: CERTIFICATE,
                file: files.certificate.clone(),
                cause: cause.to_string(),
            })?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = roots(file)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|cause| TlsError::Bad {
                            setting: CLIENT_CA,
                            file: file.clone(),
                            cause: cause.to_string(),
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder
                .with_single_cert(chain, key)
                .map_err(|cause| TlsError::Mismatch {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                    cause: cause.to_string(),
                })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            expires,
        })
    }

    pub(crate) fn left(&self) -> Duration {
        Duration::from_secs(self.expires.saturating_sub(now()))
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn read(setting: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|cause| TlsError::Unreadable {
        setting,
        file: file.to_owned(),
        cause,
    })
}

/// The certificates of a file; at least one.
fn certificates(
    setting: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(setting, file)?;
    let list = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_default();
    if list.is_empty() {
        return Err(TlsError::Nothing {
            setting,
            file: file.to_owned(),
            what: "certificate",
        });
    }
    Ok(list)
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CLIENT_CA, file)? {
        roots.add(certificate).map_err(|cause| TlsError::Bad {
            setting: CLIENT_CA,
            file: file.to_owned(),
            cause: cause.to_string(),
        })?;
    }
    Ok(roots)
}

fn expiry(certificate: &CertificateDer<'_>) -> Result<u64, String> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| "it is no certificate".to_owned())?;
    u64::try_from(parsed.validity().not_after.timestamp())
        .map_err(|_| "it expired before 1970".to_owned())
}

/// What a client's verified certificate calls it: its common name, else its first name in DNS.
pub(crate) fn name_of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    use x509_parser::extensions::GeneralName;

    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let common = parsed
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok().map(str::to_owned));
    let in_dns = || {
        let names = parsed.subject_alternative_name().ok()??;
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
    };
    Some(common.or_else(in_dns)?.into())
}
