use anyhow::Context;
use dodona_model::{Address, ChainId};
use dodona_rpc::{BlockTag, CallRequest, Pool};
use dodona_runtime::{Service, clock};
use dodona_store::{Leader, jobs, keys, warnings};
use serde::Serialize;
use tracing::warn;

/// `owner()`.
const OWNER: [u8; 4] = [0x8d, 0xa5, 0xcb, 0x5b];

/// Warns when the owner of an oracle contract is one of the node's sending keys.
///
/// The owner may withdraw all LINK and change who may answer. A sending key is online, all day, by its
/// nature; whoever gets at it must not get the contract as well.
pub struct OracleOwner {
    pool: Pool,
    chain: ChainId,
}

/// What one round saw.
#[derive(Debug, Serialize)]
pub struct Looked {
    contracts: usize,
    warnings: usize,
}

impl OracleOwner {
    /// The check for one chain.
    pub fn new(pool: Pool) -> Self {
        Self {
            chain: pool.chain_id(),
            pool,
        }
    }
}

impl Service<Leader> for OracleOwner {
    type Report = Looked;

    async fn tick(&mut self, lead: &Leader) -> anyhow::Result<Looked> {
        let (contracts, own) = {
            let mut conn = lead.store().read().await?;
            (
                jobs::contracts(&mut conn, self.chain).await?,
                keys::of_chain(&mut conn, self.chain).await?,
            )
        };
        let mut looked = Looked {
            contracts: contracts.len(),
            warnings: 0,
        };
        if contracts.is_empty() {
            return Ok(looked);
        }
        let calls = contracts
            .iter()
            .map(|contract| CallRequest::to(*contract, OWNER.to_vec()))
            .collect();
        let answers = self
            .pool
            .call_many(calls, BlockTag::Latest)
            .await
            .context("asking who owns the oracle contracts")?;
        let mut tx = lead.begin().await?;
        for (contract, answer) in contracts.iter().zip(answers) {
            // A contract that does not say who owns it (not deployed yet, another kind) warns of nothing.
            let Some(owner) = answer
                .ok()
                .filter(|word| word.len() == 32)
                .map(|word| Address::from_slice(&word[12..]))
            else {
                continue;
            };
            let name = format!("oracle-owner:{}:{contract}", self.chain);
            if !own.iter().any(|key| key.address == owner) {
                warnings::clear(&mut tx, &name).await?;
                continue;
            }
            looked.warnings += 1;
            let text = format!(
                "oracle contract {contract} on chain {} is owned by {owner}, a sending key of this node: whoever gets that key gets the contract's LINK too. Transfer the ownership to an account that is kept offline (transferOwnership), and leave the key only as an authorised sender",
                self.chain
            );
            if warnings::set(&mut tx, &name, &text, clock::now()).await? {
                warn!(chain.id = self.chain, contract = %contract, key = %owner, "{text}");
            }
        }
        tx.commit().await?;
        Ok(looked)
    }

    fn worked(_: &Looked) -> bool {
        false
    }
}
