//! The engine's errors as Python exceptions, with their code, place and hint.

use fletching::{Error, ErrorClass};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyUserWarning};
use pyo3::prelude::*;
use pyo3::types::PyType;

create_exception!(
    fletching,
    PyError,
    PyException,
    "Anything that goes wrong in a session.\n\n\
     code: a stable name; kind: who can mend it ('user', 'resource', 'external', 'internal');\n\
     line, column, text: where, if known; hint: how to mend it, if known."
);
create_exception!(
    fletching,
    SqlError,
    PyError,
    "The SQL is wrong: where, and how to mend it."
);
create_exception!(
    fletching,
    OptionError,
    PyError,
    "A name, an option or a setting is wrong."
);
create_exception!(
    fletching,
    DataError,
    PyError,
    "The data do not fit, or a row cannot be computed."
);
create_exception!(fletching, ResourceError, PyError, "A limit was met.");
create_exception!(
    fletching,
    ExternalError,
    PyError,
    "A file or something else outside the program failed."
);
create_exception!(fletching, CancelledError, PyError, "The statement was cancelled.");
create_exception!(
    fletching,
    InternalError,
    PyError,
    "A fault in fletching itself: please report it."
);
create_exception!(
    fletching,
    PyWarning,
    PyUserWarning,
    "Something that can be run but deserves a look.\n\ncode: a stable name."
);

/// The attributes every exception has; None where they say nothing.
const ATTRIBUTES: [&str; 6] = ["code", "kind", "line", "column", "text", "hint"];

/// Adds the exceptions to the module, with every attribute there from the start.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let add = |name: &str, class: Bound<'_, PyType>| {
        class.setattr("__name__", name)?;
        class.setattr("__qualname__", name)?;
        module.add(name, class)
    };
    let base = py.get_type::<PyError>();
    for attribute in ATTRIBUTES {
        base.setattr(attribute, py.None())?;
    }
    add("Error", base)?;
    add("SqlError", py.get_type::<SqlError>())?;
    add("OptionError", py.get_type::<OptionError>())?;
    add("DataError", py.get_type::<DataError>())?;
    add("ResourceError", py.get_type::<ResourceError>())?;
    add("ExternalError", py.get_type::<ExternalError>())?;
    add("CancelledError", py.get_type::<CancelledError>())?;
    add("InternalError", py.get_type::<InternalError>())?;
    let warning = py.get_type::<PyWarning>();
    warning.setattr("code", py.None())?;
    add("Warning", warning)
}

/// What an error knows beside its message.
#[derive(Default)]
struct Details {
    line: Option<u64>,
    /// In a SQL text a number, in a record a name.
    column: Option<String>,
    column_number: Option<u64>,
    text: Option<String>,
    hint: Option<String>,
}

impl Details {
    fn of(error: &Error) -> Self {
        match error {
            Error::Sql(error) => Self {
                line: error.location.map(|at| at.line),
                column_number: error.location.map(|at| at.column),
                text: error.text.clone(),
                hint: error.hint.clone(),
                ..Self::default()
            },
            Error::Option { hint, location, .. } => Self {
                line: location.map(|(line, _)| line),
                column_number: location.map(|(_, column)| column),
                hint: hint.clone(),
                ..Self::default()
            },
            Error::Record { place, hint, .. } => Self {
                line: place.line.or(place.row),
                column: place.column.clone(),
                text: Some(place.origin.clone()),
                hint: hint.clone(),
                ..Self::default()
            },
            Error::File { path, hint, .. } => Self {
                text: Some(path.display().to_string()),
                hint: hint.clone(),
                ..Self::default()
            },
            Error::Compute { hint, .. } => Self {
                hint: hint.clone(),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

/// Makes the exception that an engine's error is in Python.
pub(crate) fn raised(error: &Error) -> PyErr {
    Python::attach(|py| {
        let message = error.to_string();
        let exception = match error {
            Error::Sql(_) => SqlError::new_err(message),
            Error::Option { .. } => OptionError::new_err(message),
            Error::Record { .. } | Error::Compute { .. } | Error::Batch { .. } => DataError::new_err(message),
            Error::Cancelled => CancelledError::new_err(message),
            _ => match error.class() {
                ErrorClass::Resource => ResourceError::new_err(message),
                ErrorClass::External => ExternalError::new_err(message),
                ErrorClass::Internal => InternalError::new_err(message),
                ErrorClass::User => PyError::new_err(message),
            },
        };
        let kind = match error.class() {
            ErrorClass::User => "user",
            ErrorClass::Resource => "resource",
            ErrorClass::External => "external",
            ErrorClass::Internal => "internal",
        };
        let details = Details::of(error);
        let value = exception.value(py);
        let told = || -> PyResult<()> {
            value.setattr("code", error.code())?;
            value.setattr("kind", kind)?;
            value.setattr("line", details.line)?;
            match details.column {
                Some(name) => value.setattr("column", name)?,
                None => value.setattr("column", details.column_number)?,
            }
            value.setattr("text", details.text)?;
            value.setattr("hint", details.hint)
        };
        match told() {
            Ok(()) => exception,
            Err(other) => other,
        }
    })
}

/// Makes the error of data that cannot be taken in.
pub(crate) fn bad_data(message: impl Into<String>) -> PyErr {
    raised(&Error::Batch {
        message: message.into(),
    })
}

/// Makes the Python form of a warning: a `UserWarning` with a code, to read or to pass on.
pub(crate) fn warning<'py>(py: Python<'py>, warning: &fletching::Warning) -> PyResult<Bound<'py, PyAny>> {
    let value = py.get_type::<PyWarning>().call1((warning.message.clone(),))?;
    value.setattr("code", warning.code())?;
    Ok(value)
}
