//! Keys of the whole process: database, log, web server, pipeline.

use super::Key;
use crate::config::value::Kind::{self, *};

const PORT: Kind = Int {
    min: 0,
    max: 65_535,
};
const ANY: Kind = Kind::Int {
    min: 0,
    max: u64::MAX,
};
const LEVELS: Kind = Choice(&[
    "trace", "debug", "info", "warn", "error", "crit", "panic", "fatal",
]);

pub(super) fn keys() -> Vec<Key> {
    let mut keys = top();
    keys.extend(database());
    keys.extend(log());
    keys.extend(web_server());
    keys.extend(pipeline());
    keys.extend(insecure());
    keys.extend(other_chains());
    keys
}

fn top() -> Vec<Key> {
    vec![
        Key::new(
            "RootDir",
            Text,
            "~/.dodona",
            "Directory of the embedded database, the log file and the session secret; \
             made with mode 0700.",
        )
        .there("~/.chainlink")
        .old(&["ROOT"]),
        Key::new(
            "ShutdownGracePeriod",
            Duration,
            "5s",
            "How long a stopping node may take to finish what it is doing before it \
             exits regardless.",
        )
        .old(&["SHUTDOWN_GRACE_PERIOD"]),
        Key::new(
            "InsecureFastScrypt",
            Bool,
            "false",
            "Exports keys with encryption that is quick to compute and quick to \
             break; the development profile only.",
        )
        .old(&["INSECURE_FAST_SCRYPT"]),
        Key::new("InsecurePPROFHeap", Bool, "false", "")
            .without_effect("profiles of the Go runtime do not exist here"),
    ]
}

fn database() -> Vec<Key> {
    vec![
        Key::new(
            "Database.MaxOpenConns",
            Int {
                min: 1,
                max: 10_000,
            },
            "100",
            "PostgreSQL connections at most.",
        )
        .old(&["ORM_MAX_OPEN_CONNS"]),
        Key::new("Database.MaxIdleConns", ANY, "10", "")
            .old(&["ORM_MAX_IDLE_CONNS"])
            .without_effect("connections that idle are closed by themselves"),
        Key::new("Database.DefaultQueryTimeout", Duration, "10s", "")
            .old(&["DATABASE_DEFAULT_QUERY_TIMEOUT", "DATABASE_TIMEOUT"])
            .without_effect("statements are short, and their limits are built in"),
        Key::new("Database.DefaultLockTimeout", Duration, "15s", "")
            .old(&["DATABASE_DEFAULT_LOCK_TIMEOUT"])
            .without_effect("statements are short, and their limits are built in"),
        Key::new("Database.DefaultIdleInTxSessionTimeout", Duration, "1h", "")
            .old(&[
                "DATABASE_DEFAULT_IDLE_IN_TX_SESSION_TIMEOUT",
                "DATABASE_MAXIMUM_TX_DURATION",
            ])
            .without_effect("statements are short, and their limits are built in"),
        Key::new(
            "Database.LogQueries",
            Bool,
            "false",
            "Writes statements to the log, at level debug.",
        )
        .old(&["LOG_SQL"]),
        Key::new("Database.MigrateOnStartup", Bool, "true", "")
            .old(&["MIGRATE_DATABASE"])
            .without_effect("the tables are always brought up to date when the node starts"),
        Key::new(
            "Database.Listener.FallbackPollInterval",
            Duration,
            "30s",
            "",
        )
        .old(&["TRIGGER_FALLBACK_DB_POLL_INTERVAL"])
        .without_effect("rows are looked at every few seconds, whether a notification came or not"),
        Key::new(
            "Database.Listener.MaxReconnectDuration",
            Duration,
            "10m",
            "",
        )
        .old(&["DATABASE_LISTENER_MAX_RECONNECT_DURATION"])
        .without_effect("a lost listener reconnects at once, then with growing pauses"),
        Key::new("Database.Listener.MinReconnectInterval", Duration, "1m", "")
            .old(&["DATABASE_LISTENER_MIN_RECONNECT_INTERVAL"])
            .without_effect("a lost listener reconnects at once, then with growing pauses"),
        Key::new("Database.Lock.Enabled", Bool, "true", "")
            .without_effect("a lease is always taken, so that nodes may share a database"),
        Key::new(
            "Database.Lock.LeaseDuration",
            Duration,
            "10s",
            "A leader that has not renewed its lease for this long may be replaced.",
        )
        .old(&["LEASE_LOCK_DURATION"]),
        Key::new(
            "Database.Lock.LeaseRefreshInterval",
            Duration,
            "1s",
            "How often a leader renews its lease; at most half of `LeaseDuration`.",
        )
        .old(&["LEASE_LOCK_REFRESH_INTERVAL"]),
    ]
}

