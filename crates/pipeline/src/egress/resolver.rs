//! Names to addresses, with the decision whether they may be reached in between.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::HttpError;
use super::address::{Refusal, check, same_host};
use crate::ports::Reach;

tokio::task_local! {
    /// Where the call that is being made would connect to: the first address its name has.
    static OFFERED: Cell<Option<IpAddr>>;
}

/// Makes a call whose address can be asked for with [`offered`], also where no connection comes about.
pub(super) fn remembering<F: Future>(call: F) -> impl Future<Output = F::Output> {
    OFFERED.scope(Cell::new(None), call)
}

/// The address the current call was last offered, taken away so that the next hop finds none.
pub(super) fn offered() -> Option<IpAddr> {
    OFFERED.try_with(Cell::take).ok().flatten()
}

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

/// What may be reached, beyond what holds for everybody.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) reach: Reach,
    /// The node's own database; restricted requests do not reach it even on a public address.
    pub(super) own: Arc<[IpAddr]>,
}

impl Rules {
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        check(address, self.reach)?;
        match self.reach {
            Reach::Restricted if self.own.iter().any(|own| same_host(*own, address)) => {
                Err(Refusal::Own)
            }
            _ => Ok(()),
        }
    }
}

/// What a connection asks: it gets only addresses it may use, and connects to one of these.
#[derive(Clone)]
pub(super) struct Checked {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) rules: Rules,
}

impl reqwest::dns::Resolve for Checked {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let Self { inner, rules } = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = inner.resolve(host.clone()).await?;
            let allowed: Vec<SocketAddr> = found
                .iter()
                .filter(|address| rules.check(**address).is_ok())
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if allowed.is_empty()
                && let Some((address, refusal)) = found
                    .iter()
                    .find_map(|a| rules.check(*a).err().map(|refusal| (*a, refusal)))
            {
                return Err(HttpError::Disallowed {
                    host,
                    address,
                    refusal,
                }
                .into());
            }
            // A connection that is made for nobody in particular has no call to remember it.
            let _ = OFFERED.try_with(|first| first.set(allowed.first().map(SocketAddr::ip)));
            let addresses: reqwest::dns::Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}
