-- One text for both engines (see src/migrate.rs for the few words that differ).
-- Times are microseconds since 1970; amounts and hashes are fixed-width blobs, so that they sort the
-- same on both; flags are 0 and 1; documents are JSON text.

-- Who leads which scope. The epoch row is what every leader's write proves itself against; the
-- heartbeat lives apart so that renewing it never waits for such a write.
CREATE TABLE lease_epochs (
    scope TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    token BLOB NOT NULL,
    holder TEXT NOT NULL
);
CREATE TABLE lease_heartbeats (
    scope TEXT PRIMARY KEY,
    token BLOB NOT NULL,
    session TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- ① what was seen on chain
CREATE TABLE heads (
    chain_id BIGINT NOT NULL,
    hash BLOB NOT NULL,
    number BIGINT NOT NULL,
    parent_hash BLOB NOT NULL,
    block_time BIGINT NOT NULL,
    base_fee_wei BLOB,
    receipts_root BLOB NOT NULL,
    transactions_root BLOB NOT NULL,
    state_root BLOB NOT NULL,
    canonical BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, hash)
);
CREATE INDEX heads_by_number ON heads (chain_id, number);
-- We believe in one block at a height: what is above an ancestor leaves before its successors come.
CREATE UNIQUE INDEX heads_canonical ON heads (chain_id, number) WHERE canonical = 1;
-- Moves only over blocks whose logs were really read.
CREATE TABLE scan_cursors (
    chain_id BIGINT PRIMARY KEY,
    number BIGINT NOT NULL,
    hash BLOB NOT NULL,
    finalized BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- Contracts whose recent past was read; a new job's contract is missing here until it was.
CREATE TABLE scan_filters (
    chain_id BIGINT NOT NULL,
    address BLOB NOT NULL,
    from_block BIGINT NOT NULL,
    PRIMARY KEY (chain_id, address)
);
CREATE TABLE logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chain_id BIGINT NOT NULL,
    block_hash BLOB NOT NULL,
    log_index BIGINT NOT NULL,
    block_number BIGINT NOT NULL,
    address BLOB NOT NULL,
    topics BLOB NOT NULL,
    data BLOB NOT NULL,
    tx_hash BLOB NOT NULL,
    -- who decides what it means: requests, rounds
    reader TEXT NOT NULL,
    state TEXT NOT NULL,
    note TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (chain_id, block_hash, log_index)
);
CREATE INDEX logs_pending ON logs (chain_id, block_number) WHERE state = 'pending';
CREATE INDEX logs_by_block ON logs (chain_id, block_number);

-- ② what is to be done
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    external_job_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    schema_version BIGINT NOT NULL,
    toml TEXT NOT NULL,
    dot TEXT NOT NULL,
    chain_id BIGINT,
    contract_address BLOB,
    min_confirmations BIGINT,
    min_payment_juels BLOB,
    requesters TEXT NOT NULL,
    gas_limit BIGINT,
    forwarding_allowed BIGINT NOT NULL,
    max_task_duration_us BIGINT,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX jobs_by_contract ON jobs (chain_id, contract_address) WHERE deleted_at IS NULL;
-- A request finds its job by the topic it carries: one lookup, however many jobs there are.
CREATE TABLE job_topics (
    chain_id BIGINT NOT NULL,
    address BLOB NOT NULL,
    topic BLOB NOT NULL,
    job_id BIGINT NOT NULL,
    PRIMARY KEY (chain_id, address, topic)
);
CREATE TABLE job_errors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id BIGINT NOT NULL,
    description TEXT NOT NULL,
    occurrences BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (job_id, description)
);
-- When each cron job runs next: the run and the time after it are one commit.
CREATE TABLE schedules (
    job_id BIGINT PRIMARY KEY,
    schedule TEXT NOT NULL,
    next_at BIGINT NOT NULL
);
CREATE INDEX schedules_due ON schedules (next_at);
-- Programs outside that may start runs of the webhook jobs that list them.
CREATE TABLE initiators (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    url TEXT,
    access_key TEXT NOT NULL UNIQUE,
    salt TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    outgoing_token TEXT NOT NULL,
    outgoing_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX initiators_by_name ON initiators (LOWER(name));
CREATE TABLE job_initiators (
    job_id BIGINT NOT NULL,
    initiator_id BIGINT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (job_id, initiator_id)
);
CREATE INDEX job_initiators_by_initiator ON job_initiators (initiator_id);
-- What initiators still have to be told about jobs; gone once told or given up.
CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    initiator_id BIGINT NOT NULL,
    external_job_id TEXT NOT NULL,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    body TEXT,
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX notices_by_job ON notices (initiator_id, external_job_id, id);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chain_id BIGINT NOT NULL,
    oracle BLOB NOT NULL,
    request_id BLOB NOT NULL,
    life BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    job_id BIGINT NOT NULL,
    run_id BIGINT,
    -- the current incarnation
    incarnation BIGINT NOT NULL,
    block_hash BLOB NOT NULL,
    block_number BIGINT NOT NULL,
    log_index BIGINT NOT NULL,
    tx_hash BLOB NOT NULL,
    requester BLOB NOT NULL,
    payment_juels BLOB NOT NULL,
    expires_at_seconds BIGINT NOT NULL,
    callback_address BLOB NOT NULL,
    terms BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (chain_id, oracle, request_id, life)
);
CREATE INDEX requests_by_block ON requests (chain_id, block_number);
CREATE INDEX requests_by_run ON requests (run_id);

