//! `http`: asks a data source.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::convert::{boolean, json_text, map, strings, url};
use crate::egress::HttpError;
use crate::error::{TaskError, excerpt};
use crate::graph::TaskDef;
use crate::observe;
use crate::ports::{CallOrigin, HttpCall, HttpReply, Reach};
use crate::value::{Numbers, Value};

use super::{ANY_NUMBER, Task, resolve};

/// The method as it will be sent.
pub(super) fn method(def: &TaskDef) -> &str {
    match def.attribute("method").map(str::trim) {
        None | Some("") => "GET",
        Some(method) => method,
    }
}

pub(super) async fn run(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        url = task.param("url").expression().literal().to(url),
        body = task.param("requestData").expression().json().or(Value::Null).to(optional_map),
        headers = headers(task),
        // The reference node assumes true for a literal URL. Here private addresses are reached
        // only where the job says so.
        unrestricted = task.param("allowUnrestrictedNetworkAccess").literal().or(false).to(boolean),
    };
    let method = method(task.def);
    let call = HttpCall {
        reach: if unrestricted {
            Reach::Unrestricted
        } else {
            Reach::Restricted
        },
        idempotency_key: (!method.eq_ignore_ascii_case("GET")).then_some(task.task_run_id),
        ..task.http_call(method, url, headers, body.map(Value::Map))
    };
    let shown_url = shown(&call.url);
    let began = Instant::now();
    let reply = task
        .ports
        .http(call)
        .await
        .map_err(|error| failed(&error))?;
    observe::http_fetched(&task.def.dot_id, began.elapsed(), reply.body.len());
    if reply.status >= 400 {
        return Err(status_error(&shown_url, &reply));
    }
    Ok(body_value(&reply))
}

impl Task<'_> {
    /// A call with everything that is the same for `http` and `bridge`.
    pub(super) fn http_call(
        &self,
        method: &str,
        url: url::Url,
        headers: Vec<(String, String)>,
        body: Option<Value>,
    ) -> HttpCall {
        HttpCall {
            reach: Reach::Restricted,
            method: method.to_owned(),
            url,
            headers,
            body: body.map(|b| b.to_http_json().into_bytes()),
            timeout: self.time_limit.map(|(limit, _)| limit),
            max_response_bytes: self.limits.max_response_bytes,
            idempotency_key: None,
            origin: CallOrigin {
                external_job_id: self.vars.label("jobSpec.externalJobID").into_owned(),
                run_id: self.run_id,
                dot_id: self.def.dot_id.clone(),
                bridge: None,
                requester_chose_url: self.def.url_from_request,
            },
        }
    }
}

/// The `headers` attribute: a JSON list of names and values in turn.
pub(super) fn headers(task: &Task<'_>) -> Result<Vec<(String, String)>, TaskError> {
    let flat = task.param("headers").literal().or("[]").to(strings)?;
    if flat.len() % 2 != 0 {
        return Err(TaskError::bad_input(
            "headers: names and values must come in pairs",
        ));
    }
    let mut headers: Vec<(String, String)> = flat
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        headers.insert(
            0,
            ("Content-Type".to_owned(), "application/json".to_owned()),
        );
    }
    Ok(headers)
}

fn optional_map(value: &Value) -> Result<Option<BTreeMap<String, Value>>, TaskError> {
    match value {
        Value::Null => Ok(None),
        other => map(other).map(Some),
    }
}

/// The body as text, or as bytes where it is not text.
pub(super) fn body_value(reply: &HttpReply) -> Value {
    match std::str::from_utf8(&reply.body) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => Value::Bytes(reply.body.clone()),
    }
}

pub(super) fn failed(error: &HttpError) -> TaskError {
    TaskError::new(error.to_string())
}

pub(super) fn status_error(url: &str, reply: &HttpReply) -> TaskError {
    let detail = excerpt(&detail(&reply.body), 1_000);
    let text = format!(
        "got error from {url}: (status code {}) {detail}",
        reply.status
    );
    TaskError::new(text.trim_end())
}

/// What a failed response says about its failure, if it is a JSON object.
fn detail(body: &[u8]) -> String {
    let Ok(Value::Map(fields)) = json_text(body, Numbers::Exact) else {
        return String::new();
    };
    let mut texts = Vec::new();
    for name in ["error", "errorMessage"] {
        match fields.get(name) {
            Some(Value::String(text)) => texts.push(text.as_str()),
            None | Some(Value::Null) => {}
            Some(_) => return String::new(),
        }
    }
    match texts.into_iter().find(|text| !text.is_empty()) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

/// A URL in a message: without a password.
pub(super) fn shown(url: &url::Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        // Only URLs without a host refuse this, and those have no password.
        let _ = url.set_password(Some("xxxxx"));
    }
    excerpt(url.as_str(), 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_of_a_failed_response_is_taken_from_its_usual_fields() {
        for (body, text) in [
            (r#"{"error":"no such pair"}"#, "no such pair"),
            (r#"{"errorMessage":"later"}"#, "later"),
            (r#"{"error":"","errorMessage":"b"}"#, "b"),
            (r#"{"other":1}"#, r#"{"other":1}"#),
            (r#"{"error":{"code":1}}"#, ""),
            ("<html>", ""),
            ("[1]", ""),
        ] {
            assert_eq!(detail(body.as_bytes()), text, "{body}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let url = url::Url::parse("http://user:secret@host/x").unwrap();
        assert_eq!(shown(&url), "http://user:xxxxx@host/x");
    }
}
