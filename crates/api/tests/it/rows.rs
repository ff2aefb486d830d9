//! What the stages would have written.

use std::time::Duration;

use dodona_model::{
    Address, B256, BlockRef, Bytes, JobId, RequestRow, RunId, Timestamp, TxId, U256, request, run,
};
use dodona_runtime::clock;
use dodona_store::heads::{Cursor, Head};
use dodona_store::jobs::NewJob;
use dodona_store::logs::Log;
use dodona_store::requests::{Incarnation, NewRequest};
use dodona_store::runs::{Finish, TaskRun};
use dodona_store::txs::{Fee, Inclusion, NewAttempt, NewTx};
use dodona_store::{Leader, LeaseConfig, Scope, Store, heads, jobs, logs, requests, runs, txs};
use uuid::Uuid;

use crate::harness::CHAIN;

pub(crate) const ORACLE: Address = Address::repeat_byte(0x0a);
pub(crate) const KEY: Address = Address::repeat_byte(0xbb);
/// A moment in November 2023.
pub(crate) const THEN: Timestamp = Timestamp(1_700_000_000_000_000);

pub(crate) fn block(number: u64) -> BlockRef {
    BlockRef {
        number,
        hash: B256::with_last_byte(number as u8),
    }
}

pub(crate) async fn leader(store: &Store) -> Leader {
    Leader::try_acquire(store, &Scope::chain(CHAIN), "test", &LeaseConfig::default())
        .await
        .unwrap()
        .expect("nobody else leads")
}

