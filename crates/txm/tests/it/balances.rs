//! Balances are kept where people and metrics look.

use dodona_model::{Address, U256};
use dodona_runtime::Service;
use dodona_store::keys;
use dodona_testkit::contracts::World;
use dodona_txm::{BalanceMonitor, Config};

use crate::scene::{CHAIN, Scene, ether};

#[tokio::test]
async fn native_coin_and_link_of_every_key_are_kept_in_its_row() {
    for mut scene in Scene::both().await {
        scene.anvil.set_automine(true).await;
        let world = World::deploy(&scene.anvil).await;
        world.give_link(scene.key, U256::from(5)).await;
        scene.settings(|config| Config {
            link: Some(world.link),
            ..config
        });
        let (other, _) = scene.another_key().await;
        let mut monitor = BalanceMonitor::new(scene.pool.clone(), scene.config.clone());
        monitor.tick(&scene.lead).await.unwrap();
        let state = scene.key_state().await;
        assert_eq!(state.balance_wei, Some(ether(10)));
        assert_eq!(state.link_juels, Some(U256::from(5)));

        scene.anvil.set_balance(other, ether(3)).await;
        monitor.tick(&scene.lead).await.unwrap();
        let states = keys::of_chain(&mut scene.read().await, CHAIN)
            .await
            .unwrap();
        let theirs = states.iter().find(|state| state.address == other).unwrap();
        assert_eq!(theirs.balance_wei, Some(ether(3)));
        assert_eq!(theirs.link_juels, Some(U256::ZERO));
    }
}

#[tokio::test]
async fn a_token_that_is_not_there_hides_no_native_balance() {
    for mut scene in Scene::both().await {
        scene.settings(|config| Config {
            link: Some(Address::repeat_byte(0x11)),
            ..config
        });
        let mut monitor = BalanceMonitor::new(scene.pool.clone(), scene.config.clone());
        monitor.tick(&scene.lead).await.unwrap();
        let state = scene.key_state().await;
        assert_eq!(
            (state.balance_wei, state.link_juels),
            (Some(ether(10)), None)
        );
    }
}

#[tokio::test]
async fn a_key_that_was_deleted_and_imported_again_shows_its_balance() {
    for scene in Scene::both().await {
        let mut monitor = BalanceMonitor::new(scene.pool.clone(), scene.config.clone());
        monitor.tick(&scene.lead).await.unwrap();
        scene
            .base
            .execute("UPDATE key_states SET balance_wei = NULL")
            .await;
        monitor.tick(&scene.lead).await.unwrap();
        assert_eq!(scene.key_state().await.balance_wei, Some(ether(10)));
    }
}
