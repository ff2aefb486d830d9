//! Everything on chain that a request needs, deployed and wired.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::TransactionReceipt,
    sol_types::{SolCall, SolEvent, SolValue},
};
use tokio::sync::OnceCell;

use super::{Consumer, LinkToken, Operator, Oracle, SpecId, code};
use crate::anvil::{Call, Chain};

/// Gas of one request of a batch, generously.
const GAS_PER_REQUEST: u64 = 250_000;

/// LinkToken, an Operator 0.7 and our consumer with a million LINK that asks it. The first account of the chain owns
/// all of them. The older oracle contracts are deployed when first asked for.
#[derive(Debug)]
pub struct World {
    pub chain: Chain,
    pub owner: Address,
    pub link: Address,
    pub operator: Address,
    pub consumer: Address,
    /// LINK's smallest unit, of each request made from now on; 0.1 LINK at first.
    pub payment_juels: U256,
    oracle_v04: OnceCell<Address>,
    oracle_v06: OnceCell<Address>,
}

/// A request that was mined: where, and what the oracle contract said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Requested {
    pub id: B256,
    pub tx: B256,
    pub block_number: u64,
    pub block_hash: B256,
    pub log_index: u64,
    pub oracle: Address,
    pub event: Oracle::OracleRequest,
}

impl World {
    pub async fn deploy(chain: &Chain) -> Self {
        let owner = chain.accounts()[0];
        let link = chain.deploy(owner, &code("LinkToken"), &[]).await;
        let operator = chain
            .deploy(owner, &code("Operator"), &(link, owner).abi_encode())
            .await;
        let consumer = chain
            .deploy(owner, &code("Consumer"), &(link, operator).abi_encode())
            .await;
        let world = Self {
            chain: chain.clone(),
            owner,
            link,
            operator,
            consumer,
            payment_juels: U256::from(100_000_000_000_000_000_u64),
            oracle_v04: OnceCell::new(),
            oracle_v06: OnceCell::new(),
        };
        world.fund_consumer().await;
        world
    }

    /// The same contracts with a consumer of its own, whose requests have ids of their own.
    pub async fn with_another_consumer(&self) -> Self {
        let arguments = (self.link, self.operator).abi_encode();
        let consumer = self
            .chain
            .deploy(self.owner, &code("Consumer"), &arguments)
            .await;
        let world = Self {
            chain: self.chain.clone(),
            owner: self.owner,
            link: self.link,
            operator: self.operator,
            consumer,
            payment_juels: self.payment_juels,
            oracle_v04: self.oracle_v04.clone(),
            oracle_v06: self.oracle_v06.clone(),
        };
        world.fund_consumer().await;
        world
    }

    async fn fund_consumer(&self) {
        let million = U256::from(1_000_000) * U256::from(1_000_000_000_000_000_000_u64);
        self.give_link(self.consumer, million).await;
    }

    pub async fn oracle_v04(&self) -> Address {
        *self
            .oracle_v04
            .get_or_init(|| self.old_oracle("OracleV04"))
            .await
    }

    pub async fn oracle_v06(&self) -> Address {
        *self
            .oracle_v06
            .get_or_init(|| self.old_oracle("OracleV06"))
            .await
    }

    async fn old_oracle(&self, name: &str) -> Address {
        self.chain
            .deploy(self.owner, &code(name), &self.link.abi_encode())
            .await
    }

    /// A forwarder of the owner that these keys may use. To answer through it, put **its** address among the
    /// operator's senders.
    pub async fn deploy_forwarder(&self, senders: &[Address]) -> Address {
        let arguments = (self.link, self.owner, Address::ZERO, Bytes::new()).abi_encode_params();
        let forwarder = self
            .chain
            .deploy(self.owner, &code("AuthorizedForwarder"), &arguments)
            .await;
        self.execute(
            forwarder,
            Operator::setAuthorizedSendersCall {
                senders: senders.to_vec(),
            },
        )
        .await;
        forwarder
    }

    // ---- what an operator does

    /// Who may answer through the operator contract, from now on: these and nobody else.
    pub async fn set_authorized(&self, senders: &[Address]) {
        self.execute(
            self.operator,
            Operator::setAuthorizedSendersCall {
                senders: senders.to_vec(),
            },
        )
        .await;
    }