/// A job that was stored before the API began.
pub(crate) async fn job(store: &Store, name: &str, dot: &str) -> JobId {
    let new = NewJob {
        external_job_id: Uuid::new_v4(),
        name: name.to_owned(),
        kind: "directrequest".to_owned(),
        schema_version: 1,
        toml: "as written".to_owned(),
        dot: dot.to_owned(),
        chain_id: Some(CHAIN),
        contract_address: Some(ORACLE),
        min_confirmations: None,
        min_payment_juels: None,
        requesters: vec![],
        gas_limit: None,
        forwarding_allowed: false,
        max_task_duration: None,
    };
    let mut tx = store.begin().await.unwrap();
    let id = jobs::insert(&mut tx, &new, THEN).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A run with two finished tasks.
pub(crate) async fn finished_run(store: &Store, job: JobId, error: Option<&str>) -> RunId {
    let mut tx = store.begin().await.unwrap();
    let inputs = r#"{"seed":"e6830513-fb74-4222-b52a-509459545a4e","vars":{"jobRun":{"logBlockNumber":"~u:17","logAddress":"~a:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"}}}"#;
    let id = runs::insert(&mut tx, job, inputs, THEN).await.unwrap();
    runs::claim(&mut tx, "test", Duration::from_secs(60), 100)
        .await
        .unwrap();
    let task = |dot_id: &str, kind: &str, output: Option<&str>, error: Option<&str>| TaskRun {
        id: Uuid::new_v4(),
        run_id: id,
        dot_id: dot_id.to_owned(),
        kind: kind.to_owned(),
        task_index: 0,
        source: kind == "http",
        value: output.map(str::to_owned),
        output: output.map(str::to_owned),
        error: error.map(str::to_owned),
        attempts: 1,
        created_at: THEN,
        finished_at: Some(THEN.plus(Duration::from_millis(120))),
    };
    let tasks = [
        task("fetch", "http", Some(r#""{\"price\":1}""#), None),
        task(
            "times",
            "multiply",
            error.is_none().then_some(r#""100""#),
            error,
        ),
    ];
    runs::save_tasks(&mut tx, &tasks).await.unwrap();
    let text = |value: Option<&str>| serde_json::to_string(&[value]).unwrap();
    let end = Finish {
        state: if error.is_some() {
            run::State::Errored
        } else {
            run::State::Completed
        },
        outputs: text(error.is_none().then_some("100")),
        fatal_errors: text(error),
        all_errors: serde_json::to_string(&[None, error]).unwrap(),
    };
    assert!(
        runs::finish(
            &mut tx,
            id,
            "test",
            1,
            &end,
            THEN.plus(Duration::from_millis(150))
        )
        .await
        .unwrap()
    );
    tx.commit().await.unwrap();
    id
}

/// A run somebody is executing, one task begun.
pub(crate) async fn running_run(store: &Store, job: JobId) -> RunId {
    let mut tx = store.begin().await.unwrap();
    let id = runs::insert(&mut tx, job, "{}", THEN).await.unwrap();
    let task = TaskRun {
        id: Uuid::new_v4(),
        run_id: id,
        dot_id: "fetch".to_owned(),
        kind: "http".to_owned(),
        task_index: 0,
        source: true,
        value: None,
        output: None,
        error: None,
        attempts: 1,
        created_at: THEN,
        finished_at: None,
    };
    runs::save_tasks(&mut tx, &[task]).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A canonical head that was first seen `age` ago, and a log in it that waits.
pub(crate) async fn head(store: &Store, leader: &Leader, number: u64, age: Duration) {
    let seen_at = clock::now().minus(age);
    let mut tx = leader.begin().await.unwrap();
    let head = Head {
        block: block(number),
        parent_hash: B256::ZERO,
        block_time: 1_700_000_000,
        base_fee_wei: None,
        receipts_root: B256::ZERO,
        transactions_root: B256::ZERO,
        state_root: B256::ZERO,
        canonical: true,
        seen_at,
    };
    heads::insert(&mut tx, CHAIN, &head).await.unwrap();
    let cursor = Cursor {
        block: block(number),
        finalized: number,
        updated_at: seen_at,
    };
    heads::set_cursor(&mut tx, CHAIN, &cursor).await.unwrap();
    let log = Log {
        id: 0,
        block: block(number),
        log_index: 0,
        address: ORACLE,
        topics: vec![],
        data: Bytes::new(),
        tx_hash: B256::ZERO,
        seen_at,
    };
    logs::insert(&mut tx, CHAIN, &log).await.unwrap();
    tx.commit().await.unwrap();
    let _ = store;
}

/// A request in this state.
pub(crate) async fn request(
    leader: &Leader,
    job: JobId,
    n: u8,
    state: request::State,
) -> RequestRow {
    let mut tx = leader.begin().await.unwrap();
    let new = NewRequest {
        chain_id: CHAIN,
        oracle: ORACLE,
        request_id: B256::with_last_byte(n),
        life: 1,
        state,
        reason: String::new(),
        job_id: job,
        run_id: None,
        requester: Address::repeat_byte(0x0c),
        incarnation: Incarnation {
            block: block(17),
            log_index: u64::from(n),
            tx_hash: B256::ZERO,
            payment_juels: U256::from(1),
            expires_at_seconds: 0,
            callback_address: Address::ZERO,
            terms: B256::ZERO,
        },
    };
    let id = requests::insert(&mut tx, &new, THEN).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// A transaction that waits for a nonce.
pub(crate) async fn queued_tx(store: &Store) -> TxId {
    let mut tx = store.begin().await.unwrap();
    let new = NewTx {
        chain_id: CHAIN,
        from: KEY,
        to: ORACLE,
        payload: Bytes::from_static(&[0x4a, 0xb0, 0xd1, 0x90]),
        value_wei: U256::from(1_500_000_000_000_000_000u64),
        gas_limit: 500_000,
        task_run_id: None,
        run_id: Some(3),
        job_id: Some(2),
        request_row: None,
        min_confirmations: None,
        fail_on_revert: false,
        simulate: false,
        signal_needed: false,
        meta: "{}".to_owned(),
    };
    let id = txs::queue(&mut tx, &new, THEN).await.unwrap();
    tx.commit().await.unwrap();
    id
}

/// Signs it for this nonce: an EIP-1559 attempt whose hash ends in `hash`.
pub(crate) async fn sign(leader: &Leader, id: TxId, nonce: u64, hash: u8) {
    let mut tx = leader.begin().await.unwrap();
    let row = txs::find(&mut tx, id).await.unwrap().unwrap();
    assert!(
        txs::sign(&mut tx, &row, nonce, &attempt(id, hash), THEN)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
}

pub(crate) fn attempt(id: TxId, hash: u8) -> NewAttempt {
    NewAttempt {
        tx_id: id,
        hash: B256::with_last_byte(hash),
        raw: Bytes::from_static(&[0x02, 0xf8]),
        payload_version: 1,
        fee: Fee::Dynamic {
            fee_cap: U256::from(3_000_000_000u64),
            tip_cap: U256::from(1_000_000_000u64),
        },
        gas_limit: 500_000,
        first_block: Some(15),
    }
}

/// One more signature for the same nonce, with a legacy fee.
pub(crate) async fn bump(leader: &Leader, id: TxId, hash: u8) {
    let mut tx = leader.begin().await.unwrap();
    let mut higher = attempt(id, hash);
    higher.fee = Fee::Legacy {
        gas_price: U256::from(4_000_000_000u64),
    };
    txs::insert_attempt(&mut tx, &higher, THEN).await.unwrap();
    tx.commit().await.unwrap();
}

/// The attempt with this hash is in block 17.
pub(crate) async fn mine(leader: &Leader, id: TxId, hash: u8) {
    let mut tx = leader.begin().await.unwrap();
    let row = txs::find(&mut tx, id).await.unwrap().unwrap();
    let inclusion = Inclusion {
        hash: B256::with_last_byte(hash),
        block: block(17),
        succeeded: true,
        receipt: "{}".to_owned(),
    };
    assert!(
        txs::include(&mut tx, &row, &inclusion, "", THEN)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
}
