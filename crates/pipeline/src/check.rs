//! What can be said about a task before it ever runs.

use crate::abi;
use crate::egress::{Refusal, check_address};
use crate::graph::{TaskDef, expressions};
use crate::ports::Reach;
use crate::task_type::TaskType;
use crate::value::{JsonReader, Value};

/// A mistake that would make every run of the task fail: the attribute and why.
pub(crate) fn refuse(task: &TaskDef) -> Result<(), (&'static str, String)> {
    let abi_text = task.attribute("abi").unwrap_or_default();
    let checked = match task.kind {
        TaskType::EthAbiDecode => abi::signature::arguments(abi_text).map(drop),
        TaskType::EthAbiDecodeLog => abi::signature::event(abi_text).map(drop),
        TaskType::EthAbiEncode => abi::signature::function(abi_text).map(drop),
        TaskType::EthAbiEncode2 => abi::signature::json_function(abi_text).map(drop),
        _ => Ok(()),
    };
    checked.map_err(|why| ("abi", why))
}

/// What is allowed and probably not meant.
pub(crate) fn warnings(task: &TaskDef) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |text: String| found.push(format!("task `{}`: {text}", task.dot_id));
    for name in task.kind.attributes() {
        let Some(value) = task.attribute(name) else {
            continue;
        };
        let trimmed = value.trim();
        let whole = trimmed.starts_with("$(")
            && trimmed.ends_with(')')
            && trimmed.matches('$').count() == 1;
        let json = trimmed.starts_with(['{', '[', '"']);
        if !whole && !json && expressions(value).next().is_some() {
            say(format!(
                "`{name}` mixes text with $(...): expressions are not filled into longer texts, the task will see it as written"
            ));
        }
    }
    for name in task
        .kind
        .attributes()
        .iter()
        .filter(|name| is_json(task.kind, name))
    {
        let text = task.attribute(name).unwrap_or_default().trim();
        let anything = |_: &str| Ok(Value::Null);
        if text.starts_with(['{', '['])
            && let Err(error) = JsonReader::with_expressions(text, &anything).first()
        {
            say(format!(
                "`{name}` cannot be read, the task will fail: {error}"
            ));
        }
    }
    let url = task.attribute("url").unwrap_or_default();
    let is_set = |name: &str| task.attribute(name).is_some_and(|t| !t.trim().is_empty());
    if task.kind == TaskType::Http
        && let Some(host) = private_host(url)
        && !is_set("allowUnrestrictedNetworkAccess")
    {
        say(format!(
            "{host} is inside your own network and will be refused: write allowUnrestrictedNetworkAccess=\"true\" (the Chainlink node takes that for granted where the URL is written out)"
        ));
    }
    if task.max_backoff.is_some() && task.min_backoff.is_none() {
        say("`maxBackoff` has no effect without `minBackoff`".to_owned());
    }
    if task.retries == 1 {
        say("`retries=1` means one attempt in all: write 2 for one repetition".to_owned());
    }
    if matches!(task.kind, TaskType::Bridge)
        && task.attribute("name").is_none_or(|n| n.trim().is_empty())
    {
        say("`name` is missing: the task will fail".to_owned());
    }
    found
}

/// The host of a URL that is written out and leads to an address that is not public, as far as can be
/// seen without asking anybody.
pub(crate) fn private_host(url: &str) -> Option<String> {
    let url = url::Url::parse(url.trim()).ok()?;
    let refused = |address| {
        let verdict = check_address(address, Reach::Restricted);
        matches!(verdict, Err(Refusal::NotPublic(_)))
    };
    let private = match url.host()? {
        url::Host::Ipv4(v4) => refused(v4.into()),
        url::Host::Ipv6(v6) => refused(v6.into()),
        url::Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let under = |top: &str| name == top || name.ends_with(&format!(".{top}"));
            // A name without a dot is one of a local network, of Compose or of Kubernetes.
            !name.contains('.')
                || ["localhost", "local", "internal", "lan"]
                    .into_iter()
                    .any(under)
        }
    };
    let host = url.host_str().unwrap_or_default();
    private.then(|| crate::error::excerpt(host, 100))
}

/// Attributes that are JSON with expressions in it.
fn is_json(kind: TaskType, name: &str) -> bool {
    match name {
        "data" => matches!(kind, TaskType::EthAbiEncode | TaskType::EthAbiEncode2),
        "requestData" | "values" | "left" | "right" | "value" | "txMeta" | "transmitChecker" => {
            kind != TaskType::LessThan
        }
        _ => false,
    }
}