    /// Lets this key answer through an old oracle contract.
    pub async fn permit(&self, oracle: Address, node: Address) {
        self.execute(
            oracle,
            Oracle::setFulfillmentPermissionCall {
                node,
                allowed: true,
            },
        )
        .await;
    }

    /// Sends native coin from the owner, as a mined transaction.
    pub async fn fund(&self, address: Address, wei: U256) {
        let call = Call {
            gas: 21_000,
            value_wei: wei,
            ..Call::new(address, Bytes::new())
        };
        self.chain.must_execute(self.owner, &call).await;
    }

    pub async fn give_link(&self, to: Address, juels: U256) {
        self.execute(self.link, LinkToken::transferCall { to, value: juels })
            .await;
    }

    pub async fn link_balance_juels(&self, owner: Address) -> U256 {
        self.view(self.link, LinkToken::balanceOfCall { owner })
            .await
    }

    /// Which oracle contract the consumer asks from now on; the Operator at first.
    pub async fn ask_oracle(&self, oracle: Address) {
        self.execute(self.consumer, Consumer::setOracleCall { oracle })
            .await;
    }

    /// What the consumer does with answers from now on.
    pub async fn set_callback(&self, to: Consumer::Callback) {
        self.execute(self.consumer, Consumer::setCallbackCall { to })
            .await;
    }

    // ---- asking; each waits until the request is mined

    pub async fn request_uint256(
        &self,
        spec: impl Into<SpecId>,
        get: &str,
        path: &str,
        times: i64,
    ) -> Requested {
        self.request(self.uint256_call(spec, get, path, times))
            .await
    }

    /// The call of [`World::request_uint256`], to be sent by the test itself: see [`Chain::send`].
    pub fn uint256_call(&self, spec: impl Into<SpecId>, get: &str, path: &str, times: i64) -> Call {
        let call = Consumer::requestUint256Call {
            specId: spec.into().0,
            get: get.to_owned(),
            path: path.to_owned(),
            times: times.try_into().expect("every i64 fits"),
            payment: self.payment_juels,
        };
        Call::new(self.consumer, call.abi_encode())
    }

    /// The same question `count` times in one transaction.
    pub async fn request_many(
        &self,
        count: u64,
        spec: impl Into<SpecId>,
        get: &str,
        path: &str,
        times: i64,
    ) -> Vec<Requested> {
        let receipt = self
            .chain
            .must_execute(self.owner, &self.many_call(count, spec, get, path, times))
            .await;
        let requests = requests_in(&receipt);
        assert_eq!(requests.len() as u64, count);
        requests
    }

    /// The call of [`World::request_many`], to be sent by the test itself.
    pub fn many_call(
        &self,
        count: u64,
        spec: impl Into<SpecId>,
        get: &str,
        path: &str,
        times: i64,
    ) -> Call {
        let call = Consumer::requestManyCall {
            count: U256::from(count),
            specId: spec.into().0,
            get: get.to_owned(),
            path: path.to_owned(),
            times: times.try_into().expect("every i64 fits"),
            payment: self.payment_juels,
        };
        Call {
            gas: 100_000 + count * GAS_PER_REQUEST,
            ..Call::new(self.consumer, call.abi_encode())
        }
    }

    /// Two numbers, each a URL and a path in its document.
    pub async fn request_bid_ask(
        &self,
        spec: impl Into<SpecId>,
        bid: (&str, &str),
        ask: (&str, &str),
    ) -> Requested {
        let call = Consumer::requestBidAskCall {
            specId: spec.into().0,
            bidUrl: bid.0.to_owned(),
            bidPath: bid.1.to_owned(),
            askUrl: ask.0.to_owned(),
            askPath: ask.1.to_owned(),
            payment: self.payment_juels,
        };
        self.request(Call::new(self.consumer, call.abi_encode()))
            .await
    }

    pub async fn request_report(&self, spec: impl Into<SpecId>, city: &str) -> Requested {
        let call = Consumer::requestReportCall {
            specId: spec.into().0,
            city: city.to_owned(),
            payment: self.payment_juels,
        };
        self.request(Call::new(self.consumer, call.abi_encode()))
            .await
    }

