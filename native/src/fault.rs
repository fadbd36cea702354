//! The one error of this crate's own functions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

/// An argument has an impossible value: a fault of the caller, never of a message.
///
/// It holds nothing, so that neither its text nor its `Debug` can show a secret.
#[derive(Debug)]
pub struct Fault;

impl From<Fault> for PyErr {
    fn from(_: Fault) -> Self {
        PyValueError::new_err("native core: an argument is out of range")
    }
}

/// Call a function; a panic in it is a fault, as nothing is left half done.
///
/// `PyO3` would raise `PanicException`, which no program expects.
pub fn caught<T, E: From<Fault>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Fault.into()))
}
