use anyhow::Context;
use dodona_model::{Address, ChainId};
use dodona_rpc::{BlockTag, CallError, CallRequest, Pool};
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
        let calls: Vec<CallRequest> = contracts
            .iter()
            .map(|contract| CallRequest::to(*contract, OWNER.to_vec()))
            .collect();
        let answers = match calls.is_empty() {
            true => Vec::new(),
            false => self
                .pool
                .call_many(calls, BlockTag::Latest)
                .await
                .context("asking who owns the oracle contracts")?,
        };
        let names = format!("oracle-owner:{}:", self.chain);
        let mut standing = Vec::new();
        let mut tx = lead.begin().await?;
        for (contract, answer) in contracts.iter().zip(answers) {
            let name = format!("{names}{contract}");
            let owner = match answer {
                Ok(word) if word.len() == 32 => Address::from_slice(&word[12..]),
                // It does not say who owns it: not deployed yet, another kind. That warns of nothing.
                Ok(_) | Err(CallError::Reverted { .. }) => continue,
                // Nobody answered: what was found before stands.
                Err(CallError::Rpc(_)) => {
                    standing.push(name);
                    continue;
                }
            };
            if !own.iter().any(|key| key.address == owner) {
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
            standing.push(name);
        }
        warnings::clear_others(&mut tx, &names, &standing).await?;
        tx.commit().await?;
        Ok(looked)
    }

    fn worked(_: &Looked) -> bool {
        false
    }
}
