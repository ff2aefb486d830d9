//! The error of a task: one text, with the stable words other software greps for at its end.
//!
//! Wrapping puts context in front of the cause, joined by `: `, so `url: parameter is empty`
//! says first where and then what.

use std::fmt;

/// Stable texts of task errors. Dashboards and scripts match on these words.
pub mod text {
    /// A task has fewer or more explicit inputs than it can use.
    pub const WRONG_INPUTS: &str = "wrong number of task inputs";
    /// A value cannot be used where the task needs it.
    pub const BAD_INPUT: &str = "bad input for task";
    /// A required parameter has no value from any of its sources.
    pub const PARAMETER_EMPTY: &str = "parameter is empty";
    /// A list has no element at this position.
    pub const INDEX_OUT_OF_RANGE: &str = "index out of range";
    /// More inputs failed than the task tolerates, or an expression names a failed task.
    pub const TOO_MANY_ERRORS: &str = "too many errors";
    /// A path leads nowhere.
    pub const KEYPATH_NOT_FOUND: &str = "keypath not found";
    /// A path has an empty segment.
    pub const WRONG_KEYPATH: &str = "wrong keypath format";
    /// The effect of a task could not be brought about.
    pub const RUN_FAILED: &str = "task run failed";
    /// Another task with `failEarly` failed first.
    pub const CANCELLED_FAIL_EARLY: &str = "task run cancelled (fail early)";
    /// The named chain is not one this node works on.
    pub const INVALID_CHAIN: &str = "invalid EVM chain ID";
    /// A product is too large to be held.
    pub const MULTIPLY_OVERFLOW: &str = "multiply overflow";
    /// A quotient is too large to be held.
    pub const DIVISION_OVERFLOW: &str = "division overflow";
    /// The divisor is zero.
    pub const DIVIDE_BY_ZERO: &str = "divide by zero";
    /// A number does not fit its ABI type.
    pub const OVERFLOW: &str = "overflow";
    /// A task attempt took too long.
    pub const TIMEOUT: &str = "timeout";
    /// A task panicked.
    pub const PANICKED: &str = "goroutine panicked when executing run";
}

/// Why a task has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError(String);

impl TaskError {
    /// An error that says exactly this.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// `context: bad input for task`.
    pub fn bad_input(context: impl fmt::Display) -> Self {
        Self(format!("{context}: {}", text::BAD_INPUT))
    }

    /// Puts `context` in front.
    #[must_use]
    pub fn within(self, context: impl fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }

    /// The text alone.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TaskError {}

/// Cuts a text that comes from outside before it goes into a message.
pub(crate) fn excerpt(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}… ({} bytes in all)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