-- Flux monitors: when each looks at its aggregator next, written by the leader of its chain.
CREATE TABLE flux_monitors (
    job_id BIGINT PRIMARY KEY,
    chain_id BIGINT NOT NULL,
    contract BLOB NOT NULL,
    due_at BIGINT NOT NULL,
    run_id BIGINT,
    seen_round BIGINT,
    standing TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX flux_monitors_due ON flux_monitors (chain_id, due_at);
CREATE INDEX flux_monitors_by_contract ON flux_monitors (chain_id, contract);
-- What their runs found and sent, written by whoever executes them.
CREATE TABLE flux_answers (
    job_id BIGINT PRIMARY KEY,
    seen_value TEXT NOT NULL,
    reported_run BIGINT,
    reported_round BIGINT,
    reported_value TEXT,
    updated_at BIGINT NOT NULL
);

-- ③ runs and their tasks
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    generation BIGINT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    fatal_errors TEXT NOT NULL,
    all_errors TEXT NOT NULL,
    claimed_by TEXT,
    claim_expires_at BIGINT,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX runs_waiting ON runs (id) WHERE state = 'running';
CREATE INDEX runs_by_job ON runs (job_id, id);
CREATE INDEX runs_ended ON runs (finished_at) WHERE state IN ('completed', 'errored');
CREATE TABLE task_runs (
    id TEXT PRIMARY KEY,
    run_id BIGINT NOT NULL,
    dot_id TEXT NOT NULL,
    type TEXT NOT NULL,
    task_index BIGINT NOT NULL,
    source BIGINT NOT NULL,
    value TEXT,
    output TEXT,
    error TEXT,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (run_id, dot_id)
);

-- ④⑤ transactions
CREATE TABLE txs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chain_id BIGINT NOT NULL,
    from_address BLOB NOT NULL,
    to_address BLOB NOT NULL,
    payload BLOB NOT NULL,
    payload_version BIGINT NOT NULL,
    value_wei BLOB NOT NULL,
    gas_limit BIGINT NOT NULL,
    nonce BIGINT,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    task_run_id TEXT,
    superseded BIGINT NOT NULL,
    run_id BIGINT,
    job_id BIGINT,
    request_row BIGINT,
    min_confirmations BIGINT,
    fail_on_revert BIGINT NOT NULL,
    signal_needed BIGINT NOT NULL,
    meta TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    checks_failed BIGINT NOT NULL,
    mined_hash BLOB,
    mined_block_hash BLOB,
    mined_block_number BIGINT,
    succeeded BIGINT,
    receipt TEXT,
    created_at BIGINT NOT NULL,
    sent_at BIGINT,
    last_sent_at BIGINT,
    mined_at BIGINT
);
CREATE UNIQUE INDEX txs_by_nonce ON txs (chain_id, from_address, nonce) WHERE nonce IS NOT NULL;
-- One task run can have one living transaction.
CREATE UNIQUE INDEX txs_by_task_run ON txs (task_run_id) WHERE task_run_id IS NOT NULL AND superseded = 0;
-- One small index for each question that is asked all the time. SQLite uses a partial index only where
-- the question repeats its condition word by word.
CREATE INDEX txs_queued ON txs (chain_id, from_address) WHERE state = 'queued';
CREATE INDEX txs_in_flight ON txs (chain_id, from_address, nonce) WHERE state IN ('signed', 'sent');
CREATE INDEX txs_mined ON txs (chain_id, mined_block_number) WHERE state = 'mined';
CREATE INDEX txs_awaited ON txs (chain_id, id) WHERE signal_needed = 1;
CREATE INDEX txs_ended ON txs (created_at) WHERE state IN ('final', 'dead');
CREATE INDEX txs_by_request ON txs (request_row);
-- Every signature ever made: any of them may be the one that is mined.
CREATE TABLE tx_attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tx_id BIGINT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL,
    payload_version BIGINT NOT NULL,
    tx_type BIGINT NOT NULL,
    gas_price_wei BLOB,
    fee_cap_wei BLOB,
    tip_cap_wei BLOB,
    gas_limit BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    first_block BIGINT,
    note TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX attempts_by_tx ON tx_attempts (tx_id);

-- keys, people, bridges
CREATE TABLE key_rings (
    id BIGINT PRIMARY KEY,
    sealed BLOB NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE key_states (
    chain_id BIGINT NOT NULL,
    address BLOB NOT NULL,
    disabled BIGINT NOT NULL,
    next_nonce BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    balance_wei BLOB,
    link_juels BLOB,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (chain_id, address)
);
CREATE TABLE users (
    email TEXT PRIMARY KEY,
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    token_key TEXT UNIQUE,
    token_salt TEXT,
    token_hash TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE TABLE sessions (
    id_hash TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);
CREATE TABLE bridges (
    name TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    confirmations BIGINT NOT NULL,
    incoming_token_hash TEXT NOT NULL,
    salt TEXT NOT NULL,
    outgoing_token TEXT NOT NULL,
    min_payment_juels BLOB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- The last good answer of each bridge task that may fall back on it.
CREATE TABLE bridge_answers (
    source_hash BLOB NOT NULL,
    dot_id TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (source_hash, dot_id)
);
CREATE INDEX bridge_answers_by_age ON bridge_answers (updated_at);
-- Findings that an operator should read (for example: an oracle's owner is a sending key).
CREATE TABLE warnings (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
