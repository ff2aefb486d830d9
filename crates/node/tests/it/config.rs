//! Files and variables in, settings or a list of faults out.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::U256;
use dodona_node::config::{
    self, Config, DatabaseEngine, Examined, GasMode, Inputs, LogLevel, Problems, Source, registry,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

/// Settings files and variables of one test.
struct Desk {
    dir: TempDir,
    inputs: Inputs,
}

impl Desk {
    fn new() -> Self {
        let inputs = Inputs {
            variables: [("HOME".to_owned(), "/home/op".to_owned())].into(),
            ..Inputs::default()
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            inputs,
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn config(mut self, name: &str, text: &str) -> Self {
        let path = self.file(name, text);
        self.inputs.config_files.push(path);
        self
    }

    fn secrets(mut self, name: &str, text: &str) -> Self {
        let path = self.file(name, text);
        self.inputs.secrets_files.push(path);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.inputs
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Config {
        config::load(&self.inputs).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn examine(&self) -> Examined {
        config::examine(&self.inputs)
    }

    fn problems(&self) -> Problems {
        config::load(&self.inputs).expect_err("these settings are wrong")
    }

    /// The report without the test's own directory.
    fn report(&self) -> String {
        self.problems()
            .to_string()
            .replace(&format!("{}/", self.dir.path().display()), "")
    }
}

const CHAIN: &str = "
[[EVM]]
ChainID = '1'
[[EVM.Nodes]]
Name = 'main'
WSURL = 'wss://rpc.example.org/key'
HTTPURL = 'https://rpc.example.org/key'
";

#[test]
fn a_small_file_is_completed_with_the_chains_own_defaults() {
    let config = Desk::new().config("node.toml", CHAIN).load();

    assert_eq!(config.source, Source::Files);
    assert_eq!(config.root_dir, PathBuf::from("/home/op/.dodona"));
    assert_eq!(config.web.listen_on().to_string(), "127.0.0.1:6688");
    assert_eq!(config.log.level, LogLevel::Info);
    assert!(
        matches!(&config.database.engine, DatabaseEngine::Sqlite { path } if path.ends_with("dodona.sqlite"))
    );
    assert_eq!(config.pipeline.max_concurrent_runs, 64);
    let chain = &config.chains[0];
    assert_eq!(
        (
            chain.chain_id,
            chain.min_incoming_confirmations,
            chain.finality_depth
        ),
        (1, 3, 50)
    );
    assert!(chain.finality_tag_enabled && chain.gas.eip1559);
    assert_eq!(chain.min_contract_payment_juels, U256::from(10_u64.pow(17)));
    assert_eq!(chain.gas.price_default_wei, U256::from(20_000_000_000_u64));
    assert_eq!(chain.gas.price_max_wei, U256::MAX);
    assert_eq!(chain.gas.block_history.fee_cap_buffer_blocks, 4);
    assert_eq!(chain.gas.block_history.size, 4);
    assert_eq!(
        chain.link_contract_address.unwrap().to_string(),
        "0x514910771AF9Ca656af840dff83E8264EcF986CA"
    );
    assert_eq!(
        chain.nodes[0].ws_url.as_ref().unwrap().expose().as_str(),
        "wss://rpc.example.org/key"
    );
}

#[test]
fn an_access_token_in_an_endpoints_address_does_not_print() {
    let config = Desk::new().config("node.toml", CHAIN).load();
    let printed = format!("{config:?}");
    assert!(
        printed.contains("rpc.example.org") && !printed.contains("/key"),
        "{printed}"
    );
}

#[test]
fn a_chain_nobody_knows_gets_the_general_defaults() {
    let config = Desk::new()
        .config("node.toml", &CHAIN.replace("'1'", "424242"))
        .load();
    let chain = &config.chains[0];
    assert_eq!(
        (chain.chain_id, chain.min_incoming_confirmations),
        (424_242, 3)
    );
    assert_eq!(chain.gas.mode, GasMode::BlockHistory);
    assert_eq!(chain.no_new_heads_threshold, Duration::from_secs(180));
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("LinkContractAddress") && note.contains("424242"))
    );
}

#[test]
fn every_built_in_chain_passes_the_checks_it_imposes_on_others() {
    for id in [
        1, 10, 56, 97, 100, 137, 1337, 5000, 8453, 31337, 42161, 43113, 43114, 80002, 84532,
        421614, 11155111, 11155420,
    ] {
        let config = Desk::new()
            .config("node.toml", &CHAIN.replace("'1'", &id.to_string()))
            .load();
        assert_eq!(config.chains[0].chain_id, id);
    }
}

#[test]
fn a_later_file_overrides_and_list_entries_meet_by_name() {
    let later = "
        Log.Level = 'debug'
        [[EVM]]
        ChainID = 1
        MinIncomingConfirmations = 7
        [[EVM.Nodes]]
        Name = 'main'
        Order = 5
        [[EVM.Nodes]]
        Name = 'second'
        HTTPURL = 'http://10.0.0.2:8545'
        [[EVM]]
        ChainID = '10'
        Enabled = false
    ";
    let config = Desk::new()
        .config(
            "one.toml",
            &format!("Log.Level = 'warn'\nLog.JSONConsole = true\n{CHAIN}"),
        )
        .config("two.toml", later)
        .variable("CL_CONFIG", "Log.Level = 'error'")
        .load();

    assert_eq!(config.log.level, LogLevel::Error);
    assert!(config.log.json_console);
    let ids: Vec<u64> = config.chains.iter().map(|chain| chain.chain_id).collect();
    assert_eq!(ids, [1, 10]);
    assert_eq!(config.enabled_chains().count(), 1);
    assert_eq!(config.chains[0].min_incoming_confirmations, 7);
    let nodes: Vec<(&str, u8)> = config.chains[0]
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.order))
        .collect();
    assert_eq!(nodes, [("main", 5), ("second", 100)]);
    assert!(
        config.chains[0].nodes[0].ws_url.is_some(),
        "the first file's address is kept"
    );
}

#[test]
fn all_faults_are_reported_together_with_their_places() {
    let text = "
LogLevel = 'debug'
[WebServer]
HTPPort = 6688
SecureCookies = 'no'
[Log.File]
MaxSize = 'huge'
[[EVM]]
ChainID = '1'
LinkContractAddress = '0x514910771AF9Ca656af840dff83E8264EcF986Ca'
[EVM.GasEstimator]
PriceMn = '1 gwei'
PriceMax = '5 gwei'
BumpPercent = 5
[[EVM.Nodes]]
Name = 'foo'
HTTPURL = 'http://a.example.org'
[[EVM.Nodes]]
Name = 'foo'
HTTPURL = 'ws://b.example.org'
[[EVM]]
ChainID = '10'
";
    let desk = Desk::new().config("node.toml", text).secrets(
        "secrets.toml",
        "[Database]\nUrl = 'mysql://x'\nPaswort = 'y'\n",
    );
    insta::assert_snapshot!(desk.report());
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let desk = Desk::new().config("node.toml", "[WebServer\nHTTPPort = 1");
    assert!(
        desk.report()
            .starts_with("invalid configuration: is not TOML: "),
        "{}",
        desk.report()
    );
    assert!(desk.report().contains("node.toml:1"), "{}", desk.report());

    let mut desk = Desk::new();
    desk.inputs
        .config_files
        .push(desk.dir.path().join("gone.toml"));
    assert!(
        desk.report().contains("the file cannot be read") && desk.report().contains("gone.toml")
    );
}

#[test]
fn a_single_chain_table_is_told_to_be_a_list() {
    let report = Desk::new()
        .config("node.toml", "[EVM]\nChainID = '1'\n")
        .report();
    assert_eq!(
        report,
        "invalid configuration: EVM: is a list of tables: write [[EVM]] (node.toml:1)"
    );
}

#[test]
fn capitals_of_a_key_do_not_matter() {
    let config = Desk::new()
        .config("node.toml", "[webserver]\nhttpport = 7000\n")
        .load();
    assert_eq!(config.web.http_port, 7000);
}

#[test]
fn secrets_of_two_files_must_not_overlap() {
    let secret = "[Password]\nKeystore = 'sixteen characters long'\n";
    let desk = Desk::new()
        .secrets("a.toml", secret)
        .secrets("b.toml", secret);
    assert!(
        desk.report().contains("Password.Keystore: is given twice"),
        "{}",
        desk.report()
    );
}

#[test]
fn a_variable_overrides_a_secret_and_neither_prints() {
    let desk = Desk::new()
        .secrets("a.toml", "[Password]\nKeystore = 'from the secrets file'\n")
        .variable("CL_PASSWORD_KEYSTORE", "from the environment")
        .variable(
            "CL_DATABASE_URL",
            "postgres://dodona:a-rather-long-password@db:5432/dodona",
        );
    let config = desk.load();
    assert_eq!(
        config
            .secrets
            .keystore_password
            .as_ref()
            .unwrap()
            .expose_secret(),
        "from the environment"
    );
    assert!(matches!(
        config.database.engine,
        DatabaseEngine::Postgres { .. }
    ));
    let printed = format!("{config:?}");
    assert!(
        !printed.contains("rather-long") && !printed.contains("from the environment"),
        "{printed}"
    );
}

#[test]
fn a_weak_database_password_is_refused_without_showing_it() {
    let report = Desk::new()
        .secrets("s.toml", "Database.URL = 'postgres://me:short@db/x'")
        .report();
    assert_eq!(
        report,
        "invalid secrets: Database.URL: has a password of fewer than 16 characters (s.toml:1)"
    );
    for fine in [
        "postgres://me:short@db/x_test",
        "postgres://me@localhost/x?host=/run/postgresql",
    ] {
        Desk::new()
            .secrets("s.toml", &format!("Database.URL = '{fine}'"))
            .load();
    }
    Desk::new()
        .config("d.toml", "Dodona.Development = true")
        .secrets("s.toml", "Database.URL = 'postgres://me:short@db/x'")
        .load();
}

#[test]
fn zero_confirmations_count_as_one_and_a_note_says_so() {
    let config = Desk::new()
        .config(
            "node.toml",
            &CHAIN.replace(
                "ChainID = '1'",
                "ChainID = '1'\nMinIncomingConfirmations = 0",
            ),
        )
        .load();
    assert_eq!(config.chains[0].min_incoming_confirmations, 1);
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.starts_with("EVM.0.MinIncomingConfirmations: 0 counts as 1")),
        "{:?}",
        config.notes
    );
}

