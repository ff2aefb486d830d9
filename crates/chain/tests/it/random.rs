//! A chain that does anything at any moment, and a scanner that may stop and start at any moment.

use dodona_chain::Config;

use crate::scene::{Base, ORACLE, Scene};
use crate::scripted::{Said, request};

/// Numbers that look random and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn mine(scene: &Scene, chance: &mut Chance, blocks: u64) {
    for _ in 0..blocks {
        let logs: Vec<Said> = (0..chance.below(3))
            .map(|_| request(ORACLE, u8::try_from(chance.below(250)).unwrap()))
            .collect();
        scene.chain.mine_with(&logs);
    }
}

async fn anything_happens(scene: &mut Scene, seed: u64) {
    let mut chance = Chance(seed);
    let mut branches = Vec::new();
    for _ in 0..40 {
        match chance.below(12) {
            0..3 => {
                let blocks = 1 + chance.below(4);
                mine(scene, &mut chance, blocks);
            }
            3 => {
                let blocks = 20 + chance.below(120);
                mine(scene, &mut chance, blocks);
            }
            // Never below what any scan so far may take for final.
            4 | 5 => {
                let depth = 1 + chance.below(9);
                branches.push((scene.chain.head().number, scene.chain.branch()));
                scene.chain.drop_newest(depth);
                let more = chance.below(3);
                mine(scene, &mut chance, depth + more);
            }
            6 => {
                if let Some((height, branch)) = branches.pop()
                    && height + 5 >= scene.chain.head().number
                {
                    scene.chain.show(&branch);
                }
            }
            7 => {
                let behind = scene.chain.head().number - chance.below(15);
                scene.chain.pretends_to_be_at(Some(behind));
            }
            8 => scene.chain.pretends_to_be_at(None),
            9 => {
                let most = [None, Some(7), Some(40)][usize::try_from(chance.below(3)).unwrap()];
                scene.chain.takes_ranges_of(most);
            }
            10 => {
                let newest = scene.chain.head();
                scene.chain.has_no_logs_of(newest);
            }
            _ => {
                scene.chain.has_all_logs();
                scene.view.restarts();
            }
        }
        for _ in 0..chance.below(4) {
            // It may fail; it must not be wrong.
            let _ = scene.view.tick().await;
        }
    }
}

async fn the_rows_end_as_the_chain_is(scene: &mut Scene, seed: u64) {
    scene.view.scan().await;
    let first = scene.view.cursor().await.block.number;
    anything_happens(scene, seed).await;
    scene.chain.has_all_logs();
    scene.chain.takes_ranges_of(None);
    scene.chain.pretends_to_be_at(None);
    mine(scene, &mut Chance(seed), 30);
    scene.view.scan().await;
    scene.view.agrees_with(&scene.chain).await;
    // A reorganisation below the first scan has the blocks from there on read as well.
    let (said, mut stored) = (scene.chain.said(), scene.view.pending().await);
    assert!(stored.iter().all(|log| said.contains(log)), "seed {seed}");
    stored.retain(|(number, _)| *number > first);
    let expected = said.into_iter().filter(|(number, _)| *number > first);
    assert_eq!(stored, expected.collect::<Vec<_>>(), "seed {seed}");
}

fn adapt(config: Config) -> Config {
    Config {
        finality: dodona_chain::Finality {
            by_tag: false,
            depth: 40,
            offset: 0,
        },
        batch_size: 64,
        ..config
    }
}

#[tokio::test]
async fn whatever_the_chain_does_no_log_is_missed_and_none_is_left_over() {
    for seed in 1..=25 {
        let mut scene = Scene::on(Base::sqlite(), 60, adapt).await;
        the_rows_end_as_the_chain_is(&mut scene, seed * 7_919).await;
    }
    for seed in 1..=3 {
        let mut scene = Scene::on(Base::postgres().await, 60, adapt).await;
        the_rows_end_as_the_chain_is(&mut scene, seed * 104_729).await;
    }
}
