//! A small world for tasks: scripted data sources, bridges and a chain.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::Bytes;
use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{
    BridgeCacheKey, BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, Outcome,
    Pipeline, Ports, RunInput, StoredResult, TaskResult, Value, execute,
};
use futures_util::future::BoxFuture;

type Answer = Result<HttpReply, HttpError>;

#[derive(Default)]
pub(crate) struct World {
    answers: Mutex<HashMap<String, VecDeque<(Duration, Answer)>>>,
    /// For whoever is not named.
    anybody: Mutex<Option<Answer>>,
    bridges: Mutex<HashMap<String, String>>,
    cached: Mutex<Option<Value>>,
    contract: Mutex<Option<Result<Bytes, EthCallError>>>,
    gas: Mutex<Option<Result<u64, EthCallError>>>,
    pub(crate) calls: Mutex<Vec<HttpCall>>,
    pub(crate) estimates: Mutex<Vec<EstimateGas>>,
    pub(crate) chain_calls: Mutex<Vec<EthCall>>,
    pub(crate) finished: Mutex<Vec<TaskResult>>,
    pub(crate) keeps: Mutex<Vec<Value>>,
    /// What happened, in order.
    pub(crate) story: Mutex<Vec<String>>,
}

pub(crate) fn reply(status: u16, body: &str) -> HttpReply {
    HttpReply {
        status,
        headers: Vec::new(),
        body: body.to_owned().into(),
    }
}

impl World {
    /// The next request to `url` is answered so; the last answer is repeated.
    pub(crate) fn answers(self, url: &str, status: u16, body: &str) -> Self {
        self.answers_with(url, Duration::ZERO, Ok(reply(status, body)))
    }

    pub(crate) fn answers_with(self, url: &str, after: Duration, answer: Answer) -> Self {
        self.answers
            .lock()
            .unwrap()
            .entry(url.to_owned())
            .or_default()
            .push_back((after, answer));
        self
    }

    /// Every request to a place that is not named otherwise is answered so.
    pub(crate) fn answers_anybody(self, answer: Answer) -> Self {
        *self.anybody.lock().unwrap() = Some(answer);
        self
    }

    pub(crate) fn bridge(self, name: &str, url: &str) -> Self {
        self.bridges
            .lock()
            .unwrap()
            .insert(name.to_owned(), url.to_owned());
        self
    }

    pub(crate) fn remembers(self, answer: Value) -> Self {
        *self.cached.lock().unwrap() = Some(answer);
        self
    }

    pub(crate) fn contract(self, answer: Result<Bytes, EthCallError>) -> Self {
        *self.contract.lock().unwrap() = Some(answer);
        self
    }

    pub(crate) fn gas(self, answer: Result<u64, EthCallError>) -> Self {
        *self.gas.lock().unwrap() = Some(answer);
        self
    }

    pub(crate) fn the_call(&self) -> HttpCall {
        let calls = self.calls.lock().unwrap();
        assert_eq!(calls.len(), 1, "calls: {calls:?}");
        calls[0].clone()
    }
}

