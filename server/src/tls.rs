//! TLS by rustls, with the certificate read again when its file changes.

use crate::config::Network;
use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate in use, and where it comes from.
pub(crate) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// The operator's certificate, if there is one.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that does not fit its certificate.
    pub(crate) fn open(network: &Network) -> Result<Option<Arc<Self>>> {
        let (Some(cert), Some(key)) = (&network.tls_cert, &network.tls_key) else { return Ok(None) };
        let config = ArcSwap::from_pointee(read(cert, key)?);
        Ok(Some(Arc::new(Self { cert: cert.clone(), key: key.clone(), config })))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Looks after the files for ever; a certificate that cannot be used leaves the one before in place.
    pub(crate) async fn renew(self: Arc<Self>) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.changed();
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.cert, &self.key) {
                Ok(config) => {
                    self.config.store(Arc::new(config));
                    tracing::info!("the TLS certificate was read anew");
                }
                Err(error) => tracing::error!("the new TLS certificate is not used: {error:#}"),
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| std::fs::metadata(path).ok()?.modified().ok())
    }
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig> {
    let unreadable = |flag: &str, path: &Path| format!("cannot read {flag} {} as PEM", path.display());
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unreadable("--tls-cert", cert))?;
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| unreadable("--tls-key", key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("--tls-key {} does not fit --tls-cert {}", key.display(), cert.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