#[test]
fn an_endpoint_without_a_websocket_is_polled_and_a_note_says_so() {
    let config = Desk::new()
        .config(
            "node.toml",
            &CHAIN.replace("WSURL = 'wss://rpc.example.org/key'", ""),
        )
        .load();
    assert!(config.chains[0].nodes[0].ws_url.is_none());
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.starts_with("EVM.0.Nodes.0.WSURL")),
        "{:?}",
        config.notes
    );
}

#[test]
fn keys_without_effect_are_accepted_and_named_once_per_reason() {
    let text = format!(
        "OCR.Enabled = true\nP2P.V2.Enabled = true\n[[Solana]]\nChainID = 'mainnet'\n{CHAIN}"
    );
    let config = Desk::new().config("node.toml", &text).load();
    let note = |start: &str| {
        config
            .notes
            .iter()
            .filter(|note| note.starts_with(start))
            .count()
    };
    assert_eq!(
        note("OCR.Enabled, P2P.V2.Enabled: accepted without effect"),
        1,
        "{:?}",
        config.notes
    );
    assert_eq!(
        note("Solana: accepted without effect, only EVM chains are served"),
        1
    );
}

#[test]
fn the_api_listens_beyond_loopback_only_where_that_address_is_named() {
    let wide = "WebServer.ListenIP = '10.8.0.1'\n";
    let report = Desk::new().config("node.toml", wide).report();
    assert!(
        report.contains("WebServer.ListenIP")
            && report.contains("Dodona.AllowPlaintextOn = ['10.8.0.1']"),
        "{report}"
    );

    let named = format!("{wide}Dodona.AllowPlaintextOn = ['10.8.0.1']");
    assert_eq!(
        Desk::new()
            .config("node.toml", &named)
            .load()
            .web
            .listen_on()
            .to_string(),
        "10.8.0.1:6688"
    );

    let public = "WebServer.ListenIP = '8.8.8.8'\nDodona.AllowPlaintextOn = ['8.8.8.8']";
    assert!(
        Desk::new()
            .config("node.toml", public)
            .report()
            .contains("public address")
    );

    let development = format!("{named}\nDodona.Development = true");
    assert!(
        Desk::new()
            .config("node.toml", &development)
            .report()
            .contains("loopback only")
    );
}

