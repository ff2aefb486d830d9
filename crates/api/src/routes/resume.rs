//! Answers of bridges that come later: `PATCH /v2/resume/<task run>`.
//!
//! Nobody logs in here. The id of the task run is the secret: it is random, only the bridge was told, and it
//! opens nothing but the one answer it waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dodona_pipeline::Value;
use dodona_runtime::clock;
use dodona_store::runs::{self, Answered};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::http::{Payload, Refusal, Unreadable};
use crate::observe;
use crate::server::App;

/// Exactly one of `value` (any JSON, kept as the text it is) and `error`.
fn answer(payload: &Payload) -> Result<Result<Value, String>, Refusal> {
    let body: BTreeMap<String, Box<RawValue>> = payload.json(Unreadable::Unprocessable)?;
    let error = body.get("error").filter(|error| error.get() != "null");
    match (body.get("value"), error) {
        (Some(value), None) => Ok(Ok(Value::Bytes(value.get().as_bytes().to_vec().into()))),
        (None, Some(error)) => serde_json::from_str::<String>(error.get())
            .map(Err)
            .map_err(|_| Refusal::unprocessable("error: write a text")),
        _ => Err(Refusal::unprocessable(
            "write either {\"value\": <any JSON>} or {\"error\": \"<text>\"}",
        )),
    }
}

pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Path(task): Path<String>,
    payload: Payload,
) -> Result<Response, Refusal> {
    let task = Uuid::parse_str(&task).map_err(|_| {
        Refusal::unprocessable("this is not the id of a task run (the end of its responseURL)")
    })?;
    let (value, output, error) = match answer(&payload)? {
        Ok(value) => {
            let stored = value.to_stored().to_string();
            (Some(stored), Some(value.to_output_json()), None)
        }
        Err(error) => (None, None, Some(error)),
    };
    let mut tx = app.store.begin().await?;
    let answered = runs::answer_task(
        &mut tx,
        task,
        value.as_deref(),
        output.as_deref(),
        error.as_deref(),
        clock::now(),
    )
    .await?;
    let run = match answered {
        Answered::Noted(run) | Answered::Resumed(run) => run,
        Answered::Unknown => return Err(Refusal::not_found("no bridge waits for this answer")),
        Answered::TooLate => {
            return Err(Refusal::conflict(
                "this task has its answer, or its run has ended; nothing was changed",
            ));
        }
    };
    tx.poke_on_commit("runs");
    tx.commit().await?;
    observe::task_answered(run);
    Ok(StatusCode::OK.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Result<Value, String>> {
        answer(&Payload(body.to_owned().into())).ok()
    }

    #[test]
    fn an_answer_is_a_value_or_an_error_and_never_both() {
        let bytes = |text: &str| Some(Ok(Value::Bytes(text.as_bytes().to_vec().into())));
        assert_eq!(read(r#"{"value": {"a": 1.50}}"#), bytes(r#"{"a": 1.50}"#));
        assert_eq!(read(r#"{"value":"x"}"#), bytes(r#""x""#));
        assert_eq!(read(r#"{"value":null}"#), bytes("null"));
        assert_eq!(read(r#"{"value":1,"error":null}"#), bytes("1"));
        assert_eq!(read(r#"{"error":"no"}"#), Some(Err("no".to_owned())));
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"value":1,"error":"no"}"#,
            r#"{"error":1}"#,
            r#"{"error":null}"#,
            r#"{"data":1}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
