//! Where a task's parameters come from, and what they must be.
//!
//! Each parameter is looked for in several places in a fixed order, written as a chain:
//! `task.param("input").expression().literal().input().to(decimal)`. The first place that is not
//! empty decides; an error there is the parameter's error.

use std::borrow::Cow;

use crate::error::{TaskError, text};
use crate::tasks::Task;
use crate::value::{JsonReader, Value};

/// A parameter on its way to a value.
pub(crate) struct Param<'t> {
    task: &'t Task<'t>,
    name: &'static str,
    source: &'t str,
    state: State<'t>,
}

enum State<'t> {
    Empty,
    Found(Cow<'t, Value>),
    Failed(TaskError),
}

impl<'t> Task<'t> {
    /// A parameter with the text of its attribute.
    pub(crate) fn param(&'t self, name: &'static str) -> Param<'t> {
        self.param_or(name, "")
    }

    /// A parameter with a text for when the attribute is not there.
    pub(crate) fn param_or(&'t self, name: &'static str, default: &'t str) -> Param<'t> {
        let source = self.def.attribute(name).unwrap_or(default);
        Param {
            task: self,
            name,
            source,
            state: State::Empty,
        }
    }
}

impl<'t> Param<'t> {
    fn otherwise(mut self, _sign: &'static str, next: impl FnOnce(&Self) -> State<'t>) -> Self {
        #[cfg(test)]
        trace::note(self.name, _sign);
        if matches!(self.state, State::Empty) {
            self.state = next(&self);
        }
        self
    }

    /// The variable, when the whole text is one `$(path)`.
    pub(crate) fn expression(self) -> Self {
        self.otherwise("E", |p| match whole_expression(p.source) {
            None => State::Empty,
            Some(path) => match p.task.vars.get(path) {
                Ok(value) => State::Found(Cow::Borrowed(value)),
                Err(error) => State::Failed(error),
            },
        })
    }

    /// The text read as JSON, with `$(path)` in the place of any value.
    pub(crate) fn json(self) -> Self {
        self.otherwise("J", |p| {
            if p.source.trim().is_empty() {
                return State::Empty;
            }
            let lookup = |path: &str| p.task.vars.get(path).cloned().map_err(TaskError::into_text);
            match JsonReader::with_expressions(p.source, &lookup).first() {
                Ok(value) => State::Found(Cow::Owned(value)),
                Err(error) => State::Failed(json_failed(&error)),
            }
        })
    }

    /// The text without surrounding space, when there is any.
    pub(crate) fn literal(self) -> Self {
        self.otherwise("L", |p| match p.source.trim() {
            "" => State::Empty,
            text => State::Found(Cow::Owned(Value::String(text.to_owned()))),
        })
    }

    /// The text as it is, even empty.
    pub(crate) fn raw(self) -> Self {
        self.otherwise("R", |p| {
            State::Found(Cow::Owned(Value::String(p.source.to_owned())))
        })
    }

    /// The first result handed over along an edge.
    pub(crate) fn input(self) -> Self {
        self.otherwise("I", |p| match p.task.inputs.first() {
            Some(Ok(value)) => State::Found(Cow::Borrowed(value)),
            Some(Err(error)) => State::Failed(TaskError::new(error.as_ref())),
            None => State::Failed(
                TaskError::new(text::INDEX_OUT_OF_RANGE).within("the task has no input"),
            ),
        })
    }

    /// A fixed value.
    pub(crate) fn or(self, default: impl Into<Value>) -> Self {
        self.otherwise("", |_| State::Found(Cow::Owned(default.into())))
    }

    /// The value as it is.
    pub(crate) fn value(self) -> Result<Cow<'t, Value>, TaskError> {
        match self.state {
            State::Found(value) => Ok(value),
            State::Failed(error) => Err(error.within(self.name)),
            State::Empty => Err(TaskError::new(text::PARAMETER_EMPTY).within(self.name)),
        }
    }

    /// The value as what the task needs.
    pub(crate) fn to<T>(
        self,
        convert: impl FnOnce(&Value) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        let name = self.name;
        let value = self.value()?;
        convert(&value).map_err(|error| error.within(name))
    }
}

/// Binds several parameters; when any of them fails the task fails with all their errors.
macro_rules! resolve {
    ($($name:ident = $param:expr),+ $(,)?) => {
        $(let $name = $param;)+
        let errors: Vec<String> =
            [$($name.as_ref().err().map(ToString::to_string)),+].into_iter().flatten().collect();
        if !errors.is_empty() {
            return Err($crate::error::TaskError::new(errors.join("; ")));
        }
        $(let $name = $name?;)+
    };
}
pub(crate) use resolve;

/// The path, when the text is exactly one expression.
pub(crate) fn whole_expression(source: &str) -> Option<&str> {
    let text = source.trim();
    let inner = text.strip_prefix("$(")?.strip_suffix(')')?;
    (text.matches('$').count() == 1).then(|| inner.trim())
}

pub(crate) fn json_failed(error: &crate::value::JsonError) -> TaskError {
    match error {
        crate::value::JsonError::Expression(message) => TaskError::new(message.clone()),
        other => TaskError::bad_input(other),
    }
}

/// Notes where tasks look for their parameters, so that the reference page can be compared.
#[cfg(test)]
pub(crate) mod trace {
    use std::cell::RefCell;

    thread_local! {
        static SEEN: RefCell<Option<Vec<(&'static str, String)>>> = const { RefCell::new(None) };
    }

    pub(crate) fn begin() {
        SEEN.with(|seen| *seen.borrow_mut() = Some(Vec::new()));
    }

    pub(super) fn note(name: &'static str, sign: &str) {
        SEEN.with(|seen| {
            if let Some(seen) = seen.borrow_mut().as_mut().filter(|_| !sign.is_empty()) {
                match seen.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, places)) => {
                        places.push(' ');
                        places.push_str(sign);
                    }
                    None => seen.push((name, sign.to_owned())),
                }
            }
        });
    }

    pub(crate) fn end() -> Vec<(&'static str, String)> {
        SEEN.with(|seen| seen.borrow_mut().take().unwrap_or_default())
    }
}
