//! `cborparse`: the parameters of a request.

use crate::cbor;
use crate::convert::{bytes, string};
use crate::error::{TaskError, excerpt};
use crate::value::Value;

use super::{ANY_NUMBER, Task, resolve};

pub(super) fn run(task: &Task<'_>) -> Result<Value, TaskError> {
    task.check_inputs(ANY_NUMBER)?;
    resolve! {
        data = task.param("data").expression().value(),
        mode = task.param("mode").literal().or("diet").to(string),
    }
    let raw = bytes(&data).map_err(|e| e.within("data"))?;
    let parsed = match mode.as_str() {
        "diet" => cbor::parse_diet(&raw),
        "standard" => cbor::parse(&raw),
        other => {
            return Err(TaskError::bad_input(format!(
                "unrecognised mode {:?}",
                excerpt(other, 40)
            ))
            .within("mode"));
        }
    };
    parsed.map_err(|e| TaskError::bad_input(e).within("data"))
}
