//! Statements of the graph language.

use std::collections::{HashMap, HashSet};

use super::lexer::{Form, Id, Kind, Lexer, Token};
use super::{ParseError, Place};

/// Groups `{...}` nest at most this deep.
const MAX_GROUP_DEPTH: usize = 32;
/// Edges between groups multiply; more than this, those said twice counted twice, is not a job.
const MAX_EDGES: usize = 50_000;
const MAX_ATTRIBUTES: usize = 200;

/// What the source says, before it means anything.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// In the order of their first appearance.
    pub(crate) nodes: Vec<Node>,
    /// Pairs of positions in `nodes`, each pair once.
    pub(crate) edges: Vec<(usize, usize)>,
    /// Things that are allowed and probably not meant.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// Byte offset of its first appearance.
    pub(crate) at: usize,
    /// A later one of the same name (in any letter case) has replaced an earlier one.
    pub(crate) attributes: Vec<Attribute>,
    /// Byte offset of the statement that says its type.
    defined_at: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Attribute {
    /// As written.
    pub(crate) name: String,
    pub(crate) value: String,
    /// Byte offset of the name.
    pub(crate) at: usize,
    /// Byte offset of the value.
    pub(crate) value_at: usize,
}

pub(crate) fn parse(source: &str) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(source);
    let token = lexer.next()?;
    if token.kind == Kind::End {
        return Err(ParseError::whole(
            "empty pipeline: the source has no task in it",
        ));
    }
    let mut parser = Parser {
        source,
        lexer,
        token,
        graph: Graph::default(),
        ids: HashMap::new(),
        edges: HashSet::new(),
        said: 0,
        depth: 0,
    };
    parser.statements()?;
    match parser.token.kind {
        Kind::End => Ok(parser.graph),
        _ => Err(parser.here("unexpected `}`: write only what would stand inside digraph { ... }")),
    }
}

struct Parser<'a> {
    source: &'a str,
    lexer: Lexer<'a>,
    token: Token,
    graph: Graph,
    ids: HashMap<String, usize>,
    edges: HashSet<(usize, usize)>,
    /// Edges said so far, also those that were already there.
    said: usize,
    depth: usize,
}

