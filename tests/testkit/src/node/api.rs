//! A node's REST API, as its administrator.

use alloy::primitives::Address;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EMAIL, PASSWORD};
use crate::until;

/// Logs in when asked to by a 401, so it works across restarts of the node.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    url: String,
}

/// A job as the API knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    pub external_id: Uuid,
}

/// What the API said no with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Api {
    pub(super) fn new(url: String) -> Self {
        Self {
            http: crate::http_with_cookies(),
            url,
        }
    }

    /// Any call. The answer's document, or null where there is none.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refusal> {
        let (mut status, mut text) = self.send(method.clone(), path, body).await?;
        if status == StatusCode::UNAUTHORIZED {
            self.log_in().await?;
            (status, text) = self.send(method, path, body).await?;
        }
        if !status.is_success() {
            return Err(Refusal {
                status: status.as_u16(),
                text,
            });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The `data` of what is at this path.
    ///
    /// # Panics
    /// When the node says no.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, None).await;
        answer.unwrap_or_else(|refusal| panic!("GET {path}: {refusal:?}"))["data"].take()
    }

    /// The `data` of the answer.
    ///
    /// # Panics
    /// When the node says no.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call(Method::POST, path, Some(&body)).await;
        answer.unwrap_or_else(|refusal| panic!("POST {path}: {refusal:?}"))["data"].take()
    }

    /// # Panics
    /// When the node says no.
    pub async fn delete(&self, path: &str) {
        let answer = self.call(Method::DELETE, path, None).await;
        answer.unwrap_or_else(|refusal| panic!("DELETE {path}: {refusal:?}"));
    }

    /// Whether `/readyz` says yes.
    pub async fn ready(&self) -> bool {
        let asked = self.http.get(format!("{}/readyz", self.url)).send().await;
        asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// What a page without log-in says: `/health`, `/metrics`.
    pub async fn text(&self, path: &str) -> String {
        let (_, text) = self
            .send(Method::GET, path, None)
            .await
            .unwrap_or_else(|refusal| panic!("GET {path}: {refusal:?}"));
        text
    }

    /// The value of a metric, found by the beginning of its line: name and, where it matters, labels.
    pub async fn metric(&self, starts: &str) -> Option<f64> {
        let metrics = self.text("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(starts))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    // ---- what tests do most

    pub async fn create_key(&self) -> Address {
        address_of(&self.post("/v2/keys/evm", json!(null)).await)
    }

    pub async fn keys(&self) -> Vec<Address> {
        each(&self.get("/v2/keys/evm").await)
            .map(address_of)
            .collect()
    }

    pub async fn create_job(&self, toml: &str) -> Job {
        let job = self.post("/v2/jobs", json!({ "toml": toml })).await;
        let external_id = job["attributes"]["externalJobID"]
            .as_str()
            .and_then(|id| id.parse().ok());
        Job {
            id: id_of(&job),
            external_id: external_id.unwrap_or_else(|| panic!("a job without external id: {job}")),
        }
    }

    pub async fn create_bridge(&self, name: &str, url: &str) {
        self.post("/v2/bridge_types", json!({ "name": name, "url": url }))
            .await;
    }

    /// The attributes of a job's runs, newest first as the API gives them.
    pub async fn runs(&self, job: &Job) -> Vec<Value> {
        let runs = self
            .get(&format!("/v2/jobs/{}/runs?size=1000", job.id))
            .await;
        each(&runs).map(|run| run["attributes"].clone()).collect()
    }

    /// The attributes of the first `count` runs, once all of them have an end.
    pub async fn finished_runs(&self, job: &Job, count: usize) -> Vec<Value> {
        until(&format!("{count} runs have ended"), || async {
            let mut runs = self.runs(job).await;
            runs.retain(|run| !run["finishedAt"].is_null());
            (runs.len() >= count).then_some(runs)
        })
        .await
    }

    /// The attributes of transactions, newest first.
    pub async fn transactions(&self) -> Vec<Value> {
        let all = self.get("/v2/transactions/evm?size=1000").await;
        each(&all)
            .map(|transaction| transaction["attributes"].clone())
            .collect()
    }

    async fn log_in(&self) -> Result<(), Refusal> {
        let credentials = json!({ "email": EMAIL, "password": PASSWORD });
        match self
            .send(Method::POST, "/sessions", Some(&credentials))
            .await?
        {
            (StatusCode::OK, _) => Ok(()),
            (status, text) => Err(Refusal {
                status: status.as_u16(),
                text,
            }),
        }
    }

    /// Status and text; a node that cannot be reached is a refusal with status 0.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), Refusal> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let response = request.send().await?;
            Ok((response.status(), response.text().await?))
        };
        answer.await.map_err(|error: reqwest::Error| Refusal {
            status: 0,
            text: format!("{error:?}"),
        })
    }
}

fn each(data: &Value) -> impl Iterator<Item = &Value> {
    data.as_array()
        .unwrap_or_else(|| panic!("not a list: {data}"))
        .iter()
}

fn id_of(data: &Value) -> String {
    data["id"]
        .as_str()
        .unwrap_or_else(|| panic!("nothing with an id: {data}"))
        .to_owned()
}

fn address_of(key: &Value) -> Address {
    let address = key["attributes"]["address"]
        .as_str()
        .and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("a key without address: {key}"))
}
