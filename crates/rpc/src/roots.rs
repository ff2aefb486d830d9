//! Whom endpoints reached over `https` and `wss` are verified against, and as whom we show
//! ourselves to them.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// TLS towards one endpoint. What is in files is read by whoever configures it, so that a file
/// that changed is a setting that changed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndpointTls {
    /// Certificates in PEM of whoever may issue the endpoint's; instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key in PEM, where the endpoint wants to see one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for EndpointTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointTls")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl EndpointTls {
    /// Whether TLS can be spoken like this; the error begins with the setting at fault: `ca: …`.
    pub fn check(&self) -> Result<(), String> {
        // The system's roots take a while to read and are nobody's setting.
        match *self == Self::default() {
            true => Ok(()),
            false => self.config().map(drop),
        }
    }

    /// The error begins with the setting at fault.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(pem) => {
                for certificate in certificates(pem, "ca")? {
                    roots
                        .add(certificate)
                        .map_err(|cause| format!("ca: it is not right: {cause}"))?;
                }
            }
            // A machine without any fails when it connects, and says so then.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| cause.to_string())?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain, "certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| "key: it holds no private key in PEM".to_owned())?;
                builder.with_client_auth_cert(chain, key).map_err(|cause| {
                    format!("key: it does not belong to the certificate: {cause}")
                })?
            }
        };
        Ok(Arc::new(config))
    }
}

/// For endpoints that are not spoken to over TLS: trusts nobody.
pub(crate) fn nobody() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has a cipher for every safe version")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

fn certificates(pem: &[u8], key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let list = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_default();
    if list.is_empty() {
        return Err(format!("{key}: it holds no certificate in PEM"));
    }
    Ok(list)
}
