//! One task on hostile values. A panic inside a task is caught by the engine and becomes its error,
//! so it is looked for there.

use std::collections::BTreeMap;
use std::sync::Arc;

use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{
    BridgeTarget, EstimateGas, EthCall, EthCallError, HttpCall, HttpReply, Pipeline, Ports, RunInput, TaskResult,
    Value, execute,
};

type Future<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

struct Nobody;

impl Ports for Nobody {
    fn http(&self, _: HttpCall) -> Future<'_, Result<HttpReply, HttpError>> {
        Box::pin(std::future::ready(Err(HttpError::TimedOut)))
    }
    fn bridge(&self, _: &str) -> Future<'_, Result<BridgeTarget, String>> {
        Box::pin(std::future::ready(Err(String::new())))
    }
    fn eth_call(&self, _: EthCall) -> Future<'_, Result<alloy_primitives::Bytes, EthCallError>> {
        Box::pin(std::future::ready(Err(EthCallError::Unavailable(String::new()))))
    }
    fn estimate_gas(&self, _: EstimateGas) -> Future<'_, Result<u64, EthCallError>> {
        Box::pin(std::future::ready(Err(EthCallError::Unavailable(String::new()))))
    }
    fn finished<'a>(&'a self, _: &'a TaskResult) -> Future<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub fn run(source: &str, data: &[u8], text: &str) {
    let Ok(pipeline) = Pipeline::parse(source) else { return };
    let x = Value::map([
        ("data", Value::from(data.to_vec())),
        ("text", Value::from(text)),
        ("document", Value::from(r#"{"a":[{"b":1}],"c":{}}"#)),
    ]);
    let input = RunInput { vars: BTreeMap::from([("x".to_owned(), x)]), ..RunInput::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let outcome = runtime.block_on(execute(&pipeline, input, Arc::new(Nobody)));
    for error in outcome.all_errors.iter().flatten() {
        assert!(!error.contains("panicked"), "{error}");
    }
}
