//! Contract data: signatures as job specs write them, decoding, encoding.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod signature;
mod types;

pub(crate) use types::Type;

/// A named value of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// Of an event, and found in a topic.
    pub(crate) indexed: bool,
}

/// A function, or only its arguments when it has no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
}
