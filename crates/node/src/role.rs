//! `dodona node start`: build everything first, start it afterwards, stop it in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use dodona_api::{Api, ChainView, Parts};
use dodona_jobs::Outside;
use dodona_keys::Strength;
use dodona_model::ChainId;
use dodona_pipeline::egress::EgressClient;
use dodona_rpc::{Pool, RpcError};
use dodona_runtime::{CancellationToken, Health, Supervisor};
use dodona_store::{Engine, Scope, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{debug, info, warn};

use crate::campaign::{Campaign, Leads, Work};
use crate::config::Config;
use crate::logging::{self, LogHandle};
use crate::vault::NodeVault;
use crate::wire::{self, ChainParts, Pokes};
use crate::{first_start, settings, telemetry, version};

/// What the command line adds to the settings.
pub struct StartOptions {
    /// Two lines, e-mail and password, for the first user.
    pub api_credentials: Option<PathBuf>,
    /// Holds the key ring's password; wins over the one in the settings.
    pub password_file: Option<PathBuf>,
    /// For changing the console's level at run time.
    pub log: LogHandle,
}

/// Runs a node until it is told to stop, or must stop; the error says why.
pub async fn start(config: Config, options: StartOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    let metrics = telemetry::install()?;
    logging::register_metrics();
    info!(
        Version = version::VERSION,
        SHA = version::COMMIT,
        "Starting Dodona node {}",
        version::short()
    );
    let given = first_start::given_password(&config, &options)?;
    let database = settings::database(&config);
    let credentials = first_start::given_credentials(&options);
    let credentials = if database.is_new_file() {
        if let Some(password) = &given {
            first_start::check_ring_password(password, config.development)?;
        }
        credentials.transpose()?.map(Ok)
    } else {
        credentials
    };

    // Before anything is written: are the endpoints what the configuration says, and is the port free?
    let pools = reach_chains(&config).await?;
    let listener = dodona_api::take_port(config.web.listen_on()).await?;
    prepare_root(&config.root_dir)?;
    let pokes = Pokes::default();
    let store = Store::open(&database, pokes.by_name()).await?;
    if store.engine() == Engine::Sqlite {
        // The file is ours alone: whoever claimed runs in it is dead.
        let mut tx = store.begin().await?;
        dodona_store::runs::release_left_claims(&mut tx).await?;
        tx.commit().await?;
    }
    let password = first_start::ring_password(given, &store, config.development).await?;
    let first_user = first_start::whose(&store, credentials).await?;
    let strength = if config.insecure_fast_scrypt {
        Strength::InsecureFast
    } else {
        Strength::Standard
    };
    let vault = NodeVault::unlock(store.clone(), password, strength).await?;
    let user = first_user.ensure(&store).await?;

    let health = Health::default();
    let owner = Supervisor::new(health.clone(), CancellationToken::new());
    let chains: BTreeMap<ChainId, ChainParts> = config
        .enabled_chains()
        .filter_map(|chain| {
            Some((
                chain.chain_id,
                settings::chain(chain, pools.get(&chain.chain_id)?.clone()),
            ))
        })
        .collect();
    let leads = Leads::of(chains.keys().copied());
    let render = metrics.clone();
    let api = Api::new(
        Parts {
            store: store.clone(),
            health,
            vault: Arc::new(vault.clone()),
            chains: chain_views(&config, &chains),
            leading: leads.reader(),
            run_ended: pokes.ended.clone(),
            metrics_render: Arc::new(move || render.render()),
        },
        settings::api(&config, config.web.listen_on()),
    );
    first_start::missing_keys(&config, &vault).await?;

    let outside = Arc::new(Outside {
        store: store.clone(),
        pools: pools.clone(),
        egress: EgressClient::keeping_off(&database_addresses(&config).await)
            .context("setting up the HTTP client of jobs")?
            .under(settings::egress(&config)?),
    });
    let me = format!(
        "{}:{}:{}",
        hostname(),
        std::process::id(),
        uuid::Uuid::new_v4()
    );
    let runner = settings::runner(&config, me.clone());
    let pruner = settings::pruner(&config, store.clone());
    wire::everywhere(
        &owner,
        &pokes,
        &outside,
        runner,
        pruner,
        config.pipeline.reaper_interval,
        &chains,
    );
    let works = chains.iter().map(|(id, parts)| {
        let work = Work::Chain(Box::new(parts.clone()), vault.clone());
        (format!("EVM.{id}.Lead"), Scope::chain(*id), work)
    });
    let schedule = Work::Schedule(Arc::clone(&outside));
    let schedule = ("Schedule.Lead".to_owned(), Scope::schedule(), schedule);
    for (name, scope, work) in works.chain([schedule]) {
        let campaign = Campaign {
            store: store.clone(),
            scope,
            me: me.clone(),
            lease: settings::lease(&config),
            owner: owner.clone(),
            pokes: pokes.clone(),
            work,
            leads: leads.clone(),
        };
        owner.spawn(&name, campaign.run());
    }
    info!("API exposed for user {user}");
    let serve_until = owner.stop_token().clone().cancelled_owned();
    owner.spawn("API", api.serve(listener, serve_until));
    owner.spawn("Metrics", upkeep(metrics, owner.stop_token().clone()));
    info!("Dodona booted in {:.2}s", began.elapsed().as_secs_f64());

    let why = tokio::select! {
        signal = told_to_stop() => { info!("{signal}: stopping"); Ok(()) }
        reason = owner.fatal() => Err(anyhow::anyhow!(reason)),
    };
    stop(&config, &owner, &store, &me).await;
    drop(options.log);
    why
}

/// Finishes rounds, gives claims back, closes the database; in the time the operator grants.
async fn stop(config: &Config, owner: &Supervisor, store: &Store, me: &str) {
    if !owner.stop(config.shutdown_grace_period).await {
        tracing::error!(
            crit = true,
            "the grace period ran out with work unfinished; what was begun is repeated at the next start"
        );
    }
    let give_back = async {
        let mut tx = store.begin().await?;
        dodona_store::runs::release_claims(&mut tx, me).await?;
        tx.commit().await
    };
    if let Err(cause) = give_back.await {
        debug!("claims run out by themselves: {cause}");
    }
    store.close().await;
    info!("stopped");
}

/// Asks every endpoint who it is. A chain without one usable endpoint ends the start.
async fn reach_chains(config: &Config) -> anyhow::Result<BTreeMap<ChainId, Pool>> {
    let mut pools = BTreeMap::new();
    let mut problems = Vec::new();
    for chain in config.enabled_chains() {
        let id = chain.chain_id;
        let pool = settings::pool(chain).with_context(|| format!("EVM chain {id}"))?;
        let reports = pool.verify().await;
        let usable = reports
            .iter()
            .any(|report| !report.send_only && report.verdict.is_ok());
        for report in &reports {
            match &report.verdict {
                Ok(_) => {}
                Err(cause) if usable && !matches!(cause, RpcError::WrongChain { .. }) => {
                    warn!(
                        chain.id = id,
                        "{cause}; the other endpoints of chain {id} are used meanwhile"
                    );
                }
                Err(cause) => problems.push(cause.to_string()),
            }
            match &report.ws_problem {
                None => {}
                // Not a socket that may come up yet: somebody else's chain, whose heads we would follow.
                Some(cause @ RpcError::WrongChain { .. }) => problems.push(cause.to_string()),
                Some(cause) => warn!(
                    chain.id = id,
                    "{cause}; heads are polled over HTTP meanwhile"
                ),
            }
        }
        pools.insert(id, pool);
    }
    if !problems.is_empty() {
        bail!(
            "{}. Correct EVM.Nodes (WSURL, HTTPURL) or start the endpoint; the database was not touched",
            problems.join("; ")
        );
    }
    Ok(pools)
}

fn chain_views(config: &Config, chains: &BTreeMap<ChainId, ChainParts>) -> Vec<ChainView> {
    config
        .enabled_chains()
        .map(|chain| {
            let limits = chain.clone();
            ChainView {
                chain_id: chain.chain_id,
                pool: chains.get(&chain.chain_id).map(|parts| parts.pool.clone()),
                min_confirmations: chain.min_incoming_confirmations,
                min_payment: chain.min_contract_payment_juels,
                head_age_alarm: chain.no_new_heads_threshold,
                link: chain.link_contract_address,
                max_gas_price_wei: Some(Arc::new(move |key| limits.price_max_wei(key))),
                config_toml: format!("ChainID = '{}'\n", chain.chain_id),
            }
        })
        .collect()
}

/// The folder of everything this node writes, for its owner's eyes only.
fn prepare_root(root: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = || {
        format!(
            "RootDir {} cannot be prepared; choose a folder this user may write",
            root.display()
        )
    };
    std::fs::create_dir_all(root).with_context(failed)?;
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).with_context(failed)
}

/// Where the database is: no job has business there.
async fn database_addresses(config: &Config) -> Vec<std::net::IpAddr> {
    let crate::config::DatabaseEngine::Postgres { url } = &config.database.engine else {
        return Vec::new();
    };
    let Ok(url) = url::Url::parse(secrecy::ExposeSecret::expose_secret(url)) else {
        return Vec::new();
    };
    let Some(host) = url.host_str() else {
        return Vec::new();
    };
    // The database was just opened under this name; one that cannot be resolved is a local socket.
    match tokio::net::lookup_host((host, url.port().unwrap_or(5432))).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(_) => Vec::new(),
    }
}

async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(5)) => {}
        }
    }
}

async fn told_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "node".to_owned(), |name| name.trim().to_owned())
}
