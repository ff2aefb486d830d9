//! The graph language of `observationSource`: the inside of a DOT `digraph`.
//!
//! Hand-written so that it takes time in proportion to its text, never recurses deeper than
//! groups may nest, and can point at the very character that is wrong.

mod lexer;
mod parser;

pub(crate) use parser::{Attribute, Graph, Node, parse};

use std::fmt;

/// A place in the source, counted in characters from 1, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Of a byte of a text; of its end where it is shorter.
    pub fn of(text: &str, at: usize) -> Self {
        let mut end = at.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self {
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a pipeline source was refused: what, where, and the line itself with a caret under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong and what to do about it.
    pub message: String,
    /// Where, if it is in one place.
    pub place: Option<Place>,
    excerpt: Option<String>,
}

impl ParseError {
    /// About the source as a whole.
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            excerpt: None,
        }
    }

    /// About the character at byte `at` of `source`.
    pub(crate) fn at(source: &str, at: usize, message: impl Into<String>) -> Self {
        let place = Place::of(source, at);
        let line = source.lines().nth(place.line - 1).unwrap_or("");
        Self {
            message: message.into(),
            place: Some(place),
            excerpt: Some(caret(line, place)),
        }
    }
}

/// The part of the line around the place, and a caret under the character.
fn caret(line: &str, place: Place) -> String {
    const BEFORE: usize = 60;
    const AFTER: usize = 40;
    let first = place.column.saturating_sub(BEFORE + 1);
    let shown: String = line
        .chars()
        .skip(first)
        .take(BEFORE + AFTER)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!(
        "{:>5} | {shown}\n      | {}^",
        place.line,
        " ".repeat(place.column - 1 - first)
    )
}

/// Places of ascending offsets, each found from the one before: together one walk through the source.
pub(crate) struct Walk<'a> {
    rest: &'a str,
    at: usize,
    place: Place,
}

impl<'a> Walk<'a> {
    pub(crate) fn through(source: &'a str) -> Self {
        Self {
            rest: source,
            at: 0,
            place: Place { line: 1, column: 1 },
        }
    }

    /// The place of the character at byte `at`, which must not lie before the last one asked for.
    pub(crate) fn to(&mut self, at: usize) -> Place {
        let (passed, rest) = self.rest.split_at(at - self.at);
        for c in passed.chars() {
            match c {
                '\n' => {
                    self.place.line += 1;
                    self.place.column = 1;
                }
                _ => self.place.column += 1,
            }
        }
        self.rest = rest;
        self.at = at;
        self.place
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_the_same_places_as_a_search_from_the_start() {
        let source = "a\né [x]\r\n\n\u{1f600} b\n";
        let mut walk = Walk::through(source);
        for (at, _) in source.char_indices() {
            assert_eq!(walk.to(at), Place::of(source, at), "at byte {at}");
        }
        let of = Place::of("é=1\nü = 'x", 9);
        assert_eq!((of.line, of.column), (2, 4));
    }
}
