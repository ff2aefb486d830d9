//! `bridge`: asks an external adapter of the operator's.

use std::time::{Duration, Instant};

use crate::convert::{boolean, json_text, map, string};
use crate::duration::parse_duration;
use crate::error::{TaskError, excerpt};
use crate::observe;
use crate::ports::{BridgeCacheKey, HttpCall, HttpReply, Reach};
use crate::value::{Numbers, Value};

use super::http::{body_value, failed, headers, shown, status_error};
use super::{ANY_NUMBER, Done, Task, resolve, timed_out};

pub(super) async fn run(task: &Task<'_>) -> Result<Done, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        name = task.param("name").literal().to(string),
        data = task.param("requestData").expression().json().or(Value::Null).to(map),
        key = task.param("includeInputAtKey").raw().to(string),
        headers = headers(task),
        cache_ttl = cache_ttl(task),
        check = task.param("checkRequired").literal().or(false).to(boolean),
    };
    let is_async = task.def.suspends();
    let mut body = data;
    if let (false, Some(Ok(input))) = (key.is_empty(), task.inputs.first()) {
        body.insert(key, Value::clone(input));
    }
    if let Ok(meta @ Value::Map(_)) = task.vars.get("jobRun.meta") {
        body.insert("meta".to_owned(), meta.clone());
    }
    if is_async {
        body.insert("responseURL".to_owned(), Value::String(response_url(task)));
    }
    let target = task.ports.bridge(&name).await.map_err(TaskError::new)?;
    let mut call = HttpCall {
        reach: Reach::Unrestricted,
        idempotency_key: Some(task.task_run_id),
        ..task.http_call("POST", target.url.clone(), headers, Some(Value::Map(body)))
    };
    call.origin.bridge = Some(name.clone());
    let began = Instant::now();
    let answer = match ask(task, call).await {
        Ok(reply) if is_async && answers_later(&reply) => return Ok(Done::Pending),
        Ok(reply) => judge(&shown(&target.url), &reply)
            .and_then(|()| match check && !cache_ttl.is_zero() {
                true => has_required(task, &reply),
                false => Ok(()),
            })
            .map(|()| body_value(&reply)),
        Err(error) => Err(error),
    };
    observe::bridge_answered(&name, began.elapsed());
    let key = BridgeCacheKey {
        dot_id: task.def.dot_id.clone(),
        source_hash: task.source_hash,
    };
    match answer {
        Ok(value) => {
            if !cache_ttl.is_zero() {
                task.ports.cache_bridge_answer(&key, &value).await;
            }
            Ok(Done::Value(value))
        }
        Err(error) => {
            observe::bridge_failed(&name, &error);
            stand_in(task, &name, &key, cache_ttl)
                .await
                .map(Done::Value)
                .ok_or(error)
        }
    }
}

/// The answer, when it comes in time. The limit is kept here and not around the whole task, because a
/// bridge that is too slow has failed like any other and its last good answer may stand in.
async fn ask(task: &Task<'_>, call: HttpCall) -> Result<HttpReply, TaskError> {
    let asked = task.ports.http(call);
    let answer = match task.time_limit {
        None => asked.await,
        Some((limit, whose)) => match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => return Err(timed_out(task.def, limit, whose)),
        },
    };
    answer.map_err(|error| failed(&error))
}

/// The bridge's last good answer, when the job allows it. Only ever after a failure.
async fn stand_in(
    task: &Task<'_>,
    name: &str,
    key: &BridgeCacheKey,
    ttl: Duration,
) -> Option<Value> {
    if ttl.is_zero() {
        return None;
    }
    let cached = task.ports.cached_bridge_answer(key, ttl).await;
    match cached {
        Some(_) => observe::bridge_cache_used(name),
        None => observe::bridge_cache_missed(name),
    }
    cached
}

/// An answer without a path that the job needs is no answer: an earlier one is better.
fn has_required(task: &Task<'_>, reply: &HttpReply) -> Result<(), TaskError> {
    for path in &task.def.required_paths {
        super::jsonparse::pick(&reply.body, path).map_err(|error| {
            error.within("the answer lacks what a jsonparse task needs (checkRequired)")
        })?;
    }
    Ok(())
}

