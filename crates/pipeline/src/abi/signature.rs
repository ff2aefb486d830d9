//! Signatures: `Name(type [indexed] name, ...)` and the JSON form.

use serde_json::Value as Json;

use super::{Argument, Function, Type};

/// Words about where data is kept, which a signature copied from Solidity may hold.
const LOCATIONS: &[&str] = &["calldata", "memory", "storage"];
/// Tuples inside one another in the JSON form.
const MAX_TUPLE_DEPTH: usize = 16;

/// `type name, ...` without parentheses.
pub(crate) fn arguments(text: &str) -> Result<Vec<Argument>, String> {
    if text.contains(['(', ')']) {
        return Err("write `type name, ...` without parentheses".to_owned());
    }
    list(text, false)
}

/// `Name(type name, ...)`; the name may be missing.
pub(crate) fn function(text: &str) -> Result<Function, String> {
    call(text, false)
}

/// `Name(type [indexed] name, ...)`.
pub(crate) fn event(text: &str) -> Result<Function, String> {
    call(text, true)
}

fn call(text: &str, event: bool) -> Result<Function, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{:?} is not a signature such as \"name(uint256 value)\": {why}",
            crate::error::excerpt(text, 200)
        ))
    };
    let text = text.trim();
    let Some((name, rest)) = text.split_once('(') else {
        return wrong("`(` is missing");
    };
    let Some(list_text) = rest.strip_suffix(')') else {
        return wrong("it must end with `)`");
    };
    let name = name.trim();
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return wrong("its name has other characters than letters, digits and _");
    }
    if returns(list_text) {
        return wrong("nothing may follow the first `)`, leave out what it returns");
    }
    if list_text.contains(['(', ')']) {
        return wrong("tuples need an ethabiencode2 task");
    }
    Ok(Function {
        name: name.to_owned(),
        arguments: list(list_text, event)?,
    })
}

/// `…) returns (…`, copied from Solidity.
fn returns(between: &str) -> bool {
    between.split_once(')').is_some_and(|(_, after)| {
        after
            .split_whitespace()
            .any(|word| word.starts_with("returns"))
    })
}

fn list(text: &str, event: bool) -> Result<Vec<Argument>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(|part| argument(part, event)).collect()
}

fn argument(text: &str, event: bool) -> Result<Argument, String> {
    let shown = || crate::error::excerpt(text.trim(), 100);
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|w| !LOCATIONS.contains(w))
        .collect();
    let (ty, name, indexed) = match words[..] {
        [ty, name] => (ty, name, false),
        [ty, "indexed", name] if event => (ty, name, true),
        [_, "indexed", _] => {
            return Err(format!("{:?}: only events have indexed arguments", shown()));
        }
        [_] => {
            return Err(format!(
                "{:?}: each argument needs a type and a name",
                shown()
            ));
        }
        [] => return Err("an argument is missing between two commas".to_owned()),
        _ => return Err(format!("{:?}: expected `type name`", shown())),
    };
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "{:?}: a name has only letters, digits and _",
            shown()
        ));
    }
    Ok(Argument {
        name: name.to_owned(),
        ty: Type::parse(ty)?,
        indexed,
    })
}

/// `{"name": ..., "inputs": [{"name", "type", "components"?}]}`.
pub(crate) fn json_function(text: &str) -> Result<Function, String> {
    let json: Json = serde_json::from_str(text).map_err(|e| {
        format!(
            "the abi of an ethabiencode2 task is a JSON object with \"name\" and \"inputs\": {e}"
        )
    })?;
    let name = match json.get("name") {
        Some(Json::String(name)) => name.clone(),
        None | Some(Json::Null) => String::new(),
        Some(_) => return Err("\"name\" must be a string".to_owned()),
    };
    let inputs = match json.get("inputs") {
        Some(Json::Array(inputs)) => inputs.as_slice(),
        None | Some(Json::Null) if json.is_object() => &[],
        _ => return Err("\"inputs\" must be a list of arguments".to_owned()),
    };
    let arguments = components(inputs, 0)?
        .into_iter()
        .map(|(name, ty)| Argument {
            name,
            ty,
            indexed: false,
        })
        .collect();
    Ok(Function { name, arguments })
}

fn components(inputs: &[Json], depth: usize) -> Result<Vec<(String, Type)>, String> {
    if depth > MAX_TUPLE_DEPTH {
        return Err(format!("tuples nest deeper than {MAX_TUPLE_DEPTH}"));
    }
    inputs
        .iter()
        .map(|input| {
            let text = |key: &str| input.get(key).and_then(Json::as_str);
            let ty = text("type").ok_or("each input needs a \"type\"")?;
            let name = text("name").ok_or("each input needs a \"name\"")?;
            let inner = match input.get("components") {
                Some(Json::Array(inner)) => Some(components(inner, depth + 1)?),
                _ => None,
            };
            Ok((name.to_owned(), Type::from_json(ty, inner)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_removed_as_whole_words_only() {
        let f = function("f(bytes calldata data, bytes memoryHash, string memory s)").unwrap();
        let names: Vec<_> = f.arguments.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["data", "memoryHash", "s"]);
    }

    #[test]
    fn indexed_belongs_between_type_and_name_of_an_event() {
        let e = event("Asked(bytes32 indexed id, uint256 n)").unwrap();
        assert!(e.arguments[0].indexed && !e.arguments[1].indexed);
        assert!(function("f(bytes32 indexed id)").is_err());
        assert!(event("E(indexed bytes32 id)").is_err());
    }

    #[test]
    fn wrong_signatures_are_refused_with_the_reason() {
        for text in [
            "",
            "f",
            "f(",
            "f)",
            "f(uint256)",
            "f(uint256 a) returns (bool)",
            "f(uint a)",
            "f(uint256 a,,uint256 b)",
            "f((uint256 a) t)",
            "f-g(uint256 a)",
            "f(uint256 a-b)",
            "f(uint256 a b)",
        ] {
            assert!(function(text).is_err(), "{text} was accepted");
        }
        let said = function("f(uint256 a) returns (bool)").unwrap_err();
        assert!(said.contains("leave out what it returns"), "{said}");
        let said = function("f((uint256 a) t)").unwrap_err();
        assert!(said.contains("ethabiencode2"), "{said}");
        assert!(function("f()").unwrap().arguments.is_empty());
        assert!(arguments("uint256 a, bytes32 b").is_ok());
        assert!(json_function("[]").is_err());
        assert!(json_function(r#"{"name":"f","inputs":[{"name":"t","type":"tuple[]","components":[{"name":"a","type":"uint8"}]}]}"#).is_ok());
    }
}