fn log() -> Vec<Key> {
    vec![
        Key::new(
            "Log.Level",
            LEVELS,
            "info",
            "The least grave level that the console shows; the file holds debug always.",
        )
        .old(&["LOG_LEVEL"]),
        Key::new(
            "Log.JSONConsole",
            Bool,
            "false",
            "Writes console lines as JSON objects.",
        )
        .old(&["JSON_CONSOLE"]),
        Key::new(
            "Log.UnixTS",
            Bool,
            "false",
            "Times in JSON lines as seconds since 1970 instead of RFC 3339.",
        )
        .old(&["LOG_UNIX_TS"]),
        Key::new(
            "Log.File.Dir",
            Text,
            "",
            "Directory of `dodona_debug.log`; nothing set means `RootDir`.",
        )
        .old(&["LOG_FILE_DIR"]),
        Key::new(
            "Log.File.MaxSize",
            Size,
            "5120mb",
            "Size in bytes at which the log file is set aside and a new one begun; \
             below `1mb` no file is written.",
        )
        .old(&["LOG_FILE_MAX_SIZE"]),
        Key::new(
            "Log.File.MaxAgeDays",
            ANY,
            "0",
            "Days after which files set aside are removed; 0 keeps them.",
        )
        .old(&["LOG_FILE_MAX_AGE"]),
        Key::new(
            "Log.File.MaxBackups",
            ANY,
            "1",
            "Files set aside that are kept; 0 keeps all.",
        )
        .old(&["LOG_FILE_MAX_BACKUPS"]),
    ]
}

fn web_server() -> Vec<Key> {
    const NO_TLS: &str = "this version does not serve TLS";
    vec![
        Key::new(
            "WebServer.ListenIP",
            Ip,
            "127.0.0.1",
            "Address the API listens on; a wider one has to be named in \
             `Dodona.AllowPlaintextOn`.",
        )
        .there("0.0.0.0")
        .old(&["DODONA_LISTEN_IP"]),
        Key::new(
            "WebServer.HTTPPort",
            PORT,
            "6688",
            "Port of the API, plain http; 0 is refused, because nobody could reach \
             the node.",
        )
        .old(&["CHAINLINK_PORT"]),
        Key::new(
            "WebServer.AllowOrigins",
            Text,
            "http://localhost:3000,http://localhost:6688",
            "Origins from which a browser may call the API, separated by commas, or `*`.",
        )
        .old(&["ALLOW_ORIGINS"]),
        Key::new(
            "WebServer.SecureCookies",
            Bool,
            "true",
            "Marks the session cookie so that browsers send it over https only.",
        )
        .old(&["SECURE_COOKIES"]),
        Key::new(
            "WebServer.SessionTimeout",
            Duration,
            "15m",
            "A session ends after this long without use.",
        )
        .old(&["SESSION_TIMEOUT"]),
        Key::new(
            "WebServer.SessionReaperExpiration",
            Duration,
            "240h",
            "Rows of ended sessions are kept this much longer.",
        )
        .old(&["REAPER_EXPIRATION"]),
        Key::new(
            "WebServer.HTTPMaxSize",
            Size,
            "32768b",
            "Largest body of a request, in bytes.",
        ),
        Key::new(
            "WebServer.HTTPWriteTimeout",
            Duration,
            "10s",
            "Longest time to read a request and, once more, to write its answer.",
        )
        .old(&["HTTP_SERVER_WRITE_TIMEOUT"]),
        Key::new(
            "WebServer.BridgeResponseURL",
            Url(&["http", "https"]),
            "",
            "Base of the address that a bridge calls back; the node appends \
             `/v2/resume/<task run>`.",
        )
        .old(&["BRIDGE_RESPONSE_URL"]),
        Key::new(
            "WebServer.BridgeCacheTTL",
            Duration,
            "0s",
            "How old a bridge's last good answer may be to stand in for one it fails to give, where \
             the task has no `cacheTTL`; 0 keeps none.",
        )
        .old(&["BRIDGE_CACHE_TTL"]),
        Key::new("WebServer.StartTimeout", Duration, "15s", "")
            .without_effect("a port in use ends the start with a sentence"),
        Key::new(
            "WebServer.AuthenticationMethod",
            Choice(&["local", "ldap", "oidc"]),
            "local",
            "How users log in; this version knows `local` only and refuses the others.",
        ),
        Key::new(
            "WebServer.RateLimit.Authenticated",
            ANY,
            "1000",
            "Requests that one client address may make in one `AuthenticatedPeriod`.",
        )
        .old(&["AUTHENTICATED_RATE_LIMIT"]),
        Key::new(
            "WebServer.RateLimit.AuthenticatedPeriod",
            Duration,
            "1m",
            "Period of `Authenticated`.",
        )
        .old(&["AUTHENTICATED_RATE_LIMIT_PERIOD"]),
        Key::new(
            "WebServer.RateLimit.Unauthenticated",
            ANY,
            "5",
            "Log-in attempts that one client address may make in one `UnauthenticatedPeriod`.",
        )
        .old(&["UNAUTHENTICATED_RATE_LIMIT"]),
        Key::new(
            "WebServer.RateLimit.UnauthenticatedPeriod",
            Duration,
            "20s",
            "Period of `Unauthenticated`.",
        )
        .old(&["UNAUTHENTICATED_RATE_LIMIT_PERIOD"]),
        Key::new(
            "WebServer.TLS.HTTPSPort",
            PORT,
            "0",
            "Port for https; this version does not serve TLS and refuses any but 0 \
             and 6689, which it leaves closed.",
        )
        .there("6689")
        .old(&["CHAINLINK_TLS_PORT"]),
        Key::new(
            "WebServer.TLS.CertPath",
            Text,
            "",
            "Certificate for https; refused while this version does not serve TLS.",
        )
        .old(&["TLS_CERT_PATH"]),
        Key::new(
            "WebServer.TLS.KeyPath",
            Text,
            "",
            "Key of the certificate; refused while this version does not serve TLS.",
        )
        .old(&["TLS_KEY_PATH"]),
        Key::new(
            "WebServer.TLS.ForceRedirect",
            Bool,
            "false",
            "Sends plain requests to https; refused while this version does not serve TLS.",
        )
        .old(&["CHAINLINK_TLS_REDIRECT"]),
        Key::new("WebServer.TLS.Host", Text, "", "")
            .old(&["CHAINLINK_TLS_HOST"])
            .without_effect(NO_TLS),
        Key::new("WebServer.TLS.ListenIP", Ip, "", "").without_effect(NO_TLS),
    ]
}

