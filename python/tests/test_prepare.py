"""Preparing: with and without the input's schema, keys, kinds of join, what is no chain of lookups."""

import pyarrow as pa
import pytest

import fletching as fl


def rows(result):
    return [tuple(row.values()) for row in result.to_pyarrow().to_pylist()]


LEFT = "SELECT t.trade_id, u.tier FROM input t LEFT JOIN users u ON t.user_id = u.user_id"


def test_the_schema_is_taken_from_the_first_batch(with_users, trades):
    query = with_users.prepare(LEFT)
    assert query.input_schema is None and query.schema is None
    assert rows(query.enrich(trades)) == [(10, "silver"), (11, None), (12, "gold"), (13, None)]
    assert query.input_schema.names == ["trade_id", "user_id"]
    assert query.schema.names == ["trade_id", "tier"]


def test_the_schema_is_given(with_users, trades):
    query = with_users.prepare(LEFT, input=trades.schema)
    assert query.schema.names == ["trade_id", "tier"]
    assert rows(query.enrich(trades))[0] == (10, "silver")


def test_the_schema_is_that_of_any_arrow_data(with_users, trades):
    import polars as pl

    table = pa.table(trades)
    reader = table.to_reader()
    for like in (trades, table, reader, pl.DataFrame(table), pl.DataFrame(table).schema, table.to_pandas()):
        assert rows(with_users.prepare(LEFT, input=like).enrich(trades))[0] == (10, "silver")
    assert reader.read_all().num_rows == 4, "asking a reader for its schema leaves its rows"
    query = with_users.prepare(LEFT, input=trades.schema)
    assert rows(with_users.prepare(LEFT, input=query.input_schema).enrich(trades))[0] == (10, "silver")


def test_something_that_is_no_schema_is_refused(with_users):
    with pytest.raises(TypeError, match="__arrow_c_schema__.*found dict"):
        with_users.prepare(LEFT, input={"trade_id": "int64"})


def test_a_later_batch_is_fitted_by_name_and_cast(with_users, trades):
    query = with_users.prepare(LEFT, input=trades.schema)
    other = pa.record_batch(
        {"more": ["x"], "user_id": pa.array(["1"]), "trade_id": pa.array([7], pa.int8())}
    )
    again = query.enrich(other)
    assert rows(again) == [(7, "gold")]
    assert again.to_pyarrow().schema.field("trade_id").type == pa.int64()
    assert rows(query.enrich(trades))[0] == (10, "silver")
    assert rows(query.enrich(other)) == [(7, "gold")]


def test_a_batch_that_lacks_a_column_says_which(with_users, trades):
    query = with_users.prepare(LEFT, input=trades.schema)
    with pytest.raises(fl.DataError, match="there is no column 'user_id'") as caught:
        query.enrich(pa.record_batch({"trade_id": [1]}))
    assert caught.value.code == "BATCH"
    with pytest.raises(fl.DataError, match="column 'user_id'.*expected Int64"):
        query.enrich(pa.record_batch({"trade_id": [1], "user_id": ["one"]}))


def test_a_query_over_a_declared_stream_needs_no_input(with_users, trades):
    with_users.sql("CREATE STREAM trades (trade_id BIGINT, user_id BIGINT)")
    query = with_users.prepare("SELECT t.trade_id, u.tier FROM trades t JOIN users u ON t.user_id = u.user_id")
    assert query.input_schema.names == ["trade_id", "user_id"]
    assert rows(query.enrich(trades)) == [(10, "silver"), (12, "gold"), (13, None)]


def test_two_queries_have_their_own_input(with_users):
    first = with_users.prepare("SELECT t.a, u.tier FROM input t JOIN users u ON t.a = u.user_id")
    second = with_users.prepare("SELECT t.b, u.tier FROM input t JOIN users u ON t.b = u.user_id")
    assert rows(first.enrich(pa.record_batch({"a": [1]}))) == [(1, "gold")]
    assert rows(second.enrich(pa.record_batch({"b": [2]}))) == [(2, "silver")]
    assert rows(first.enrich(pa.record_batch({"a": [2]}))) == [(2, "silver")]


