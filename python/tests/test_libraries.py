"""Polars, pandas and DuckDB, in and out; and a package that is not there."""

import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

LEFT = "SELECT t.*, u.tier FROM input t LEFT JOIN users u ON t.user_id = u.user_id"
EXPECTED = [(10, 2, "silver"), (11, 9, None), (12, 1, "gold"), (13, 3, None)]


def inputs(trades):
    arrow_table = pa.table(trades)
    return {
        "batch": trades,
        "table": arrow_table,
        "reader": arrow_table.to_reader(),
        "polars": pl.DataFrame(arrow_table),
        "polars chunks": pl.DataFrame(arrow_table[:2]).vstack(pl.DataFrame(arrow_table[2:])),
        "pandas": arrow_table.to_pandas(),
        "duckdb": duckdb.connect().sql("SELECT * FROM arrow_table"),
    }


@pytest.mark.parametrize("kind", ["batch", "table", "reader", "polars", "polars chunks", "pandas", "duckdb"])
def test_every_library_in_and_out(with_users, trades, kind):
    rows = with_users.prepare(LEFT).enrich(inputs(trades)[kind])
    assert rows.to_polars().rows() == EXPECTED
    assert [tuple(row.values()) for row in rows.to_pyarrow().to_pylist()] == EXPECTED
    frame = rows.to_pandas()
    assert frame["trade_id"].tolist() == [10, 11, 12, 13]
    assert [None if pd.isna(tier) else tier for tier in frame["tier"]] == ["silver", None, "gold", None]
    assert duckdb.sql("SELECT trade_id, user_id, tier FROM rows ORDER BY trade_id").fetchall() == EXPECTED


@pytest.mark.parametrize("kind", ["batch", "table", "reader", "polars", "polars chunks", "pandas", "duckdb"])
def test_every_library_as_a_table(session, trades, kind):
    session.table("trades", inputs(trades)[kind], key="trade_id")
    query = session.prepare("SELECT t.user_id FROM input i JOIN trades t USING (trade_id)")
    assert query.enrich(pl.DataFrame({"trade_id": [13, 10]})).to_polars().rows() == [(3,), (2,)]


def test_polars_types_come_back(session):
    frame = pl.DataFrame(
        {
            "k": [1, 2, 3],
            "text": ["short", "a text that is longer than a view holds inline", None],
            "category": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "list": [[1], [], None],
            "struct": [{"a": 1}, {"a": None}, {"a": 3}],
            "decimal": pl.Series(["1.25", None, "9.99"]).str.to_decimal(scale=2),
            "when": pl.Series([0, 1, None]).cast(pl.Datetime("us", "UTC")),
            "day": pl.Series([0, 1, None]).cast(pl.Date),
            "span": pl.Series([0, 1, None]).cast(pl.Duration("ms")),
            "bytes": [b"a", None, b""],
        }
    )
    session.table("t", pl.DataFrame({"k": [1, 2, 3], "n": ["one", "two", "three"]}), key="k")
    out = session.prepare("SELECT i.*, t.n FROM input i JOIN t USING (k)").enrich(frame).to_polars()
    assert out.drop("n").rows() == frame.rows()
    assert out["n"].to_list() == ["one", "two", "three"]
    assert out.schema["text"] == pl.String and out.schema["when"] == pl.Datetime("us", "UTC")


def test_a_polars_key_meets_an_arrow_one(session):
    session.table("t", pa.table({"k": pa.array(["a", "b"]), "v": [1, 2]}), key="k")
    query = session.prepare("SELECT t.v FROM input i JOIN t ON i.k = t.k")
    assert query.enrich(pl.DataFrame({"k": ["b", "x"]})).to_polars()["v"].to_list() == [2]
    category = pl.DataFrame({"k": pl.Series(["b", "a"], dtype=pl.Categorical)})
    assert query.enrich(category).to_polars()["v"].to_list() == [2, 1]


def test_a_requested_schema_is_met(with_users, trades):
    rows = with_users.prepare("SELECT t.trade_id, u.tier FROM input t JOIN users u USING (user_id)").enrich(trades)
    wanted = pa.schema([("trade_id", pa.int32()), ("tier", pa.string())])
    assert pa.table(rows, schema=wanted).schema == wanted
    assert pa.record_batch(rows, schema=wanted).schema == wanted
    assert pa.table(rows, schema=wanted)["tier"].to_pylist() == ["silver", "gold", None]


@pytest.mark.parametrize("package, method", [("pyarrow", "to_pyarrow"), ("polars", "to_polars"), ("pandas", "to_pandas")])
def test_a_missing_package_is_named(session, monkeypatch, package, method):
    rows = session.sql("SELECT 1 AS a UNION ALL SELECT 2")
    monkeypatch.setitem(sys.modules, package, None)
    if package == "pyarrow":
        rows = session.sql("CREATE TABLE t (a BIGINT)")
    with pytest.raises(ImportError, match=f"pip install {package}"):
        getattr(rows, method)()