fn pipeline() -> Vec<Key> {
    vec![
        Key::new(
            "JobPipeline.MaxRunDuration",
            Duration,
            "10m",
            "Longest time one run may take; 0 sets no limit.",
        )
        .old(&["JOB_PIPELINE_MAX_RUN_DURATION"]),
        Key::new(
            "JobPipeline.MaxSuccessfulRuns",
            ANY,
            "10000",
            "Successful runs that are kept for each job; 0 keeps none.",
        )
        .old(&["JOB_PIPELINE_MAX_SUCCESSFUL_RUNS"]),
        Key::new(
            "JobPipeline.ReaperInterval",
            Duration,
            "1h",
            "How often old runs are removed; 0 switches that off.",
        )
        .old(&["JOB_PIPELINE_REAPER_INTERVAL"]),
        Key::new(
            "JobPipeline.ReaperThreshold",
            Duration,
            "24h",
            "Age beyond which runs are removed.",
        )
        .old(&["JOB_PIPELINE_REAPER_THRESHOLD"]),
        Key::new(
            "JobPipeline.HTTPRequest.DefaultTimeout",
            Duration,
            "15s",
            "Longest time an `http` or `bridge` task waits for its answer, unless the \
             task says otherwise.",
        )
        .old(&["DEFAULT_HTTP_TIMEOUT"]),
        Key::new(
            "JobPipeline.HTTPRequest.MaxSize",
            Size,
            "32768",
            "Largest answer of a data source, in bytes.",
        )
        .old(&["DEFAULT_HTTP_LIMIT"]),
        Key::new(
            "JobPipeline.ExternalInitiatorsEnabled",
            Bool,
            "false",
            "Whether external initiators may be registered and may start runs of the webhook jobs \
             that list them.",
        )
        .old(&["FEATURE_EXTERNAL_INITIATORS"]),
        Key::new("JobPipeline.ResultWriteQueueDepth", ANY, "100", "")
            .old(&["JOB_PIPELINE_RESULT_WRITE_QUEUE_DEPTH"])
            .without_effect("results are written as they come"),
        Key::new("JobPipeline.VerboseLogging", Bool, "true", "")
            .without_effect("a run's story is kept in its rows"),
    ]
}

fn insecure() -> Vec<Key> {
    vec![
        Key::new(
            "Insecure.DisableRateLimiting",
            Bool,
            "false",
            "Lets every client call as often as it likes; the development profile only.",
        ),
        Key::new("Insecure.DevWebServer", Bool, "false", "")
            .without_effect("there is no development web server here"),
        Key::new("Insecure.OCRDevelopmentMode", Bool, "false", "")
            .without_effect("off-chain reporting is not part of this node"),
        Key::new("Insecure.InfiniteDepthQueries", Bool, "false", "")
            .without_effect("GraphQL is not part of this version"),
    ]
}

fn other_chains() -> Vec<Key> {
    let families = [
        "Solana", "Cosmos", "Starknet", "Aptos", "Tron", "TON", "Sui",
    ];
    let key =
        |name: &&str| Key::new(name, Any, "", "").without_effect("only EVM chains are served");
    let mut keys: Vec<Key> = families.iter().map(key).collect();
    keys.push(
        Key::new("ExplorerURL", Any, "", "")
            .old(&["EXPLORER_URL"])
            .without_effect("the explorer service was shut down"),
    );
    keys
}