#[test]
fn insecure_values_need_the_development_profile() {
    let insecure = "InsecureFastScrypt = true\nInsecure.DisableRateLimiting = true\n";
    let report = Desk::new().config("node.toml", insecure).report();
    assert!(
        report.contains("2 errors") && report.contains("Dodona.Development = true"),
        "{report}"
    );
    let config = Desk::new()
        .config("node.toml", &format!("{insecure}Dodona.Development = true"))
        .load();
    assert!(config.insecure_fast_scrypt && !config.web.rate_limit.enabled);
}

#[test]
fn tls_that_would_not_be_served_is_refused_in_words() {
    for text in [
        "WebServer.TLS.HTTPSPort = 443",
        "WebServer.TLS.CertPath = '/tls/server.crt'",
        "WebServer.TLS.ForceRedirect = true",
    ] {
        let report = Desk::new().config("node.toml", text).report();
        assert!(report.contains("does not serve TLS"), "{report}");
    }
    Desk::new()
        .config(
            "node.toml",
            "WebServer.TLS.HTTPSPort = 0\nWebServer.TLS.CertPath = '/tls/server.crt'",
        )
        .load();
    let config = Desk::new()
        .config("node.toml", "WebServer.TLS.HTTPSPort = 6689")
        .load();
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("stays closed"))
    );
}

