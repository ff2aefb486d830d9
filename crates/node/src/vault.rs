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
    /// Unless the chain has a key.
    CreateFirst(ChainId),
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
        let open = loop {
            let stored = keys::ring(&mut store.read().await?).await?;
            let ring = unlock(stored.clone(), password.clone(), strength)
                .await
                .context("the node's key ring cannot be opened")?;
            // Opening takes its time, and another replica may have stored a ring meanwhile: then that one counts.
            if let Some(open) = settle(&store, ring, stored).await? {
                break open;
            }
        };
        Ok(Self(Arc::new(Inner {
            store,
            password,
            strength,
            open: Mutex::new(open),
        })))
    }

    /// Creates a key for a chain that has none, on whichever replica is first. `None`: there is one.
    pub(crate) async fn create_first(&self, chain: ChainId) -> Result<Option<Address>, VaultError> {
        let before = self.has_key(chain).await?;
        if before {
            return Ok(None);
        }
        self.change(Change::CreateFirst(chain)).await
    }

    async fn has_key(&self, chain: ChainId) -> Result<bool, VaultError> {
        let mut conn = self.0.store.read().await.map_err(failed)?;
        let known = keys::list(&mut conn).await.map_err(failed)?;
        Ok(known.iter().any(|state| state.chain_id == chain))
    }

    /// Begun is finished: a caller who goes away must not leave memory and database apart.
    async fn change(&self, change: Change) -> Result<Option<Address>, VaultError> {
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
    async fn change(&self, change: Change) -> Result<Option<Address>, VaultError> {
        let mut open = self.open.lock().await;
        let mut tx = self.store.begin().await.map_err(failed)?;
        let stored = keys::ring_for_update(&mut tx).await.map_err(failed)?;
        self.refresh(&mut open, stored).await?;
        let now = clock::now();
        let address = match change {
            Change::CreateFirst(chain)
                if keys::list(&mut tx)
                    .await
                    .map_err(failed)?
                    .iter()
                    .any(|state| state.chain_id == chain) =>
            {
                return Ok(None);
            }
            Change::Create(chain) | Change::CreateFirst(chain) => {
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
        Ok(Some(address))
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

/// Stores a ring that is new, or sealed as it no longer should be. `None`: the database has another one by now.
async fn settle(
    store: &Store,
    ring: KeyRing,
    stored: Option<Vec<u8>>,
) -> anyhow::Result<Option<Open>> {
    let sealed = match stored {
        Some(sealed) if !ring.should_be_stored_again() => return Ok(Some(Open { ring, sealed })),
        other => other,
    };
    let (now, again) = (clock::now(), ring.seal()?);
    let mut tx = store.begin().await?;
    let ours = match sealed {
        None => keys::first_ring(&mut tx, &again, now).await?,
        Some(read) => {
            let unchanged = keys::ring_for_update(&mut tx).await?.as_ref() == Some(&read);
            if unchanged {
                keys::save_ring(&mut tx, &again, now).await?;
            }
            unchanged
        }
    };
    if !ours {
        return Ok(None);
    }
    tx.commit().await?;
    Ok(Some(Open {
        ring,
        sealed: again,
    }))
}

/// The key that a change of exactly one was about.
fn touched(address: Option<Address>) -> Result<Address, VaultError> {
    address.ok_or_else(|| VaultError::Failed("the key ring was not changed".to_owned()))
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
        Box::pin(async move { touched(self.change(Change::Create(chain)).await?) })
    }

    fn import(
        &self,
        chain: ChainId,
        json: String,
        password: SecretString,
    ) -> Boxed<'_, Result<Address, VaultError>> {
        Box::pin(async move {
            let key = blocking(move || PlainKey::from_file(&json, &password)).await?;
            touched(self.change(Change::Add(chain, key)).await?)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dodona_store::DatabaseConfig;

    use super::*;

    const CHAIN: ChainId = 31_337;

    async fn database() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let config = DatabaseConfig::Sqlite(dir.path().join("dodona.sqlite"));
        let store = Store::open(&config, BTreeMap::new()).await.unwrap();
        (dir, store)
    }

    fn password() -> SecretString {
        SecretString::from("a password of some length")
    }

    async fn vault(store: &Store) -> NodeVault {
        let store = store.clone();
        NodeVault::unlock(store, password(), Strength::InsecureFast)
            .await
            .unwrap()
    }

    async fn new_ring() -> KeyRing {
        unlock(None, password(), Strength::InsecureFast)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_replica_that_was_slower_at_the_first_start_leaves_the_ring_that_is_there() {
        let (_dir, store) = database().await;
        let (quick, slow) = (new_ring().await, new_ring().await);
        assert!(settle(&store, quick, None).await.unwrap().is_some());
        let key = vault(&store).await.create(CHAIN).await.unwrap();

        assert!(settle(&store, slow, None).await.unwrap().is_none());
        let file = vault(&store).await.export(key, password()).await;
        assert!(file.is_ok(), "{file:?}");
    }

    #[tokio::test]
    async fn a_ring_that_changed_while_it_was_sealed_anew_is_not_overwritten() {
        let (_dir, store) = database().await;
        let first = vault(&store).await;
        let read = keys::ring(&mut store.read().await.unwrap()).await.unwrap();
        let key = first.create(CHAIN).await.unwrap();

        let strong = unlock(read.clone(), password(), Strength::Standard)
            .await
            .unwrap();
        assert!(strong.should_be_stored_again());
        assert!(settle(&store, strong, read).await.unwrap().is_none());
        let file = vault(&store).await.export(key, password()).await;
        assert!(file.is_ok(), "{file:?}");
    }

    #[tokio::test]
    async fn of_replicas_that_start_together_one_creates_the_first_key_of_a_chain() {
        let (_dir, store) = database().await;
        let vaults = [vault(&store).await, vault(&store).await];
        let first = |vault: &NodeVault| {
            let vault = vault.clone();
            async move { vault.change(Change::CreateFirst(CHAIN)).await.unwrap() }
        };
        let (one, other) = tokio::join!(first(&vaults[0]), first(&vaults[1]));
        let created: Vec<Address> = one.into_iter().chain(other).collect();
        assert_eq!(created.len(), 1);
        assert_eq!(vaults[0].create_first(CHAIN).await.unwrap(), None);
        let known = keys::list(&mut store.read().await.unwrap()).await.unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].address, created[0]);
    }
}
