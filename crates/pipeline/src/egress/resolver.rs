//! Names to addresses, with the decision whether they may be reached in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::HttpError;
use super::address::check;
use crate::ports::Reach;

/// Looks names up. Replaced in tests by one that lies.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name.
    fn resolve(&self, host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What a connection asks: it gets only addresses it may use, and connects to one of these.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) reach: Reach,
}

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let Self { inner, reach } = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = inner.resolve(host.clone()).await?;
            let allowed: Vec<SocketAddr> = found
                .iter()
                .filter(|address| check(**address, reach).is_ok())
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if allowed.is_empty()
                && let Some((address, refusal)) = found
                    .iter()
                    .find_map(|a| check(*a, reach).err().map(|refusal| (*a, refusal)))
            {
                return Err(HttpError::Disallowed {
                    host,
                    address,
                    refusal,
                }
                .into());
            }
            let addresses: reqwest::dns::Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}