#[test]
fn a_known_chain_refuses_another_type() {
    let text = CHAIN.replace("'1'", "'42161'\nChainType = 'scroll'");
    let report = Desk::new().config("node.toml", &text).report();
    assert!(
        report.contains("chain 42161 has another type: it is arbitrum"),
        "{report}"
    );
}

#[test]
fn a_directory_of_chain_defaults_wins_over_the_built_in_ones() {
    let desk = Desk::new().config("node.toml", CHAIN);
    desk.file(
        "mainnet-like.toml",
        "ChainID = '1'\nFinalityDepth = 99\n[GasEstimator]\nPriceDefault = '33 gwei'\n",
    );
    std::fs::remove_file(desk.dir.path().join("node.toml")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config_file = elsewhere.path().join("node.toml");
    std::fs::write(&config_file, CHAIN).unwrap();
    let mut desk = desk;
    desk.inputs.config_files = vec![config_file];
    let path = desk.dir.path().display().to_string();
    let config = desk.variable("CL_CHAIN_DEFAULTS", &path).load();
    assert_eq!(config.chains[0].finality_depth, 99);
    assert_eq!(
        config.chains[0].gas.price_default_wei,
        U256::from(33_000_000_000_u64)
    );
}

#[test]
fn the_old_variables_are_read_where_no_file_is_given() {
    let config = Desk::new()
        .variable("ETH_CHAIN_ID", "137")
        .variable("ETH_URL", "ws://localhost:8546")
        .variable("ETH_HTTP_URL", "http://localhost:8545")
        .variable(
            "ETH_SECONDARY_URLS",
            "http://10.0.0.2:8545 ; http://10.0.0.3:8545,",
        )
        .variable("DATABASE_URL", "postgresql://me:weak@db:5432/chainlink")
        .variable("ROOT", "~/old")
        .variable("JSON_CONSOLE", "T")
        .variable("LOG_LEVEL", "debug")
        .variable("LOG_FILE_MAX_SIZE", "0")
        .variable("CHAINLINK_PORT", "7000")
        .variable("MIN_INCOMING_CONFIRMATIONS", "0")
        .variable("MINIMUM_CONTRACT_PAYMENT_LINK_JUELS", "123")
        .variable("ETH_GAS_BUMP_WEI", "30000000000")
        .variable("ETH_GAS_LIMIT_MULTIPLIER", "1.25")
        .variable("SESSION_TIMEOUT", "1h")
        .variable("FEATURE_OFFCHAIN_REPORTING", "false")
        .variable("MAX_HTTP_ATTEMPTS", "5")
        .load();

    assert_eq!(config.source, Source::Environment);
    assert_eq!(config.root_dir, PathBuf::from("/home/op/old"));
    assert_eq!(
        (
            config.log.level,
            config.log.json_console,
            config.log.file.is_none()
        ),
        (LogLevel::Debug, true, true)
    );
    assert_eq!(config.web.http_port, 7000);
    assert_eq!(config.web.session_timeout, Duration::from_secs(3600));
    assert!(matches!(
        config.database.engine,
        DatabaseEngine::Postgres { .. }
    ));
    let chain = &config.chains[0];
    assert_eq!((chain.chain_id, chain.min_incoming_confirmations), (137, 1));
    assert_eq!(chain.min_contract_payment_juels, U256::from(123));
    assert_eq!(chain.gas.bump_min_wei, U256::from(30_000_000_000_u64));
    assert_eq!(chain.gas.limit_multiplier, 1.25);
    assert_eq!(
        chain.gas.price_max_wei,
        U256::from(200_000_u64) * U256::from(1_000_000_000_u64)
    );
    let nodes: Vec<(&str, bool)> = chain
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.send_only))
        .collect();
    assert_eq!(
        nodes,
        [
            ("primary-0-137", false),
            ("sendonly-0-137", true),
            ("sendonly-1-137", true)
        ]
    );
    let noted = |text: &str| config.notes.iter().any(|note| note.contains(text));
    assert!(
        noted("MAX_HTTP_ATTEMPTS") && noted("OCR.Enabled") && noted("fewer than 16 characters"),
        "{:?}",
        config.notes
    );
}

