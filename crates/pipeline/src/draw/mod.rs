//! A pipeline as a picture: in text for a terminal, as SVG for everywhere else.

mod svg;
mod text;

pub use svg::svg;
pub use text::text;

/// What has become of a task, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing is known.
    Plain,
    /// It has a value.
    Done,
    /// It failed.
    Failed,
    /// It waits for something outside, or was not run.
    Waiting,
}

/// What is said about one task beside its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its colour.
    pub mark: Mark,
    /// A few words, for example the time it took.
    pub words: String,
}
