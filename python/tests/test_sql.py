"""The rest of SQL, and what a result says of itself."""

import os
import signal
import threading
import time

import pyarrow as pa
import pytest

import fletching as fl


def test_the_last_statement_gives_the_result(session):
    result = session.sql("SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3 ORDER BY b")
    assert result.to_pyarrow().to_pydict() == {"b": [2, 3]}


def test_a_statement_without_rows_gives_none(session):
    result = session.sql("CREATE TABLE t (a BIGINT)")
    assert (result.num_rows, result.num_columns, result.column_names) == (0, 0, [])
    assert result.to_pyarrow().num_columns == 0
    assert repr(result) == "fletching.Rows: 0 rows × 0 columns"
    assert session.tables() == ["t"]


def test_tables_are_named_in_order(with_users):
    with_users.table("accounts", pa.table({"id": [1]}))
    with_users.sql("CREATE STREAM trades (id BIGINT)")
    assert with_users.tables() == ["accounts", "users"]
    assert repr(with_users) == "fletching.Session(accounts, trades, users)"


def test_files_are_read_and_written(session, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text("id,tier\n1,gold\n2,silver\n")
    session.sql(f"CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (path = '{path}')")
    query = session.prepare("SELECT u.tier FROM input i JOIN users u USING (id)")
    assert query.enrich(pa.record_batch({"id": [2]})).to_pyarrow()["tier"].to_pylist() == ["silver"]
    out = tmp_path / "out.parquet"
    session.sql(f"CREATE SINK out WITH (path = '{out}') AS SELECT * FROM users")
    assert session.sql(f"SELECT COUNT(*) AS n FROM '{out}'").to_pyarrow()["n"].to_pylist() == [2]


def test_a_result_shows_its_first_rows(session):
    assert repr(session.sql("SELECT 1 AS a, 'x' AS b, NULL AS c")) == "\n".join(
        [
            "+---+---+------+",
            "| a | b | c    |",
            "+---+---+------+",
            "| 1 | x | NULL |",
            "+---+---+------+",
            "1 row × 3 columns",
        ]
    )
    long = session.sql("SELECT value, repeat('y', 100) AS y FROM generate_series(1, 25)")
    assert repr(long).endswith("25 rows × 2 columns, the first 10 rows shown")
    assert "y" * 40 + "…" in repr(long) and "y" * 41 not in repr(long)
    wide = session.sql("SELECT " + ", ".join(f"{at} AS c{at}" for at in range(20)))
    assert repr(wide).endswith("1 row × 20 columns, the first 12 columns shown")


def test_a_schema_is_arrow_too(session):
    result = session.sql("SELECT 1 AS a, 'x' AS b")
    assert result.column_names == result.schema.names == ["a", "b"]
    assert len(result.schema) == 2
    assert pa.schema(result.schema).field("a").type == pa.int64()
    assert result.schema.to_pyarrow() == pa.schema(result)
    assert result.schema == session.sql("SELECT 2 AS a, 'y' AS b").schema
    assert repr(session.sql("SELECT 1 AS a").schema) == "fletching.Schema(a: Int64)"


def test_settings_hold(session):
    session.sql("SET threads = 1")
    assert "threads" in str(session.sql("SHOW SETTINGS").to_pyarrow().to_pydict())


def test_warnings_are_taken_once(with_users):
    with_users.sql("CREATE STREAM s (a BIGINT)")
    with_users.sql("SELECT * FROM s JOIN users ON s.a > users.user_id")
    codes = [warning.code for warning in with_users.warnings()]
    assert "JOIN_WITHOUT_KEY" in codes
    assert with_users.warnings() == []


ENDLESS = "CREATE STREAM endless (a BIGINT) WITH (connector = 'datagen', rows = 1000000000000)"


def interrupted(work):
    """Does work until Ctrl-C ends it; returns the seconds from one to the other."""
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # Python leaves Ctrl-C alone where it was started with it ignored, as background jobs are.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    return time.monotonic() - pressed[0]


def test_ctrl_c_ends_a_long_statement(session):
    session.sql(ENDLESS)
    assert interrupted(lambda: session.sql("SELECT COUNT(*) FROM endless WHERE a > 7")) < 5
    assert session.sql("SELECT 1 AS a").num_rows == 1


def test_ctrl_c_leaves_prepared_queries_alone(with_users, trades):
    text = "SELECT COUNT(*) AS n FROM input t JOIN users USING (user_id)"
    query = with_users.prepare(text, input=trades.schema)
    with_users.sql(ENDLESS)
    interrupted(lambda: with_users.sql("SELECT COUNT(*) FROM endless WHERE a > 7"))
    assert query.enrich(trades).to_pyarrow()["n"].to_pylist() == [3]


def test_the_version_is_told():
    assert fl.__version__.count(".") == 2
