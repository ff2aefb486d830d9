//! The operator's configuration, translated into what each part wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dodona_api::{AllowOrigins, ApiConfig, RateLimits};
use dodona_chain::Finality;
use dodona_jobs::{ChainRules, FluxConfig, RunnerConfig, TriggerConfig};
use dodona_rpc::{NodeConfig, Pool, PoolConfig, SendErrorOverride};
use dodona_store::{DatabaseConfig, LeaseConfig};
use dodona_txm::fees::{FeeConfig, Mode};
use secrecy::ExposeSecret;

use crate::config::{ChainConfig, Config, DatabaseEngine, GasMode};
use crate::version;
use crate::wire::ChainParts;

/// How long services may take to finish their round when a lead is given up.
pub(crate) const STEP_DOWN: Duration = Duration::from_secs(5);
/// How long a claim on a run lasts unless renewed: what a killed replica's runs wait for another one.
const CLAIM: Duration = Duration::from_secs(15);

pub(crate) fn database(config: &Config) -> DatabaseConfig {
    match &config.database.engine {
        DatabaseEngine::Sqlite { path } => DatabaseConfig::Sqlite(path.clone()),
        DatabaseEngine::Postgres { url } => DatabaseConfig::Postgres {
            url: url.expose_secret().to_owned(),
            max_connections: config.database.max_open_conns,
        },
    }
}

pub(crate) fn lease(config: &Config) -> LeaseConfig {
    let lock = &config.database.lock;
    LeaseConfig {
        duration: lock.lease_duration,
        refresh: lock.lease_refresh_interval,
    }
}

pub(crate) fn pool(chain: &ChainConfig) -> anyhow::Result<Pool> {
    let overrides = chain.node_pool.errors.iter().map(|(class, pattern)| {
        let class = class.parse().map_err(anyhow::Error::msg)?;
        Ok(SendErrorOverride {
            class,
            pattern: pattern.clone(),
        })
    });
    let send_error_overrides = overrides.collect::<anyhow::Result<Vec<_>>>()?;
    let nodes = chain
        .nodes
        .iter()
        .map(|node| NodeConfig {
            name: node.name.clone(),
            ws_url: node.ws_url.as_ref().map(|url| url.expose().clone()),
            http_url: node.http_url.as_ref().map(|url| url.expose().clone()),
            http_url_extra_write: node
                .http_url_extra_write
                .as_ref()
                .map(|url| url.expose().clone()),
            send_only: node.send_only,
            order: u32::from(node.order),
            rate_per_second: None,
            max_concurrent: None,
            tls: Default::default(),
        })
        .collect();
    let settings = &chain.node_pool;
    let pool = Pool::new(PoolConfig {
        chain_type: chain.chain_type.clone().unwrap_or_default(),
        poll_interval: settings.poll_interval,
        poll_failure_threshold: settings.poll_failure_threshold,
        no_new_heads_threshold: chain.no_new_heads_threshold,
        finality_depth: u64::from(chain.finality_depth),
        sync_threshold: u64::from(settings.sync_threshold),
        new_heads_poll_interval: settings.new_heads_poll_interval,
        batch_size: chain.rpc_default_batch_size.max(1) as usize,
        send_error_overrides,
        ..PoolConfig::new(chain.chain_id, nodes)
    })?;
    Ok(pool)
}

pub(crate) fn chain(chain: &ChainConfig, pool: Pool) -> ChainParts {
    let txs = transactions(chain);
    let estimator = Arc::new(dodona_txm::Estimator::new(chain.chain_id, txs.fees.clone()));
    ChainParts {
        pool,
        follow: dodona_chain::Config {
            chain_id: chain.chain_id,
            finality: Finality {
                by_tag: chain.finality_tag_enabled,
                depth: u64::from(chain.finality_depth),
                offset: u64::from(chain.finalized_block_offset),
            },
            backfill_depth: chain.block_backfill_depth,
            backfill_skip: chain.block_backfill_skip,
            batch_size: u64::from(chain.log_backfill_batch_size.max(1)),
            also: chain.flags_contract_address.into_iter().collect(),
            history_depth: u64::from(chain.finality_depth).max(1_000),
        },
        triggers: TriggerConfig {
            chain_id: chain.chain_id,
            min_confirmations: chain.min_incoming_confirmations,
            min_payment_juels: chain.min_contract_payment_juels,
        },
        flux: FluxConfig {
            chain_id: chain.chain_id,
            min_payment_juels: chain.min_contract_payment_juels,
            flags: chain.flags_contract_address,
        },
        txs,
        watch_balances: chain.balance_monitor_enabled,
        heads_within: chain.no_new_heads_threshold,
        heads: Default::default(),
        estimator,
    }
}

