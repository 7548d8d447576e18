"""Rows without a match: dead letters and rows that wait, between the calls of a prepared query."""

import pyarrow as pa
import pyarrow.csv
import pytest

import fletching as fl

JOINED = "SELECT t.trade_id, u.tier FROM input t JOIN users u ON t.user_id = u.user_id"


def rows(result):
    return [tuple(row.values()) for row in result.to_pyarrow().to_pylist()]


def batch(*pairs):
    return pa.record_batch({"trade_id": [a for a, _ in pairs], "user_id": [b for _, b in pairs]})


def prepared(session, options):
    session.sql(
        f"CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id)) WITH ({options});"
        "INSERT INTO users VALUES (1, 'gold')"
    )
    return session.prepare(JOINED)


def test_dead_letters_are_flushed(session, tmp_path):
    path = tmp_path / "missed.csv"
    session.sql(f"CREATE SINK missed WITH (path = '{path}')")
    query = prepared(session, "on_miss = 'dead_letter', miss.dead_letter = 'missed'")
    assert query.flush() == []
    assert rows(query.enrich(batch((10, 1), (11, 7)))) == [(10, "gold")]
    assert query.flush() == [(str(path), 1)] and query.flush() == []
    query.enrich(batch((12, 8)))
    del query
    found = pa.csv.read_csv(path).to_pylist()
    assert [(row["table_key"], row["reason"]) for row in found] == [
        ("user_id = 7", "no match"),
        ("user_id = 8", "no match"),
    ]


def test_rows_wait_for_their_keys(session):
    query = prepared(session, "on_miss = 'wait', miss.wait = '1h', miss.then = 'null'")
    assert query.release() is None and query.finish() is None and query.rows_waiting == 0
    assert rows(query.enrich(batch((10, 7), (11, 1), (12, 8)))) == [(11, "gold")]
    assert query.rows_waiting == 2 and rows(query.release()) == []
    session.sql("INSERT INTO users VALUES (7, 'new')")
    assert rows(query.enrich(batch((13, 7)))) == [(10, "new"), (13, "new")]
    assert rows(query.finish()) == [(12, None)] and query.rows_waiting == 0


def test_what_groups_cannot_wait(session):
    prepared(session, "on_miss = 'wait'")
    grouped = session.prepare(JOINED.replace("t.trade_id, u.tier", "count(*) AS n"))
    with pytest.raises(fl.OptionError, match="answered from its own rows alone"):
        grouped.enrich(batch((10, 7)))


def test_rows_that_nobody_took_are_warned_of(session):
    query = prepared(session, "on_miss = 'wait', miss.then = 'null'")
    query.enrich(batch((10, 7)))
    session.warnings()
    del query
    [warning] = session.warnings()
    assert warning.code == "ROWS_LOST" and "call finish before" in str(warning)
