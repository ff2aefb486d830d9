//! The node's keys: unlocked in memory, sealed in the database, shared with the other replicas there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use alloy::primitives::{Address, B256, Signature};
use anyhow::Context;
use dodona_api::{Vault, VaultError};
use dodona_keys::{KeyError, KeyRing, PlainKey, Strength};
use dodona_model::ChainId;
use dodona_runtime::clock;
use dodona_store::{Store, keys};
use dodona_txm::Signer;
use secrecy::SecretString;
use tokio::sync::Mutex;

/// The unlocked key ring and where it is kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct NodeVault(Arc<Inner>);

struct Inner {
    store: Store,
    password: SecretString,
    strength: Strength,
    open: Mutex<Open>,
}

struct Open {
    ring: KeyRing,
    // What the database held when we read or wrote it last: another replica may have changed it.
    sealed: Vec<u8>,
}

/// What happens to the ring.
enum Change {
    Create(ChainId),
    Add(ChainId, PlainKey),
    Delete(Address),
}

impl NodeVault {
    /// Opens the database's key ring, or makes an empty one under this password.
    pub(crate) async fn unlock(
        store: Store,
        password: SecretString,
        strength: Strength,
    ) -> anyhow::Result<Self> {
        let stored = keys::ring(&mut store.read().await?).await?;
        let new = stored.is_none();
        let ring = unlock(stored.clone(), password.clone(), strength)
            .await
            .context("the node's key ring cannot be opened")?;
        let sealed = match stored {
            Some(sealed) if !new && !ring.should_be_stored_again() => sealed,
            _ => {
                let sealed = ring.seal()?;
                let mut tx = store.begin().await?;
                keys::save_ring(&mut tx, &sealed, clock::now()).await?;
                tx.commit().await?;
                sealed
            }
        };
        Ok(Self(Arc::new(Inner {
            store,
            password,
            strength,
            open: Mutex::new(Open { ring, sealed }),
        })))
    }

    /// Begun is finished: a caller who goes away must not leave memory and database apart.
    async fn change(&self, change: Change) -> Result<Address, VaultError> {
        let inner = Arc::clone(&self.0);
        match tokio::spawn(async move { inner.change(change).await }).await {
            Ok(done) => done,
            Err(_) => Err(VaultError::Failed(
                "changing the key ring panicked; nothing was stored".to_owned(),
            )),
        }
    }
}

impl Inner {
    async fn change(&self, change: Change) -> Result<Address, VaultError> {
        let mut open = self.open.lock().await;
        let mut tx = self.store.begin().await.map_err(failed)?;
        let stored = keys::ring_for_update(&mut tx).await.map_err(failed)?;
        self.refresh(&mut open, stored).await?;
        let now = clock::now();
        let address = match change {
            Change::Create(chain) => {
                let address = open.ring.create().map_err(refused)?;
                keys::enable(&mut tx, chain, address, now)
                    .await
                    .map_err(failed)?;
                address
            }
            Change::Add(chain, key) => {
                let address = open.ring.add(key).map_err(refused)?;
                keys::enable(&mut tx, chain, address, now)
                    .await
                    .map_err(failed)?;
                address
            }
            Change::Delete(address) => {
                if !open.ring.contains(address) {
                    return Err(VaultError::Unknown(address));
                }
                open.ring.delete(address).map_err(refused)?;
                keys::forget(&mut tx, address).await.map_err(failed)?;
                address
            }
        };
        // From here on memory is ahead of the database: unless the commit succeeds, the next user
        // of the ring reads it from there again.
        let sealed = open.ring.seal().map_err(refused)?;
        open.sealed.clear();
        keys::save_ring(&mut tx, &sealed, now)
            .await
            .map_err(failed)?;
        tx.poke_on_commit("keys");
        tx.commit().await.map_err(failed)?;
        open.sealed = sealed;
        Ok(address)
    }

    /// Reads the ring again where the database has another one.
    async fn refresh(&self, open: &mut Open, stored: Option<Vec<u8>>) -> Result<(), VaultError> {
        if let Some(stored) = stored
            && stored != open.sealed
        {
            let ring = unlock(Some(stored.clone()), self.password.clone(), self.strength)
                .await
                .map_err(|cause| {
                    VaultError::Failed(format!(
                        "another node changed the key ring and it cannot be opened: {cause}"
                    ))
                })?;
            *open = Open {
                ring,
                sealed: stored,
            };
        }
        Ok(())
    }

    /// Uses the ring while it has `key`, looking into the database where it does not.
    async fn with<T>(
        &self,
        key: Address,
        use_it: impl FnOnce(&KeyRing) -> Result<T, KeyError>,
    ) -> Result<T, VaultError> {
        let mut open = self.open.lock().await;
        if !open.ring.contains(key) || open.sealed.is_empty() {
            let mut conn = self.store.read().await.map_err(failed)?;
            let stored = keys::ring(&mut conn).await.map_err(failed)?;
            self.refresh(&mut open, stored).await?;
        }
        if !open.ring.contains(key) {
            return Err(VaultError::Unknown(key));
        }
        use_it(&open.ring).map_err(refused)
    }
}

/// Opening takes a noticeable part of a second by design: not on a thread that others wait for.
async fn unlock(
    sealed: Option<Vec<u8>>,
    password: SecretString,
    strength: Strength,
) -> Result<KeyRing, KeyError> {
    let work = move || match sealed {
        Some(sealed) => KeyRing::open_with(&sealed, &password, strength),
        None => KeyRing::new_with(&password, strength),
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(ring) => ring,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// scrypt takes about a second by design: not on a thread that others wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, VaultError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(refused),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn failed(cause: impl std::fmt::Display) -> VaultError {
    VaultError::Failed(cause.to_string())
}

fn refused(cause: KeyError) -> VaultError {
    VaultError::Refused(cause.to_string())
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Vault for NodeVault {
    fn create(&self, chain: ChainId) -> Boxed<'_, Result<Address, VaultError>> {
        Box::pin(self.change(Change::Create(chain)))
    }

    fn import(
        &self,
        chain: ChainId,
        json: String,
        password: SecretString,
    ) -> Boxed<'_, Result<Address, VaultError>> {
        Box::pin(async move {
            let key = blocking(move || PlainKey::from_file(&json, &password)).await?;
            self.change(Change::Add(chain, key)).await
        })
    }

    fn export(
        &self,
        address: Address,
        password: SecretString,
    ) -> Boxed<'_, Result<String, VaultError>> {
        Box::pin(async move {
            let key = self.0.with(address, |ring| ring.plain(address)).await?;
            let strength = self.0.strength;
            blocking(move || key.to_file(&password, strength)).await
        })
    }

    fn delete(&self, address: Address) -> Boxed<'_, Result<(), VaultError>> {
        Box::pin(async move { self.change(Change::Delete(address)).await.map(drop) })
    }
}

impl Signer for NodeVault {
    fn sign_hash(&self, key: Address, hash: B256) -> Boxed<'_, Result<Signature, String>> {
        Box::pin(async move {
            self.0
                .with(key, |ring| ring.sign_hash(key, hash))
                .await
                .map_err(|cause| cause.to_string())
        })
    }
}