@pytest.mark.parametrize(
    "join, expected",
    [
        ("JOIN", [(1, "gold"), (2, "silver")]),
        ("LEFT JOIN", [(1, "gold"), (2, "silver"), (9, None)]),
        ("RIGHT JOIN", [(1, "gold"), (2, "silver"), (None, None)]),
        ("FULL JOIN", [(1, "gold"), (2, "silver"), (9, None), (None, None)]),
        ("LEFT SEMI JOIN", [(1,), (2,)]),
        ("LEFT ANTI JOIN", [(9,)]),
    ],
)
def test_every_kind_of_join(with_users, join, expected):
    columns = "t.id" if len(expected[0]) == 1 else "t.id, u.tier"
    query = with_users.prepare(f"SELECT {columns} FROM input t {join} users u ON t.id = u.user_id")
    for data in (pa.record_batch({"id": [1, 2, 9]}), pa.table({"id": [1, 2, 9]})):
        found = rows(query.enrich(data))
        assert sorted(found, key=repr) == sorted(expected, key=repr)


def test_aggregates_are_over_one_call(with_users, trades):
    query = with_users.prepare(
        "SELECT u.tier, COUNT(*) AS n, SUM(t.trade_id) AS s FROM input t JOIN users u USING (user_id) "
        "GROUP BY u.tier ORDER BY u.tier NULLS LAST"
    )
    for _ in range(3):
        assert rows(query.enrich(trades)) == [("gold", 1, 12), ("silver", 1, 10), (None, 1, 13)]
    twice = pa.concat_tables([pa.table(trades)] * 2)
    assert rows(query.enrich(twice)) == [("gold", 2, 24), ("silver", 2, 20), (None, 2, 26)]
    empty = with_users.prepare("SELECT COUNT(*) AS n FROM input t JOIN users USING (user_id)")
    assert rows(empty.enrich(trades.schema.empty_table())) == [(0,)]


@pytest.mark.parametrize("key", ["a", ["a"], ("a",), None, []])
def test_a_key_is_a_name_or_a_list_or_nothing(session, key):
    session.table("t", pa.table({"a": [1, 2], "b": [3, 4]}), key=key)
    query = session.prepare("SELECT i.a, t.b FROM input i JOIN t ON i.a = t.a")
    assert rows(query.enrich(pa.record_batch({"a": [2]}))) == [(2, 4)]


def test_a_key_of_two_columns(session):
    session.table("t", pa.table({"a": [1, 1], "b": ["x", "y"], "v": [10, 20]}), key=["a", "b"])
    query = session.prepare("SELECT t.v FROM input i JOIN t ON i.a = t.a AND i.b = t.b")
    assert rows(query.enrich(pa.record_batch({"a": [1, 1, 1], "b": ["y", "z", "x"]}))) == [(20,), (10,)]
    assert session.warnings() == []


@pytest.mark.parametrize("key", [7, [7], {"a": 1}.values()])
def test_a_key_that_is_no_name_is_refused(session, key):
    with pytest.raises(TypeError, match="expected the key's column name"):
        session.table("t", pa.table({"a": [1]}), key=key)


def test_a_key_column_that_is_not_there_is_refused(session):
    with pytest.raises(fl.OptionError, match="no column 'id'"):
        session.table("t", pa.table({"a": [1]}), key="id")


def test_duplicate_keys_give_a_row_each_and_a_warning(session):
    session.table("t", pa.table({"a": [1, 1, 2], "b": [10, 11, 12]}), key="a")
    [warning] = session.warnings()
    assert warning.code == "DUPLICATE_KEY" and isinstance(warning, (fl.Warning, UserWarning))
    assert session.warnings() == []
    query = session.prepare("SELECT i.a, t.b FROM input i JOIN t ON i.a = t.a")
    assert rows(query.enrich(pa.record_batch({"a": [2, 1]}))) == [(2, 12), (1, 10), (1, 11)]


def test_rows_inserted_later_are_seen(session):
    session.sql("CREATE TABLE t (a BIGINT, b VARCHAR, PRIMARY KEY (a))")
    query = session.prepare("SELECT i.a, t.b FROM input i JOIN t ON i.a = t.a")
    batch = pa.record_batch({"a": [1]})
    assert rows(query.enrich(batch)) == []
    session.sql("INSERT INTO t VALUES (1, 'one')")
    assert rows(query.enrich(batch)) == [(1, "one")]


def test_a_table_of_no_rows(session):
    session.table("t", pa.schema([("a", pa.int64()), ("b", pa.string())]).empty_table(), key="a")
    query = session.prepare("SELECT i.a, t.b FROM input i LEFT JOIN t ON i.a = t.a")
    assert rows(query.enrich(pa.record_batch({"a": [1]}))) == [(1, None)]