fn transactions(chain: &ChainConfig) -> dodona_txm::Config {
    let gas = &chain.gas;
    dodona_txm::Config {
        chain_id: chain.chain_id,
        fees: FeeConfig {
            mode: if gas.mode == GasMode::FixedPrice {
                Mode::Fixed
            } else {
                Mode::Market
            },
            dynamic: gas.eip1559,
            price_default: gas.price_default_wei,
            price_min: gas.price_min_wei,
            price_max: gas.price_max_wei,
            fee_cap_default: gas.fee_cap_default_wei,
            tip_cap_default: gas.tip_cap_default_wei,
            tip_cap_min: gas.tip_cap_min_wei,
            bump_percent: gas.bump_percent,
            bump_min: gas.bump_min_wei,
            buffer_blocks: gas.block_history.fee_cap_buffer_blocks,
            history_blocks: u64::from(gas.block_history.size),
            percentile: gas.block_history.percentile,
            bumps: gas.bump_threshold_blocks > 0,
        },
        price_max_of: chain
            .key_specific
            .iter()
            .map(|own| (own.key, own.price_max_wei))
            .collect(),
        max_in_flight: chain.transactions.max_in_flight,
        bump_threshold: u64::from(gas.bump_threshold_blocks),
        resend_after: chain.transactions.resend_after_threshold,
        nonce_auto_sync: chain.nonce_auto_sync,
        link: chain.link_contract_address,
    }
}

pub(crate) fn runner(config: &Config, me: String) -> RunnerConfig {
    let pipeline = &config.pipeline;
    let chains = config.enabled_chains().map(|chain| {
        let gas = &chain.gas;
        let limit = |own: Option<u64>| own.unwrap_or(gas.limit_default);
        (
            chain.chain_id,
            ChainRules {
                gas_limit: limit(gas.limit_dr),
                flux_gas_limit: limit(gas.limit_fm),
                gas_limit_default: gas.limit_default,
                gas_limit_multiplier: gas.limit_multiplier,
                min_payment_juels: chain.min_contract_payment_juels,
                max_queued: chain.transactions.max_queued,
            },
        )
    });
    RunnerConfig {
        me,
        max_in_flight: pipeline.max_concurrent_runs,
        patience: Duration::from_secs(1),
        claim: CLAIM,
        max_run_duration: some(pipeline.max_run_duration),
        http_timeout: some(pipeline.http_default_timeout),
        http_max_bytes: usize::try_from(pipeline.http_max_size_bytes).unwrap_or(usize::MAX),
        bridge_cache_ttl: config.web.bridge_cache_ttl,
        keep_successful: u32::try_from(pipeline.max_successful_runs).unwrap_or(u32::MAX),
        bridge_response_url: config
            .web
            .bridge_response_url
            .as_ref()
            .map(ToString::to_string),
        chains: BTreeMap::from_iter(chains),
    }
}

/// What jobs may call.
pub(crate) fn egress(config: &Config) -> anyhow::Result<dodona_pipeline::egress::Policy> {
    use dodona_pipeline::egress::Policy;
    let egress = &config.egress;
    Ok(match egress.strict {
        true => Policy::strict(egress.allow.clone(), egress.requester_urls)?,
        false => Policy::standard(),
    })
}

/// Zero switches it off.
fn some(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

pub(crate) fn pruner(config: &Config, store: dodona_store::Store) -> dodona_jobs::Pruner {
    let pipeline = &config.pipeline;
    // Transactions are pruned for all chains at once: the chain that keeps them longest counts, and 0 keeps them.
    let thresholds = config
        .enabled_chains()
        .map(|chain| some(chain.transactions.reaper_threshold));
    let keep_txs = thresholds
        .reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other)))
        .flatten();
    dodona_jobs::Pruner::new(
        store,
        pipeline.reaper_threshold,
        u32::try_from(pipeline.max_successful_runs).unwrap_or(u32::MAX),
        keep_txs,
        config.web.session_timeout + config.web.session_reaper_expiration,
    )
}

pub(crate) fn api(config: &Config, listen: std::net::SocketAddr) -> ApiConfig {
    let web = &config.web;
    let allow_origins = match web.allow_origins.iter().any(|origin| origin == "*") {
        true => AllowOrigins::Any,
        false => AllowOrigins::These(web.allow_origins.clone()),
    };
    ApiConfig {
        secure_cookies: web.secure_cookies,
        session_timeout: web.session_timeout,
        session_reaper: web.session_reaper_expiration,
        allow_origins,
        http_max_size: usize::try_from(web.http_max_size_bytes).unwrap_or(usize::MAX),
        write_timeout: web.http_write_timeout,
        rate_limits: RateLimits {
            authenticated: (
                web.rate_limit.authenticated,
                web.rate_limit.authenticated_period,
            ),
            unauthenticated: (
                web.rate_limit.unauthenticated,
                web.rate_limit.unauthenticated_period,
            ),
            disabled: !web.rate_limit.enabled,
        },
        metrics_token: config.secrets.prometheus_auth_token.clone(),
        version: version::VERSION.to_owned(),
        commit: version::COMMIT.to_owned(),
        external_initiators: config.pipeline.external_initiators_enabled,
        ..ApiConfig::on(listen)
    }
}