#[test]
fn a_list_of_old_nodes_makes_a_chain_each() {
    let list = r#"[
        {"name": "a", "evmChainId": "1", "wsUrl": "ws://a:8546", "httpUrl": "http://a:8545", "sendOnly": false},
        {"name": "b", "evmChainId": 1, "httpUrl": "http://b:8545", "sendOnly": true},
        {"name": "c", "evmChainId": "10", "httpUrl": "http://c:8545"}
    ]"#;
    let config = Desk::new()
        .variable("EVM_NODES", list)
        .variable("ETH_FINALITY_DEPTH", "77")
        .load();
    let chains: Vec<(u64, usize, u32)> = config
        .chains
        .iter()
        .map(|chain| (chain.chain_id, chain.nodes.len(), chain.finality_depth))
        .collect();
    assert_eq!(chains, [(1, 2, 77), (10, 1, 77)]);
}

#[test]
fn faults_of_old_variables_are_named_by_the_variable() {
    let report = Desk::new()
        .variable("ETH_CHAIN_ID", "mainnet")
        .variable("ETH_URL", "localhost:8546")
        .variable("JSON_CONSOLE", "yes")
        .variable("CHAINLINK_PORT", "70000")
        .variable("DATABASE_LOCKING_MODE", "advisorylock")
        .report();
    insta::assert_snapshot!(report);
}

#[test]
fn old_variables_beside_a_file_are_not_read_and_a_note_names_them() {
    let config = Desk::new()
        .config("node.toml", CHAIN)
        .variable("CHAINLINK_PORT", "7000")
        .variable("ETH_URL", "")
        .load();
    assert_eq!(config.web.http_port, 6688);
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.starts_with("CHAINLINK_PORT, ETH_URL: not read")),
        "{:?}",
        config.notes
    );
}

#[test]
fn nothing_at_all_is_a_node_without_chains_on_the_embedded_database() {
    let config = Desk::new().load();
    assert!(config.chains.is_empty());
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.starts_with("EVM: no chain"))
    );
    assert!(config.notes.iter().any(|note| note.contains("single node")));
}

