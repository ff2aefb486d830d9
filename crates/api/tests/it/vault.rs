//! A vault without cryptography.

use std::sync::Mutex;

use dodona_api::{Vault, VaultError};
use dodona_model::{Address, ChainId, Timestamp};
use dodona_store::{Store, keys};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// Addresses count up, a key file is `{"address": …, "password": …}`.
pub(crate) struct FakeVault {
    store: Store,
    held: Mutex<Vec<Address>>,
}

impl FakeVault {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            held: Mutex::default(),
        }
    }

    async fn enable(&self, chain: ChainId, address: Address) -> Result<Address, VaultError> {
        let mut tx = self.store.begin().await.unwrap();
        keys::enable(&mut tx, chain, address, Timestamp(1_700_000_000_000_000))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        Ok(address)
    }

    fn holds(&self, address: Address) -> bool {
        self.held.lock().unwrap().contains(&address)
    }
}

impl Vault for FakeVault {
    fn create(&self, chain: ChainId) -> BoxFuture<'_, Result<Address, VaultError>> {
        Box::pin(async move {
            let address = {
                let mut held = self.held.lock().unwrap();
                let address = Address::with_last_byte(held.len() as u8 + 0xa1);
                held.push(address);
                address
            };
            self.enable(chain, address).await
        })
    }

    fn import(
        &self,
        chain: ChainId,
        json: String,
        password: SecretString,
    ) -> BoxFuture<'_, Result<Address, VaultError>> {
        Box::pin(async move {
            let file: Value = serde_json::from_str(&json)
                .map_err(|_| VaultError::Refused("this is not a key file".to_owned()))?;
            if file["password"] != password.expose_secret() {
                return Err(VaultError::Refused("the password is wrong".to_owned()));
            }
            let address: Address = file["address"].as_str().unwrap().parse().unwrap();
            self.held.lock().unwrap().push(address);
            self.enable(chain, address).await
        })
    }

    fn export(
        &self,
        address: Address,
        password: SecretString,
    ) -> BoxFuture<'_, Result<String, VaultError>> {
        Box::pin(async move {
            if !self.holds(address) {
                return Err(VaultError::Unknown(address));
            }
            Ok(
                serde_json::json!({ "address": address, "password": password.expose_secret() })
                    .to_string(),
            )
        })
    }

    fn delete(&self, address: Address) -> BoxFuture<'_, Result<(), VaultError>> {
        Box::pin(async move {
            if !self.holds(address) {
                return Err(VaultError::Unknown(address));
            }
            let mut tx = self.store.begin().await.unwrap();
            keys::forget(&mut tx, address).await.unwrap();
            tx.commit().await.unwrap();
            self.held.lock().unwrap().retain(|held| *held != address);
            Ok(())
        })
    }
}
