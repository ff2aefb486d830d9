//! Every task type of the job language by its name, with the attributes it reads.

/// A type of task this version can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskType {
    /// A random input that did not fail.
    Any,
    /// Text from base64 to bytes.
    Base64Decode,
    /// Text or bytes to base64.
    Base64Encode,
    /// A call to an external adapter the operator has registered.
    Bridge,
    /// CBOR to values.
    CborParse,
    /// The first input that is neither failed nor null.
    Coalesce,
    /// Fails unless its input is true.
    Conditional,
    /// A quotient.
    Divide,
    /// Asks the chain how much gas a call would take.
    EstimateGasLimit,
    /// ABI data to values.
    EthAbiDecode,
    /// An event log to values.
    EthAbiDecodeLog,
    /// Values to ABI data, with a signature in words.
    EthAbiEncode,
    /// Values to ABI data, with a signature in JSON.
    EthAbiEncode2,
    /// Reads from a contract.
    EthCall,
    /// Sends a transaction.
    EthTx,
    /// Always fails.
    Fail,
    /// Hex text to bytes.
    HexDecode,
    /// Text, bytes or a number to hex text.
    HexEncode,
    /// A request to a data source.
    Http,
    /// Picks from JSON text.
    JsonParse,
    /// Length in bytes.
    Length,
    /// Compares two numbers.
    LessThan,
    /// Picks from a map.
    Lookup,
    /// To lower case.
    Lowercase,
    /// The average.
    Mean,
    /// The middle value.
    Median,
    /// A constant or a copy.
    Memo,
    /// Lays one map over another.
    Merge,
    /// The most frequent value.
    Mode,
    /// A product.
    Multiply,
    /// Panics, to see that nothing else does.
    Panic,
    /// A sum.
    Sum,
    /// To upper case.
    Uppercase,
}

/// What re-running a task means for the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// The same inputs give the same value: run it again whenever convenient.
    Pure,
    /// Its value comes from outside or from chance: keep it when an answer is encoded anew.
    Source,
    /// Asks for a transaction.
    Transaction,
}

use Nature::{Pure, Source, Transaction};
use TaskType::*;