#[test]
fn a_file_with_every_key_there_is_can_be_read() {
    let mut example = String::new();
    let mut lists = String::new();
    for key in registry::CONFIG.keys().iter().filter(|key| key.is_used()) {
        let path = &key.path;
        let value = example_of(key);
        match path.strip_prefix("EVM.") {
            Some(rest) if rest.starts_with("Nodes.") || rest.starts_with("KeySpecific.") => {}
            Some(rest) => lists.push_str(&format!("{rest} = {value}\n")),
            None if path.starts_with("WebServer.TLS") || path.starts_with("Insecure") => {}
            None => example.push_str(&format!("{path} = {value}\n")),
        }
    }
    let nodes = "[[EVM.Nodes]]\nName = 'n'\nWSURL = 'ws://n'\nHTTPURL = 'http://n'\nHTTPURLExtraWrite = 'http://m'\nSendOnly = false\nOrder = 1\n";
    let key = "[[EVM.KeySpecific]]\nKey = '0x514910771AF9Ca656af840dff83E8264EcF986CA'\nGasEstimator.PriceMax = '1 gwei'\n";
    let config = Desk::new()
        .config(
            "all.toml",
            &format!("{example}[[EVM]]\n{lists}{nodes}{key}"),
        )
        .load();
    let chain = &config.chains[0];
    assert_eq!(chain.key_specific.len(), 1);
    assert_eq!(chain.node_pool.errors.len(), 16);
    assert_eq!(
        chain.price_max_wei(chain.key_specific[0].key),
        U256::from(1_000_000_000_u64)
    );
}

fn example_of(key: &registry::Key) -> String {
    use config::Kind;
    match (key.path.as_str(), &key.default, key.kind) {
        ("EVM.ChainID", ..) => "'100'".into(),
        ("EVM.ChainType", ..) => "'gnosis'".into(),
        (_, Some(default), Kind::Bool | Kind::Int { .. } | Kind::List) => default.clone(),
        (_, Some(default), _) => format!("'{default}'"),
        (_, None, Kind::Int { .. }) => "7".into(),
        (_, None, Kind::Address) => "'0x514910771AF9Ca656af840dff83E8264EcF986CA'".into(),
        (_, None, Kind::Url(schemes)) => format!("'{}://example.org'", schemes[0]),
        (_, None, _) => "'some text'".into(),
    }
}

#[test]
fn validate_shows_settings_without_secrets_and_what_they_come_to() {
    let desk = Desk::new().config("node.toml", CHAIN).secrets(
        "s.toml",
        "[Database]\nURL = 'postgres://me:a-rather-long-password@db/x'\n",
    );
    let examined = desk.examine();
    let secrets = config::to_toml(&examined.secrets, &registry::SECRETS);
    assert_eq!(secrets, "[Database]\nURL = 'xxxxx'\n");
    let input = config::to_toml(&examined.input, &registry::CONFIG);
    assert!(
        input.contains("WSURL = 'wss://rpc.example.org/•••'"),
        "{input}"
    );
    insta::assert_snapshot!(
        "effective",
        config::to_toml(&examined.effective, &registry::CONFIG)
    );
}

#[test]
fn what_this_version_cannot_follow_is_refused_or_noted() {
    let with = |text: &str| {
        Desk::new().config(
            "node.toml",
            &CHAIN.replace("ChainID = '1'", &format!("ChainID = '1'\n{text}")),
        )
    };
    let report = with("Transactions.Enabled = false").report();
    assert!(
        report.contains("EVM.0.Transactions.Enabled") && report.contains("set Enabled = false"),
        "{report}"
    );
    let config =
        with("GasEstimator.Mode = 'FeeHistory'\nGasEstimator.BlockHistory.BlockHistorySize = 0")
            .load();
    assert_eq!(
        (
            config.chains[0].gas.mode,
            config.chains[0].gas.block_history.size
        ),
        (GasMode::BlockHistory, 8)
    );
    let noted = |note: &String| {
        note.starts_with("EVM.0.GasEstimator.Mode: FeeHistory is followed as BlockHistory")
    };
    assert!(config.notes.iter().any(noted), "{:?}", config.notes);
}
