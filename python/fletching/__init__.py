"""Enrich batches of Arrow data from keyed tables, with SQL.

    import fletching as fl

    session = fl.Session()
    session.table("users", users, key="user_id")
    query = session.prepare("SELECT t.*, u.tier FROM input t JOIN users u ON t.user_id = u.user_id")
    enriched = query.enrich(batch)

Data go in and out by the Arrow PyCapsule interface, without copies: pyarrow, Polars, pandas and DuckDB objects
are taken as they are, and take the results as they are.
"""

from ._fletching import (
    CancelledError,
    DataError,
    Error,
    ExternalError,
    InternalError,
    OptionError,
    Pipeline,
    Prepared,
    ResourceError,
    Results,
    Rows,
    Schema,
    Session,
    SqlError,
    Stream,
    Warning,
    __version__,
)

__all__ = [
    "CancelledError",
    "DataError",
    "Error",
    "ExternalError",
    "InternalError",
    "OptionError",
    "Pipeline",
    "Prepared",
    "ResourceError",
    "Results",
    "Rows",
    "Schema",
    "Session",
    "SqlError",
    "Stream",
    "Warning",
    "__version__",
]
