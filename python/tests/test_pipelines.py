"""Pipelines: streams pushed to, results taken, and the handle on what runs."""

import threading

import pyarrow as pa
import pytest

import fletching as fl

TRADES = pa.schema([("trade_id", pa.int64()), ("user_id", pa.int64())])
LONGEST = 60.0


def rows_of(results, count):
    """Takes results until there are so many rows."""
    taken = []
    while sum(table.num_rows for table in taken) < count:
        rows = results.take(timeout=LONGEST)
        assert rows.num_rows > 0, "nothing came"
        taken.append(rows.to_pyarrow())
    return pa.concat_tables(taken)


@pytest.fixture
def running(with_users):
    stream = with_users.stream("trades", TRADES)
    with_users.sql(
        """CREATE SINK enriched WITH (connector = 'memory') AS
           SELECT t.trade_id, u.tier FROM trades t LEFT JOIN users u ON t.user_id = u.user_id"""
    )
    yield with_users, stream
    for pipeline in with_users.pipelines():
        pipeline.stop()


def test_a_pipeline_enriches_what_is_pushed(running):
    session, stream = running
    results = session.results("enriched")
    (pipeline,) = session.pipelines()
    assert (pipeline.name, pipeline.state, pipeline.failure) == ("enriched", "running", None)
    assert repr(pipeline) == "fletching.Pipeline(enriched, running)"

    stream.push(pa.record_batch({"trade_id": [10, 11], "user_id": [2, 9]}))
    # Columns by name, other types, a table of several batches.
    stream.push(pa.table({"user_id": pa.array([1], pa.int32()), "trade_id": [12]}))
    assert rows_of(results, 3).to_pylist() == [
        {"trade_id": 10, "tier": "silver"},
        {"trade_id": 11, "tier": None},
        {"trade_id": 12, "tier": "gold"},
    ]
    assert stream.wait_until_read(timeout=LONGEST)
    assert stream.forget_read() == 0

    # A table that changes is seen by what comes after.
    session.sql("INSERT INTO users VALUES (9, 'bronze')")
    stream.push(pa.record_batch({"trade_id": [13], "user_id": [9]}))
    assert rows_of(results, 1)["tier"].to_pylist() == ["bronze"]

    assert not pipeline.wait(timeout=0.01)
    stream.finish()
    assert pipeline.wait(timeout=LONGEST)
    assert pipeline.state == "ended" and results.has_ended
    assert results.take(timeout=None).num_rows == 0
    stats = pipeline.stats()
    assert (stats["stream"], stats["state"]) == ("trades", "ended")
    assert (stats["rows_in"], stats["rows_out"], stats["bad_rows"], stats["late"]) == (4, 4, 0, 0)
    assert stats["epoch"] >= 2 and list(stats["positions"]) == ["memory"]
    (lookup,) = stats["lookups"]
    assert (lookup["table"], lookup["looked_up"], lookup["matched"], lookup["padded"]) == ("users", 4, 3, 1)


def test_stop_commits_what_was_taken_in(running):
    session, stream = running
    (pipeline,) = session.pipelines()
    stream.push(pa.record_batch({"trade_id": [1], "user_id": [1]}))
    assert stream.wait_until_read(timeout=LONGEST)
    pipeline.stop()
    assert pipeline.wait(timeout=LONGEST) and pipeline.state == "ended"
    assert session.results("enriched").take().to_pyarrow().to_pylist() == [{"trade_id": 1, "tier": "gold"}]


def test_a_failure_is_raised_by_wait(session):
    stream = session.stream("numbers", pa.schema([("n", pa.int64())]))
    session.sql("CREATE SINK o WITH (connector = 'memory') AS SELECT 10 / n AS tenth FROM numbers")
    stream.push(pa.record_batch({"n": [5, 0]}))
    (pipeline,) = session.pipelines()
    with pytest.raises(fl.Error, match="zero"):
        pipeline.wait(timeout=LONGEST)
    assert pipeline.state == "failed" and "zero" in pipeline.failure
    with pytest.raises(fl.ExternalError, match="zero"):
        pipeline.wait()
    # Nothing of the epoch that failed is seen.
    assert session.results("o").take(timeout=LONGEST).num_rows == 0


def test_waiting_lets_other_threads_run(running):
    session, stream = running
    results = session.results("enriched")
    pusher = threading.Timer(0.1, lambda: stream.push(pa.record_batch({"trade_id": [5], "user_id": [3]})))
    pusher.start()
    assert results.take(timeout=None).num_rows == 1
    pusher.join()


def test_a_table_kept_from_a_stream(session):
    quotes = session.stream("quotes", pa.schema([("symbol", pa.string()), ("price", pa.int64())]))
    session.sql("CREATE TABLE stats AS SELECT symbol, count(*) AS n, sum(price) AS total FROM quotes GROUP BY symbol")
    quotes.push(pa.record_batch({"symbol": ["a", "b", "a"], "price": [1, 2, 3]}))
    assert quotes.wait_until_read(timeout=LONGEST)
    rows = session.sql("SELECT * FROM stats ORDER BY symbol").to_pyarrow().to_pylist()
    assert rows == [{"symbol": "a", "n": 2, "total": 4}, {"symbol": "b", "n": 1, "total": 2}]


def test_what_is_wrong_is_said(session):
    stream = session.stream("s", pa.schema([("n", pa.int64())]))
    with pytest.raises(fl.Error, match="already a stream"):
        session.stream("s", pa.schema([("n", pa.int64())]))
    with pytest.raises(fl.DataError):
        stream.push(pa.record_batch({"other": [1]}))
    with pytest.raises(TypeError):
        stream.push([1, 2])
    with pytest.raises(fl.DataError, match="connector = 'memory'"):
        session.results("nothing")
    with pytest.raises(ValueError, match="seconds"):
        stream.wait_until_read(timeout=-1)
    stream.finish()
    with pytest.raises(fl.DataError, match="finished"):
        stream.push(pa.record_batch({"n": [1]}))