/// Type, name, nature, attributes.
type Row = (TaskType, &'static str, Nature, &'static [&'static str]);

const TABLE: &[Row] = &[
    (Any, "any", Source, &[]),
    (Base64Decode, "base64decode", Pure, &["input"]),
    (Base64Encode, "base64encode", Pure, &["input"]),
    (
        Bridge,
        "bridge",
        Source,
        &[
            "name",
            "requestData",
            "includeInputAtKey",
            "async",
            "cacheTTL",
            "headers",
            "checkRequired",
        ],
    ),
    (CborParse, "cborparse", Pure, &["data", "mode"]),
    (Coalesce, "coalesce", Pure, &[]),
    (Conditional, "conditional", Pure, &["data"]),
    (Divide, "divide", Pure, &["input", "divisor", "precision"]),
    (
        EstimateGasLimit,
        "estimategaslimit",
        Source,
        &[
            "input",
            "from",
            "to",
            "multiplier",
            "data",
            "evmChainID",
            "block",
        ],
    ),
    (EthAbiDecode, "ethabidecode", Pure, &["abi", "data"]),
    (
        EthAbiDecodeLog,
        "ethabidecodelog",
        Pure,
        &["abi", "data", "topics"],
    ),
    (EthAbiEncode, "ethabiencode", Pure, &["abi", "data"]),
    (EthAbiEncode2, "ethabiencode2", Pure, &["abi", "data"]),
    (
        EthCall,
        "ethcall",
        Source,
        &[
            "contract",
            "from",
            "data",
            "gas",
            "gasPrice",
            "gasTipCap",
            "gasFeeCap",
            "gasUnlimited",
            "extractRevertReason",
            "evmChainID",
            "block",
        ],
    ),
    (
        EthTx,
        "ethtx",
        Transaction,
        &[
            "from",
            "to",
            "data",
            "gasLimit",
            "txMeta",
            "minConfirmations",
            "failOnRevert",
            "evmChainID",
            "transmitChecker",
        ],
    ),
    (Fail, "fail", Pure, &["msg"]),
    (HexDecode, "hexdecode", Pure, &["input"]),
    (HexEncode, "hexencode", Pure, &["input"]),
    (
        Http,
        "http",
        Source,
        &[
            "method",
            "url",
            "requestData",
            "allowUnrestrictedNetworkAccess",
            "headers",
        ],
    ),
    (
        JsonParse,
        "jsonparse",
        Pure,
        &["path", "separator", "data", "lax"],
    ),
    (Length, "length", Pure, &["input"]),
    (LessThan, "lessthan", Pure, &["left", "right"]),
    (Lookup, "lookup", Pure, &["key"]),
    (Lowercase, "lowercase", Pure, &["input"]),
    (
        Mean,
        "mean",
        Pure,
        &["values", "allowedFaults", "precision"],
    ),
    (Median, "median", Pure, &["values", "allowedFaults"]),
    (Memo, "memo", Pure, &["value"]),
    (Merge, "merge", Pure, &["left", "right"]),
    (Mode, "mode", Pure, &["values", "allowedFaults"]),
    (Multiply, "multiply", Pure, &["input", "times"]),
    (Panic, "panic", Pure, &["msg"]),
    (Sum, "sum", Pure, &["values", "allowedFaults"]),
    (Uppercase, "uppercase", Pure, &["input"]),
];

/// Attributes every task understands.
pub(crate) const BASE_ATTRIBUTES: &[&str] = &[
    "type",
    "index",
    "timeout",
    "failEarly",
    "retries",
    "minBackoff",
    "maxBackoff",
    "tags",
    "streamID",
];

/// Task types that exist in the field and that this version cannot run.
const NOT_HERE: &[&str] = &["vrf", "vrfv2", "vrfv2plus", "contractread", "ethgetblock"];

/// Why a type name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTaskType {
    /// A real type that this version lacks.
    #[error("the task type {0:?} is not supported by this version")]
    NotHere(String),
    /// No such type.
    #[error("unknown task type: {name:?}{}", hint(.name, .nearest))]
    Unknown {
        /// As given.
        name: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
}

fn hint(name: &str, nearest: &Option<&'static str>) -> String {
    // An edge is enough to make a task.
    if name.is_empty() {
        return "; give it one: [type=…]".to_owned();
    }
    nearest.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

impl TaskType {
    /// All types, in alphabetical order.
    pub fn all() -> impl Iterator<Item = TaskType> {
        TABLE.iter().map(|row| row.0)
    }

    /// Finds a type by its name in any letter case.
    pub fn parse(name: &str) -> Result<Self, UnknownTaskType> {
        let lower = name.to_lowercase();
        if let Some(row) = TABLE.iter().find(|row| row.1 == lower) {
            return Ok(row.0);
        }
        if NOT_HERE.contains(&lower.as_str()) {
            return Err(UnknownTaskType::NotHere(lower));
        }
        let nearest = crate::nearest::nearest(&lower, TABLE.iter().map(|row| row.1));
        Err(UnknownTaskType::Unknown {
            name: name.to_owned(),
            nearest,
        })
    }

    fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .expect("every type has its row: a test walks them all")
    }

    /// As written in job specs.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// As recorded with the run. `ethabiencode2` has always been recorded as `ethabiencode`.
    pub fn recorded_name(self) -> &'static str {
        match self {
            EthAbiEncode2 => EthAbiEncode.name(),
            other => other.name(),
        }
    }

    /// What re-running it means.
    pub fn nature(self) -> Nature {
        self.row().2
    }

    /// The attributes it reads besides the ones every task has.
    pub fn attributes(self) -> &'static [&'static str] {
        self.row().3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_name_and_the_table_is_in_order() {
        assert!(TABLE.is_sorted_by_key(|row| row.1));
        for kind in TaskType::all() {
            assert_eq!(TaskType::parse(&kind.name().to_uppercase()), Ok(kind));
        }
    }

    #[test]
    fn a_misspelt_type_is_refused_with_the_nearest_name() {
        let error = TaskType::parse("jsonprase").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown task type: \"jsonprase\"; did you mean \"jsonparse\"?"
        );
        let error = TaskType::parse("").unwrap_err().to_string();
        assert_eq!(error, "unknown task type: \"\"; give it one: [type=…]");
        let error = TaskType::parse("vrfv2").unwrap_err().to_string();
        assert_eq!(
            error,
            "the task type \"vrfv2\" is not supported by this version"
        );
    }
}