    /// Any bytes where the request's CBOR belongs.
    pub async fn request_raw(&self, spec: impl Into<SpecId>, data: impl Into<Bytes>) -> Requested {
        let call = Consumer::requestRawCall {
            specId: spec.into().0,
            data: data.into(),
            payment: self.payment_juels,
        };
        self.request(Call::new(self.consumer, call.abi_encode()))
            .await
    }

    /// Takes back the payment of a request. The contract allows it 300 seconds after the request's block.
    pub async fn cancel(&self, request: &Requested) -> TransactionReceipt {
        let call = Consumer::cancelCall {
            requestId: request.id,
            payment: request.event.payment,
            callbackFunction: request.event.callbackFunctionId,
            expiration: request.event.cancelExpiration,
        };
        self.execute(self.consumer, call).await
    }

    async fn request(&self, call: Call) -> Requested {
        let receipt = self.chain.must_execute(self.owner, &call).await;
        requests_in(&receipt)
            .pop()
            .expect("a request that succeeded is announced by its oracle contract")
    }

    // ---- the consumer's side of an answer

    /// The number it holds for this request; none if it was not answered.
    pub async fn answer(&self, request: B256) -> Option<U256> {
        match self.answers_count(request).await {
            0 => None,
            _ => Some(
                self.view(self.consumer, Consumer::answersCall { id: request })
                    .await,
            ),
        }
    }

    pub async fn bid_ask(&self, request: B256) -> Option<(U256, U256)> {
        match self.answers_count(request).await {
            0 => None,
            _ => Some((
                self.view(self.consumer, Consumer::bidsCall { id: request })
                    .await,
                self.view(self.consumer, Consumer::asksCall { id: request })
                    .await,
            )),
        }
    }

    pub async fn report(&self, request: B256) -> Option<String> {
        match self.answers_count(request).await {
            0 => None,
            _ => Some(
                self.view(self.consumer, Consumer::reportsCall { id: request })
                    .await,
            ),
        }
    }

    /// How often this request was answered. More than once is a bug somewhere.
    pub async fn answers_count(&self, request: B256) -> u64 {
        self.view(self.consumer, Consumer::answersCountCall { id: request })
            .await
            .to()
    }

    /// Answers to all requests together.
    pub async fn answers_total(&self) -> u64 {
        self.view(self.consumer, Consumer::answersTotalCall {})
            .await
            .to()
    }

    /// The answer another node would give: to be sent from an authorised account.
    pub fn fulfillment_call(&self, request: &Requested, value: U256) -> Call {
        let call = Oracle::fulfillOracleRequestCall {
            requestId: request.id,
            payment: request.event.payment,
            callbackAddress: request.event.callbackAddr,
            callbackFunctionId: request.event.callbackFunctionId,
            expiration: request.event.cancelExpiration,
            data: value.into(),
        };
        Call {
            gas: 600_000,
            ..Call::new(request.oracle, call.abi_encode())
        }
    }

    // ---- anything else

    /// Sends a call of any contract from the owner; it has to succeed.
    pub async fn execute(&self, to: Address, call: impl SolCall) -> TransactionReceipt {
        self.chain
            .must_execute(self.owner, &Call::new(to, call.abi_encode()))
            .await
    }

    /// What a view of any contract says.
    pub async fn view<C: SolCall>(&self, of: Address, call: C) -> C::Return {
        let answer = self.chain.call(&Call::new(of, call.abi_encode())).await;
        let answer = answer.unwrap_or_else(|error| panic!("{} of {of}: {error:?}", C::SIGNATURE));
        C::abi_decode_returns(&answer)
            .unwrap_or_else(|error| panic!("{} of {of}: {error}", C::SIGNATURE))
    }
}

/// The requests that were made in a transaction, in the order of their logs.
pub fn requests_in(receipt: &TransactionReceipt) -> Vec<Requested> {
    let logs = receipt.logs().iter();
    logs.filter_map(|log| {
        let event = Oracle::OracleRequest::decode_log(&log.inner).ok()?.data;
        Some(Requested {
            id: event.requestId,
            tx: receipt.transaction_hash,
            block_number: receipt.block_number?,
            block_hash: receipt.block_hash?,
            log_index: log.log_index?,
            oracle: log.address(),
            event,
        })
    })
    .collect()
}
