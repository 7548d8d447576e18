"""Errors are exceptions with a code, a place and a hint."""

import pickle

import pyarrow as pa
import pytest

import fletching as fl


def caught(kind, work):
    with pytest.raises(kind) as raised:
        work()
    return raised.value


def test_a_wrong_name_has_a_place_and_a_hint(with_users):
    error = caught(fl.SqlError, lambda: with_users.sql("SELECT user_id,\n  tire FROM users"))
    assert error.code == "SQL_UNKNOWN_NAME"
    assert error.kind == "user"
    assert (error.line, error.column, error.text) == (2, 3, "tire")
    assert "tier" in error.hint
    assert "line 2, column 3" in str(error)
    assert isinstance(error, fl.Error) and isinstance(error, Exception)


def test_bad_syntax_is_found_when_preparing(with_users):
    error = caught(fl.SqlError, lambda: with_users.prepare("SELECT FROM WHERE"))
    assert error.code == "SQL_SYNTAX" and error.line == 1 and error.column > 1


def test_an_unknown_table_is_found_when_preparing(with_users):
    error = caught(fl.SqlError, lambda: with_users.prepare("SELECT * FROM usrs"))
    assert error.code == "SQL_UNKNOWN_NAME"
    assert "users" in error.hint


def test_a_wrong_column_of_the_input_is_found_with_its_schema(with_users, trades):
    text = "SELECT t.trade FROM input t JOIN users u ON t.user_id = u.user_id"
    error = caught(fl.SqlError, lambda: with_users.prepare(text, input=trades.schema))
    assert (error.line, error.column) == (1, 8)
    query = with_users.prepare(text)
    for _ in range(2):
        error = caught(fl.SqlError, lambda: query.enrich(trades))
        assert error.code == "SQL_UNKNOWN_NAME" and "trade_id" in error.hint


def test_a_value_that_cannot_be_computed(with_users):
    query = with_users.prepare("SELECT 10 / t.user_id AS x FROM input t JOIN users u ON t.user_id = u.user_id - 1")
    error = caught(fl.DataError, lambda: query.enrich(pa.record_batch({"user_id": [0]})))
    assert error.code == "COMPUTE" and "division by zero" in str(error)
    overflow = with_users.prepare("SELECT t.v + 1 AS x FROM input t")
    error = caught(fl.DataError, lambda: overflow.enrich(pa.record_batch({"v": [2**63 - 1]})))
    assert error.code == "COMPUTE"


def test_a_name_that_is_taken(with_users, users):
    error = caught(fl.OptionError, lambda: with_users.table("users", users))
    assert error.code == "OPTION" and "already" in str(error) and error.hint


def test_a_file_that_is_not_there(session):
    text = "CREATE TABLE t (a BIGINT, PRIMARY KEY (a)) WITH (path = '/nowhere/t.csv')"
    error = caught(fl.ExternalError, lambda: session.sql(text))
    assert error.code == "FILE" and error.kind == "external"
    assert error.text == "/nowhere/t.csv" and "no such file" in str(error)


def test_a_bad_record_has_its_place(session, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\nx\n")
    session.sql(f"CREATE TABLE t (a BIGINT, PRIMARY KEY (a)) WITH (path = '{path}')")
    error = caught(fl.DataError, lambda: session.sql("SELECT * FROM t"))
    assert error.code == "BAD_RECORD"
    assert (error.line, error.column) == (3, "a")
    assert error.text.endswith("t.csv")


def test_threads_that_make_no_sense():
    assert caught(fl.OptionError, lambda: fl.Session(threads=0)).code == "OPTION"
    with pytest.raises(OverflowError):
        fl.Session(threads=-1)


@pytest.mark.parametrize("data", [[1, 2], {"a": [1]}, None, 7, "users.csv", object()])
def test_what_is_no_arrow_data_is_refused(session, data):
    error = caught(TypeError, lambda: session.table("t", data))
    assert "__arrow_c_stream__" in str(error) and "found" in str(error)
    with pytest.raises(TypeError):
        session.prepare("SELECT * FROM input").enrich(data)


def test_one_column_is_no_table(session):
    import polars as pl

    for column in (pa.array([1, 2]), pa.chunked_array([[1]]), pl.Series([1])):
        assert "expected rows with columns" in str(caught(fl.DataError, lambda: session.table("t", column)))
    structs = pa.array([{"a": 1}, None])
    assert "null" in str(caught(fl.DataError, lambda: session.table("t", structs)))


def test_a_type_that_is_not_known_is_refused(session):
    run_ends = pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1]))
    sparse = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    for column in (run_ends.slice(0, 1), sparse):
        batch = pa.record_batch({"k": pa.array([1] * len(column)), "v": column})
        try:
            session.prepare("SELECT t.v FROM input t").enrich(batch).to_pyarrow()
        except fl.Error as error:
            assert error.code != "INTERNAL", error


def test_an_exporter_that_fails_is_heard(session):
    class Broken:
        def __arrow_c_stream__(self, requested_schema=None):
            raise RuntimeError("not today")

    class Wrong:
        def __arrow_c_array__(self, requested_schema=None):
            return 7

    with pytest.raises(RuntimeError, match="not today"):
        session.table("t", Broken())
    with pytest.raises(TypeError):
        session.table("t", Wrong())


def test_an_error_can_be_pickled(with_users):
    error = caught(fl.SqlError, lambda: with_users.sql("SELECT tire FROM users"))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is fl.SqlError and str(again) == str(error)
    assert (again.code, again.line, again.hint) == (error.code, error.line, error.hint)


def test_an_error_made_by_hand_has_its_attributes():
    assert fl.Error("x").code is None and fl.SqlError("x").hint is None
    assert fl.SqlError.__module__ == "fletching" and fl.Error.__name__ == "Error"


def test_several_statements_cannot_be_prepared(session):
    error = caught(fl.Error, lambda: session.prepare("SELECT 1; SELECT 2"))
    assert "one query" in str(error)
