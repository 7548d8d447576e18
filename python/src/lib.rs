//! The Python package `fletching`: a thin skin over `Session`.
//!
//! ```text
//!   pyarrow, Polars, pandas, DuckDB                         pyarrow, Polars, pandas, DuckDB
//!        │ __arrow_c_array__, __arrow_c_stream__                      ▲
//!        ▼                                                            │ the same
//!   input (capsule) ──▶ Session, Prepared: the engine, GIL released ──▶ Rows
//! ```
//!
//! A `Stream` is pushed into pipelines, whose `Results` are taken; both are the engine's own.
//!
//! No value is copied on the way in or out: both sides hold the same buffers.

mod capsule;
mod error;
mod input;
mod interrupt;
mod pipeline;
mod prepared;
mod preview;
mod rows;
mod schema;
mod session;
mod stream;
mod waiting;

use fletching_allocator::{Allocator, keep_freed_memory};
use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// What `import fletching` finds. Nothing in it leans on the GIL for its safety.
#[pymodule(gil_used = false)]
fn _fletching(module: &Bound<'_, PyModule>) -> PyResult<()> {
    keep_freed_memory();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<session::PySession>()?;
    module.add_class::<prepared::PyPrepared>()?;
    module.add_class::<pipeline::PyPipeline>()?;
    module.add_class::<stream::PyStream>()?;
    module.add_class::<stream::PyResults>()?;
    module.add_class::<rows::PyRows>()?;
    module.add_class::<schema::PyColumns>()?;
    error::add_to(module)
}