impl Ports for World {
    fn http(&self, call: HttpCall) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let url = call.url.to_string();
            self.story
                .lock()
                .unwrap()
                .push(format!("{} asks", call.origin.dot_id));
            self.calls.lock().unwrap().push(call);
            let known = self.answers.lock().unwrap().contains_key(&url);
            if let (false, Some(answer)) = (known, self.anybody.lock().unwrap().clone()) {
                return answer;
            }
            let next = {
                let mut all = self.answers.lock().unwrap();
                let queue = all
                    .get_mut(&url)
                    .unwrap_or_else(|| panic!("nobody answers at {url}"));
                if queue.len() > 1 {
                    queue.pop_front()
                } else {
                    queue.front().cloned()
                }
            };
            let (after, answer) = next.expect("a queue is made with its first answer");
            tokio::time::sleep(after).await;
            answer
        })
    }

    fn bridge(&self, name: &str) -> BoxFuture<'_, Result<BridgeTarget, String>> {
        let found = self
            .bridges
            .lock()
            .unwrap()
            .get(name)
            .map(|url| url.parse().unwrap());
        let result = found
            .map(|url| BridgeTarget { url })
            .ok_or_else(|| format!("could not find bridge with name '{name}'"));
        Box::pin(std::future::ready(result))
    }

    fn eth_call(&self, call: EthCall) -> BoxFuture<'_, Result<Bytes, EthCallError>> {
        self.chain_calls.lock().unwrap().push(call);
        let answer = self.contract.lock().unwrap().clone();
        Box::pin(std::future::ready(
            answer.expect("the test scripts the contract"),
        ))
    }

    fn estimate_gas(&self, call: EstimateGas) -> BoxFuture<'_, Result<u64, EthCallError>> {
        self.estimates.lock().unwrap().push(call);
        let answer = self.gas.lock().unwrap().clone();
        Box::pin(std::future::ready(
            answer.expect("the test scripts the gas"),
        ))
    }

    fn finished<'a>(&'a self, task: &'a TaskResult) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Storing takes a moment; nothing that depends on the task may start meanwhile.
            tokio::task::yield_now().await;
            self.story
                .lock()
                .unwrap()
                .push(format!("{} stored", task.dot_id));
            self.finished.lock().unwrap().push(task.clone());
        })
    }

    fn cached_bridge_answer<'a>(
        &'a self,
        _key: &'a BridgeCacheKey,
        _max_age: Duration,
    ) -> BoxFuture<'a, Option<Value>> {
        Box::pin(std::future::ready(self.cached.lock().unwrap().clone()))
    }

    fn cache_bridge_answer<'a>(
        &'a self,
        _key: &'a BridgeCacheKey,
        answer: &'a Value,
    ) -> BoxFuture<'a, ()> {
        self.keeps.lock().unwrap().push(answer.clone());
        Box::pin(std::future::ready(()))
    }
}

/// A run from nothing but its source.
pub(crate) async fn run(source: &str) -> Outcome {
    run_in(source, World::default(), input([])).await.0
}

pub(crate) async fn run_in(source: &str, world: World, input: RunInput) -> (Outcome, Arc<World>) {
    let pipeline = Pipeline::parse(source).unwrap_or_else(|e| panic!("{e}"));
    let world = Arc::new(world);
    let outcome = execute(&pipeline, input, Arc::clone(&world) as Arc<dyn Ports>).await;
    (outcome, world)
}

/// Input with variables.
pub(crate) fn input<const N: usize>(vars: [(&str, Value); N]) -> RunInput {
    let mut all = BTreeMap::from([(
        "jobSpec".to_owned(),
        Value::map([
            ("databaseID", Value::Int(7)),
            ("name", Value::from("a job")),
            ("evmChainID", Value::from("31337")),
        ]),
    )]);
    all.extend(vars.into_iter().map(|(k, v)| (k.to_owned(), v)));
    RunInput {
        run_id: 1,
        vars: all,
        ..RunInput::default()
    }
}

pub(crate) fn stands(value: impl Into<Value>) -> StoredResult {
    StoredResult {
        output: Ok(value.into()),
    }
}

/// The result of one task of an outcome.
pub(crate) fn result<'a>(outcome: &'a Outcome, dot_id: &str) -> &'a TaskResult {
    let found = outcome.results.iter().find(|r| r.dot_id == dot_id);
    found.unwrap_or_else(|| panic!("{dot_id} has no result in {outcome:?}"))
}

pub(crate) fn error<'a>(outcome: &'a Outcome, dot_id: &str) -> &'a str {
    let found = result(outcome, dot_id);
    found
        .error
        .as_deref()
        .unwrap_or_else(|| panic!("{dot_id} did not fail: {found:?}"))
}

pub(crate) fn output<'a>(outcome: &'a Outcome, dot_id: &str) -> &'a Value {
    let found = result(outcome, dot_id);
    found
        .output
        .as_ref()
        .unwrap_or_else(|| panic!("{dot_id} has no value: {found:?}"))
}
