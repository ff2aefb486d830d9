//! The envelopes of the REST API: `{"data": {"type", "id", "attributes"}}`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One thing the API shows.
#[derive(Debug, Clone, Deserialize)]
pub struct Resource {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub attributes: Map<String, Value>,
}

impl Resource {
    /// An attribute for people: text as it is, numbers as digits, nothing as an empty text.
    pub fn text(&self, name: &str) -> String {
        self.attributes.get(name).map(shown).unwrap_or_default()
    }

    /// An attribute that may be missing or null.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.attributes
            .get(name)
            .filter(|value| !value.is_null())
            .map(shown)
    }

    pub fn list(&self, name: &str) -> &[Value] {
        self.attributes
            .get(name)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The thing without its envelope, for programs.
    pub fn flat(&self) -> Value {
        let mut flat = self.attributes.clone();
        flat.insert("id".into(), self.id.clone().into());
        Value::Object(flat)
    }
}

/// A value for people.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One thing, or a page of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Data {
    Many(Vec<Resource>),
    One(Resource),
}

/// A successful answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    pub data: Data,
    #[serde(default)]
    pub meta: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Meta {
    /// Things on all pages together.
    pub count: Option<u64>,
}

impl Document {
    /// All things of this page.
    pub fn items(&self) -> Vec<&Resource> {
        match &self.data {
            Data::Many(items) => items.iter().collect(),
            Data::One(item) => vec![item],
        }
    }

    /// Without envelopes, for programs: a list stays a list.
    pub fn flat(&self) -> Value {
        match &self.data {
            Data::Many(items) => Value::Array(items.iter().map(Resource::flat).collect()),
            Data::One(item) => item.flat(),
        }
    }
}

/// The texts of a refusal.
pub fn error_details(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        detail: String,
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    refusal
        .map(|refusal| {
            refusal
                .errors
                .into_iter()
                .map(|fault| fault.detail)
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_a_single_thing_are_told_apart() {
        let one: Document =
            serde_json::from_str(r#"{"data":{"type":"jobs","id":"1","attributes":{"name":"x"}}}"#)
                .unwrap();
        assert_eq!(one.flat(), serde_json::json!({"id": "1", "name": "x"}));
        let many: Document = serde_json::from_str(r#"{"data":[],"meta":{"count":0}}"#).unwrap();
        assert_eq!(
            (many.flat(), many.meta.count),
            (serde_json::json!([]), Some(0))
        );
    }

    #[test]
    fn a_refusal_gives_its_texts_and_anything_else_none() {
        assert_eq!(
            error_details(br#"{"errors":[{"detail":"a"},{"detail":"b"}]}"#),
            ["a", "b"]
        );
        assert!(error_details(b"Limit exceeded").is_empty());
    }
}