/// Whole seconds; less than one switches the cache off.
fn cache_ttl(task: &Task<'_>) -> Result<Duration, TaskError> {
    let ttl = match task.def.attribute("cacheTTL").map(str::trim) {
        None | Some("") => task.limits.bridge_cache_ttl,
        Some(text) => {
            parse_duration(text).map_err(|e| TaskError::bad_input(e).within("cacheTTL"))?
        }
    };
    Ok(Duration::from_secs(ttl.as_secs()))
}

fn response_url(task: &Task<'_>) -> String {
    match task.limits.bridge_response_url.as_deref() {
        None | Some("") => String::new(),
        Some(base) => {
            format!(
                "{}/v2/resume/{}",
                base.trim_end_matches('/'),
                task.task_run_id
            )
        }
    }
}

fn answers_later(reply: &HttpReply) -> bool {
    if reply.status >= 400 {
        return false;
    }
    let by_header = reply
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("x-chainlink-pending"));
    let fields = || json_text(&reply.body, Numbers::Exact);
    by_header
        || matches!(fields(), Ok(Value::Map(f)) if f.get("pending") == Some(&Value::Bool(true)))
}

/// An adapter may answer 200 and say inside that it failed.
fn judge(url: &str, reply: &HttpReply) -> Result<(), TaskError> {
    let fields = match json_text(&reply.body, Numbers::Exact) {
        Ok(Value::Map(fields)) => fields,
        _ => Default::default(),
    };
    if let Some(Value::Map(error)) = fields.get("error")
        && let (Some(Value::String(name)), Some(Value::String(message))) =
            (error.get("name"), error.get("message"))
        && effective_status(reply, &fields) != 200
    {
        return Err(TaskError::new(format!(
            "{}: {}",
            excerpt(name, 200),
            excerpt(message, 1_000)
        )));
    }
    if reply.status >= 400 {
        return Err(status_error(url, reply));
    }
    match effective_status(reply, &fields) {
        200 => Ok(()),
        // The reference node may return null without an error here; nothing good follows from it.
        status => {
            let text = excerpt(&String::from_utf8_lossy(&reply.body), 1_000);
            Err(TaskError::new(format!(
                "got error from {url}: (status code {status}) {text}"
            )))
        }
    }
}

/// What the adapter says about itself, where it says something; any HTTP status below 400 is
/// otherwise a success.
fn effective_status(reply: &HttpReply, fields: &std::collections::BTreeMap<String, Value>) -> i64 {
    if reply.status >= 400 {
        return i64::from(reply.status);
    }
    let whole = |name: &str| match fields.get(name) {
        Some(Value::Int(n)) => Some(*n),
        _ => None,
    };
    let Some(own) = whole("statusCode") else {
        return 200;
    };
    if own != 200 {
        return own;
    }
    match whole("providerStatusCode") {
        Some(provider) if provider != 200 => provider,
        _ if fields.get("error").is_some_and(|e| *e != Value::Null) => 500,
        _ => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &str) -> Result<(), String> {
        let reply = HttpReply {
            status,
            headers: vec![],
            body: body.to_owned().into(),
        };
        judge("http://bridge/", &reply).map_err(|e| e.to_string())
    }

    #[test]
    fn an_adapter_that_admits_failure_inside_a_200_has_failed() {
        assert_eq!(verdict(200, r#"{"data":1}"#), Ok(()));
        assert_eq!(verdict(200, "not json"), Ok(()));
        assert_eq!(verdict(204, ""), Ok(()));
        assert_eq!(verdict(200, r#"{"statusCode":200,"error":null}"#), Ok(()));
        assert_eq!(
            verdict(
                200,
                r#"{"statusCode":502,"error":{"name":"AdapterError","message":"down"}}"#
            ),
            Err("AdapterError: down".into())
        );
        assert!(
            verdict(200, r#"{"statusCode":200,"providerStatusCode":429}"#)
                .unwrap_err()
                .contains("429")
        );
        assert!(
            verdict(200, r#"{"statusCode":200,"error":"x"}"#)
                .unwrap_err()
                .contains("500")
        );
        assert_eq!(
            verdict(500, r#"{"error":"boom"}"#),
            Err("got error from http://bridge/: (status code 500) boom".into())
        );
    }
}
