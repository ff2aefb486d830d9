//! A price feed on chain: several oracles submit, the median is the answer.

use alloy::{
    primitives::{Address, I256, U256},
    rpc::types::TransactionReceipt,
    sol_types::{SolCall, SolEvent, SolValue},
};

use super::{FluxAggregator, World, code};
use crate::anvil::Call;

/// What the aggregator holds: enough for any story.
const LINK_OF_A_FEED: u64 = 1_000;

/// A FluxAggregator of the world's owner, with LINK to pay its oracles.
#[derive(Debug, Clone)]
pub struct Feed {
    pub address: Address,
    /// LINK's smallest unit, for each submission.
    pub payment_juels: U256,
}

impl Feed {
    /// Deploys one that pays 0.1 LINK for a submission and takes answers from 1 to 10^12. Rounds time out after
    /// `timeout_seconds` (0: never). It has no oracles yet.
    pub async fn deploy(world: &World, timeout_seconds: u32) -> Self {
        let payment_juels = U256::from(100_000_000_000_000_000_u64);
        let arguments = (
            world.link,
            U256::ZERO,
            timeout_seconds,
            Address::ZERO,
            I256::ONE,
            I256::try_from(1_000_000_000_000_i64).expect("it fits"),
            2_u16,
            "a price".to_owned(),
        );
        let address = world
            .chain
            .deploy(
                world.owner,
                &code("FluxAggregator"),
                &arguments.abi_encode_params(),
            )
            .await;
        let one = U256::from(1_000_000_000_000_000_000_u64);
        world
            .give_link(address, U256::from(LINK_OF_A_FEED) * one)
            .await;
        world
            .execute(address, FluxAggregator::updateAvailableFundsCall {})
            .await;
        let feed = Self {
            address,
            payment_juels,
        };
        feed.pay(world, payment_juels, 0, 0, timeout_seconds).await;
        feed
    }

    /// These submit from now on; `least` submissions make an answer.
    pub async fn set_oracles(&self, world: &World, oracles: &[Address], least: u32) {
        let call = FluxAggregator::changeOraclesCall {
            removed: Vec::new(),
            added: oracles.to_vec(),
            addedAdmins: vec![world.owner; oracles.len()],
            minSubmissions: least,
            maxSubmissions: oracles.len() as u32,
            restartDelay: 0,
        };
        world.execute(self.address, call).await;
    }

    /// What a submission pays from the next round on.
    pub async fn pay(&self, world: &World, juels: U256, least: u32, most: u32, timeout: u32) {
        let call = FluxAggregator::updateFutureRoundsCall {
            paymentAmount: juels.to(),
            minSubmissions: least,
            maxSubmissions: most,
            restartDelay: 0,
            timeout,
        };
        world.execute(self.address, call).await;
    }

    /// Another oracle's submission, from an account of the chain.
    pub async fn submit_from(
        &self,
        world: &World,
        oracle: Address,
        round: u64,
        answer: i64,
    ) -> TransactionReceipt {
        let call = FluxAggregator::submitCall {
            roundId: U256::from(round),
            submission: I256::try_from(answer).expect("every i64 fits"),
        };
        let call = Call::new(self.address, call.abi_encode());
        world.chain.must_execute(oracle, &call).await
    }

    /// The newest answered round; 0 before the first.
    pub async fn latest_round(&self, world: &World) -> u64 {
        let call = FluxAggregator::latestRoundCall {};
        world.view(self.address, call).await.to()
    }

    /// The answer of a round; 0 where there is none.
    pub async fn answer(&self, world: &World, round: u64) -> i64 {
        let call = FluxAggregator::getAnswerCall {
            roundId: U256::from(round),
        };
        let answer = world.view(self.address, call).await;
        answer.try_into().expect("a price of ours fits")
    }

    /// Every submission of an oracle that was mined: round and answer, oldest first. Walks the whole chain.
    pub async fn submissions_of(&self, world: &World, oracle: Address) -> Vec<(u32, i64)> {
        let receipts = world.chain.transactions_from(oracle).await;
        let logs = receipts.iter().flat_map(|receipt| receipt.logs().iter());
        logs.filter(|log| log.address() == self.address)
            .filter_map(|log| FluxAggregator::SubmissionReceived::decode_log(&log.inner).ok())
            .map(|event| {
                let answer = event.submission.try_into();
                (event.round, answer.expect("a price of ours fits"))
            })
            .collect()
    }
}