impl Parser<'_> {
    fn here(&self, message: impl Into<String>) -> ParseError {
        ParseError::at(self.source, self.token.at, message)
    }

    fn advance(&mut self) -> Result<Token, ParseError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn take(&mut self, kind: &Kind) -> Result<bool, ParseError> {
        let there = self.token.kind == *kind;
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    /// Statements up to `}` or the end; the nodes they mention.
    fn statements(&mut self) -> Result<Vec<usize>, ParseError> {
        let mut mentioned = Vec::new();
        loop {
            while self.take(&Kind::Semicolon)? {}
            if matches!(self.token.kind, Kind::End | Kind::CloseBrace) {
                return Ok(mentioned);
            }
            mentioned.extend(self.statement()?);
        }
    }

    fn statement(&mut self) -> Result<Vec<usize>, ParseError> {
        match keyword(&self.token.kind).as_deref() {
            Some("graph" | "digraph" | "strict") => {
                return Err(self.here("write only what would stand inside digraph { ... }"));
            }
            Some(word @ ("node" | "edge")) => {
                return Err(self.here(format!(
                    "default attributes (`{word} [...]`) are not supported: write the attributes on each task"
                )));
            }
            _ => {}
        }
        let start = self.token.at;
        let mut from = match self.endpoint()? {
            Endpoint::Nodes(nodes) => nodes,
            Endpoint::GraphAttribute => return Ok(Vec::new()),
        };
        let mut mentioned = from.clone();
        let mut is_edge = false;
        loop {
            match self.token.kind {
                Kind::Undirected => {
                    return Err(self.here("`--` has no direction: write `->`"));
                }
                Kind::Arrow => {
                    let arrow = self.advance()?.at;
                    let Endpoint::Nodes(to) = self.endpoint()? else {
                        return Err(self.here("expected a task after `->`"));
                    };
                    self.connect(&from, &to, arrow)?;
                    mentioned.extend(&to);
                    from = to;
                    is_edge = true;
                }
                _ => break,
            }
        }
        while self.token.kind == Kind::OpenBracket {
            let at = self.token.at;
            let attributes = self.attributes()?;
            if attributes.is_empty() {
                continue;
            }
            if is_edge {
                return Err(ParseError::at(
                    self.source,
                    at,
                    "attributes on an edge have no meaning here: write them on the task itself",
                ));
            }
            let [node] = from[..] else {
                return Err(ParseError::at(
                    self.source,
                    start,
                    "attributes on a group are not supported: write them on each task",
                ));
            };
            self.define(node, start, &attributes)?;
            for attribute in attributes {
                self.set(node, attribute)?;
            }
        }
        Ok(mentioned)
    }

    /// A task id or a group of them.
    fn endpoint(&mut self) -> Result<Endpoint, ParseError> {
        if keyword(&self.token.kind).as_deref() == Some("subgraph") {
            self.advance()?;
            if matches!(self.token.kind, Kind::Id(_)) {
                self.advance()?;
            }
            if self.token.kind != Kind::OpenBrace {
                return Err(self.here("expected `{` after subgraph"));
            }
        }
        if self.token.kind == Kind::OpenBrace {
            return Ok(Endpoint::Nodes(self.group()?));
        }
        let at = self.token.at;
        if let Some(word) = keyword(&self.token.kind) {
            return Err(self.here(format!(
                "`{word}` is a reserved word: a task cannot be named so"
            )));
        }
        let Kind::Id(id) = &self.token.kind else {
            return Err(self.here(format!(
                "expected a task id, found {}",
                describe(&self.token.kind)
            )));
        };
        let id = id.clone();
        self.advance()?;
        if self.token.kind == Kind::Equals {
            self.advance()?;
            self.id("a value after `=`")?;
            self.graph
                .warnings
                .push(format!("the graph attribute {:?} has no effect", id.text));
            return Ok(Endpoint::GraphAttribute);
        }
        if self.token.kind == Kind::Colon {
            return Err(self.here("ports (`task:port`) are not supported: write the task id alone"));
        }
        Ok(Endpoint::Nodes(vec![self.node(id, at)?]))
    }

    fn group(&mut self) -> Result<Vec<usize>, ParseError> {
        if self.depth == MAX_GROUP_DEPTH {
            return Err(self.here(format!("groups nest deeper than {MAX_GROUP_DEPTH} levels")));
        }
        let open = self.advance()?.at;
        self.depth += 1;
        let mut nodes = self.statements()?;
        self.depth -= 1;
        if !self.take(&Kind::CloseBrace)? {
            return Err(ParseError::at(
                self.source,
                open,
                "the group opened here is never closed with }",
            ));
        }
        let mut seen = HashSet::new();
        nodes.retain(|n| seen.insert(*n));
        Ok(nodes)
    }

    fn node(&mut self, id: Id, at: usize) -> Result<usize, ParseError> {
        if id.text == "input" {
            return Err(ParseError::at(
                self.source,
                at,
                "the task id `input` is reserved: choose another name",
            ));
        }
        if let Some(known) = self.ids.get(&id.text) {
            return Ok(*known);
        }
        let position = self.graph.nodes.len();
        self.ids.insert(id.text.clone(), position);
        self.graph.nodes.push(Node {
            id: id.text,
            at,
            attributes: Vec::new(),
            defined_at: None,
        });
        Ok(position)
    }

    /// Several statements may describe one task, but only one of them can be where it is defined: a
    /// second type with other attributes is a copy whose name was not changed.
    fn define(
        &mut self,
        node: usize,
        start: usize,
        attributes: &[Attribute],
    ) -> Result<(), ParseError> {
        let node = &mut self.graph.nodes[node];
        if !attributes
            .iter()
            .any(|a| a.name.eq_ignore_ascii_case("type"))
        {
            return Ok(());
        }
        let first = *node.defined_at.get_or_insert(start);
        let says_otherwise = |a: &Attribute| {
            let mut earlier = node.attributes.iter();
            earlier.any(|e| e.name.eq_ignore_ascii_case(&a.name) && e.value != a.value)
        };
        if first == start || !attributes.iter().any(says_otherwise) {
            return Ok(());
        }
        let message = format!(
            "the task id `{}` is used twice, first at {}: rename one of the two tasks",
            node.id,
            Place::of(self.source, first)
        );
        Err(ParseError::at(self.source, start, message))
    }

    fn connect(&mut self, from: &[usize], to: &[usize], at: usize) -> Result<(), ParseError> {
        self.said = self.said.saturating_add(from.len() * to.len());
        if self.said > MAX_EDGES {
            return Err(ParseError::at(
                self.source,
                at,
                format!("more than {MAX_EDGES} edges"),
            ));
        }
        for &a in from {
            for &b in to {
                if a == b {
                    let id = &self.graph.nodes[a].id;
                    return Err(ParseError::at(
                        self.source,
                        at,
                        format!("a cycle was detected: the task `{id}` points at itself"),
                    ));
                }
                if self.edges.insert((a, b)) {
                    self.graph.edges.push((a, b));
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, node: usize, attribute: Attribute) -> Result<(), ParseError> {
        let node = &mut self.graph.nodes[node];
        let earlier = node
            .attributes
            .iter_mut()
            .find(|a| a.name.eq_ignore_ascii_case(&attribute.name));
        let Some(earlier) = earlier else {
            if node.attributes.len() == MAX_ATTRIBUTES {
                let message = format!("a task has at most {MAX_ATTRIBUTES} attributes");
                return Err(ParseError::at(self.source, attribute.at, message));
            }
            node.attributes.push(attribute);
            return Ok(());
        };
        if earlier.value != attribute.value {
            self.graph.warnings.push(format!(
                "the task `{}` sets `{}` more than once: the last one counts",
                node.id, attribute.name
            ));
        }
        *earlier = attribute;
        Ok(())
    }

    fn attributes(&mut self) -> Result<Vec<Attribute>, ParseError> {
        let open = self.advance()?.at;
        let mut attributes = Vec::new();
        loop {
            while matches!(self.token.kind, Kind::Comma | Kind::Semicolon) {
                self.advance()?;
            }
            if self.take(&Kind::CloseBracket)? {
                return Ok(attributes);
            }
            if self.token.kind == Kind::End {
                return Err(ParseError::at(
                    self.source,
                    open,
                    "the attributes opened here are never closed with ]",
                ));
            }
            let at = self.token.at;
            let name = self.id("an attribute name")?;
            if self.token.kind != Kind::Equals {
                return Err(self.here(format!(
                    "expected `=` after the attribute name `{}`, found {}",
                    name.text,
                    describe(&self.token.kind)
                )));
            }
            self.advance()?;
            let value_at = self.token.at;
            let value = self.id("a value after `=`")?;
            if matches!(value.form, Form::AngleKept | Form::QuotedAngle) {
                self.graph.warnings.push(format!(
                    "the value of `{}` keeps its outer {} because of the angle brackets in it: write it in plain quotes instead",
                    name.text,
                    if value.form == Form::AngleKept { "<>" } else { "quotes" },
                ));
            }
            attributes.push(Attribute {
                name: name.text,
                value: value.text,
                at,
                value_at,
            });
        }
    }

    fn id(&mut self, what: &str) -> Result<Id, ParseError> {
        if let Some(word) = keyword(&self.token.kind) {
            return Err(self.here(format!(
                "expected {what}; the reserved word `{word}` must stand in quotes"
            )));
        }
        match self.token.kind.clone() {
            Kind::Id(id) => {
                self.advance()?;
                Ok(id)
            }
            other => Err(self.here(format!("expected {what}, found {}", describe(&other)))),
        }
    }
}

enum Endpoint {
    Nodes(Vec<usize>),
    GraphAttribute,
}

/// The lower-case word, when a bare id is one of the reserved ones.
fn keyword(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Id(Id {
            text,
            form: Form::Bare,
        }) => {
            let word = text.to_ascii_lowercase();
            matches!(
                word.as_str(),
                "graph" | "digraph" | "node" | "edge" | "subgraph" | "strict"
            )
            .then_some(word)
        }
        _ => None,
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Id(id) => format!("`{}`", crate::error::excerpt(&id.text, 40)),
        Kind::Arrow => "`->`".into(),
        Kind::Undirected => "`--`".into(),
        Kind::OpenBracket => "`[`".into(),
        Kind::CloseBracket => "`]`".into(),
        Kind::OpenBrace => "`{`".into(),
        Kind::CloseBrace => "`}`".into(),
        Kind::Equals => "`=`".into(),
        Kind::Comma => "`,`".into(),
        Kind::Semicolon => "`;`".into(),
        Kind::Colon => "`:`".into(),
        Kind::End => "the end of the source".into(),
    }
}
