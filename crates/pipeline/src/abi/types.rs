//! ABI types.

use std::fmt;

/// Array brackets after one type, and tuples inside one another.
const MAX_NESTING: usize = 16;
/// Elements of a fixed array.
const MAX_FIXED_LENGTH: usize = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// Bits.
    Int(usize),
    /// Bits.
    Uint(usize),
    /// Bytes, 1 to 32.
    FixedBytes(usize),
    Address,
    Bytes,
    String,
    Array(Box<Type>),
    FixedArray(Box<Type>, usize),
    /// Components with their names.
    Tuple(Vec<(String, Type)>),
}

impl Type {
    /// A type without tuples, such as `uint256[2][]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (base, suffixes) = text.split_at(text.find('[').unwrap_or(text.len()));
        Self::base(base)?.with_arrays(suffixes, text)
    }

    /// A type from its JSON form, where components stand beside the word `tuple`.
    pub(crate) fn from_json(
        text: &str,
        components: Option<Vec<(String, Type)>>,
    ) -> Result<Self, String> {
        let Some(suffixes) = text.strip_prefix("tuple") else {
            return Self::parse(text);
        };
        let components =
            components.ok_or_else(|| format!("the type {text} needs \"components\""))?;
        Self::Tuple(components).with_arrays(suffixes, text)
    }

    fn base(text: &str) -> Result<Self, String> {
        let sized = |prefix: &str| text.strip_prefix(prefix).and_then(plain_number);
        let bits = |n: usize| n.is_multiple_of(8) && (8..=256).contains(&n);
        match text {
            "bool" => return Ok(Self::Bool),
            "address" => return Ok(Self::Address),
            "bytes" => return Ok(Self::Bytes),
            "string" => return Ok(Self::String),
            "uint" | "int" => {
                return Err(format!("the type {text} needs its size: write {text}256"));
            }
            _ => {}
        }
        match (sized("uint"), sized("int"), sized("bytes")) {
            (Some(n), _, _) if bits(n) => Ok(Self::Uint(n)),
            (_, Some(n), _) if bits(n) => Ok(Self::Int(n)),
            (_, _, Some(n)) if (1..=32).contains(&n) => Ok(Self::FixedBytes(n)),
            _ => Err(format!("{text:?} is not an ABI type")),
        }
    }

    fn with_arrays(self, mut suffixes: &str, whole: &str) -> Result<Self, String> {
        let mut ty = self;
        let mut nesting = 0;
        while !suffixes.is_empty() {
            let wrong = || format!("{whole:?} is not an ABI type");
            let (length, rest) = suffixes
                .strip_prefix('[')
                .and_then(|s| s.split_once(']'))
                .ok_or_else(wrong)?;
            nesting += 1;
            if nesting > MAX_NESTING {
                return Err(format!("{whole:?} nests deeper than {MAX_NESTING} arrays"));
            }
            ty = match length {
                "" => Self::Array(Box::new(ty)),
                length => match plain_number(length) {
                    Some(n) if (1..=MAX_FIXED_LENGTH).contains(&n) => {
                        Self::FixedArray(Box::new(ty), n)
                    }
                    _ => {
                        return Err(format!(
                            "{whole:?}: an array has 1 to {MAX_FIXED_LENGTH} elements"
                        ));
                    }
                },
            };
            suffixes = rest;
        }
        Ok(ty)
    }

    /// Its data stands behind an offset.
    pub(crate) fn is_dynamic(&self) -> bool {
        match self {
            Self::Bytes | Self::String | Self::Array(_) => true,
            Self::FixedArray(inner, _) => inner.is_dynamic(),
            Self::Tuple(components) => components.iter().any(|(_, ty)| ty.is_dynamic()),
            _ => false,
        }
    }

    /// How many bytes it takes in the head of what contains it.
    pub(crate) fn head_bytes(&self) -> usize {
        if self.is_dynamic() {
            return 32;
        }
        match self {
            Self::FixedArray(inner, n) => inner.head_bytes().saturating_mul(*n),
            Self::Tuple(components) => components
                .iter()
                .fold(0, |sum: usize, (_, ty)| sum.saturating_add(ty.head_bytes())),
            _ => 32,
        }
    }
}

/// Digits only, without leading zeros.
fn plain_number(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::FixedBytes(n) => write!(f, "bytes{n}"),
            Self::Address => f.write_str("address"),
            Self::Bytes => f.write_str("bytes"),
            Self::String => f.write_str("string"),
            Self::Array(inner) => write!(f, "{inner}[]"),
            Self::FixedArray(inner, n) => write!(f, "{inner}[{n}]"),
            Self::Tuple(components) => {
                f.write_str("(")?;
                for (n, (_, ty)) in components.iter().enumerate() {
                    if n > 0 {
                        f.write_str(",")?;
                    }
                    write!(f, "{ty}")?;
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_written_the_same() {
        for text in [
            "bool",
            "int8",
            "uint256",
            "bytes1",
            "bytes32",
            "address",
            "bytes",
            "string",
            "uint24[2][]",
        ] {
            assert_eq!(Type::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_type_is_refused() {
        for text in [
            "",
            "uint",
            "int",
            "uint7",
            "uint264",
            "uint0",
            "uint08",
            "bytes0",
            "bytes33",
            "float",
            "uint8[",
            "uint8[]x",
            "uint8[0]",
            "uint8[-1]",
            "uint8]",
            "function",
            "tuple",
            "uint8[99999999999999999999]",
        ] {
            assert!(Type::parse(text).is_err(), "{text} was accepted");
        }
        assert!(Type::parse(&format!("uint8{}", "[]".repeat(100))).is_err());
    }
}
