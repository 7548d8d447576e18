"""Values and types: what goes in as Arrow comes out as the same Arrow."""

import datetime
import decimal

import pyarrow as pa
import pytest

import fletching as fl

NOW = datetime.datetime(2026, 11, 23, 12, 30, 15, 123456)

COLUMNS = {
    "bool": pa.array([True, None, False]),
    "int8": pa.array([-128, None, 127], pa.int8()),
    "int16": pa.array([-32768, None, 32767], pa.int16()),
    "int32": pa.array([-(2**31), None, 2**31 - 1], pa.int32()),
    "int64": pa.array([-(2**63), None, 2**63 - 1], pa.int64()),
    "uint8": pa.array([0, None, 255], pa.uint8()),
    "uint16": pa.array([0, None, 65535], pa.uint16()),
    "uint32": pa.array([0, None, 2**32 - 1], pa.uint32()),
    "uint64": pa.array([0, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array([1.5, None, -0.0], pa.float16()),
    "float32": pa.array([1.5, None, float("inf")], pa.float32()),
    "float64": pa.array([1.5, None, -1e300], pa.float64()),
    "decimal32": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-9.99")], pa.decimal32(9, 2)),
    "decimal64": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-9.99")], pa.decimal64(18, 2)),
    "decimal128": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-9.99")], pa.decimal128(38, 2)),
    "decimal256": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-9.99")], pa.decimal256(76, 2)),
    "string": pa.array(["", None, "a text that is longer than a view holds inline: ξ"]),
    "large_string": pa.array(["", None, "long"], pa.large_string()),
    "string_view": pa.array(["", None, "a text that is longer than a view holds inline"], pa.string_view()),
    "binary": pa.array([b"", None, b"\x00\xff"]),
    "large_binary": pa.array([b"", None, b"\x00\xff"], pa.large_binary()),
    "binary_view": pa.array([b"", None, b"\x00\xff" * 20], pa.binary_view()),
    "fixed_binary": pa.array([b"abc", None, b"xyz"], pa.binary(3)),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "dictionary_of_int8": pa.array(["a", None, "b"], pa.dictionary(pa.int8(), pa.string())),
    "date32": pa.array([NOW.date(), None, datetime.date(1, 1, 1)], pa.date32()),
    "date64": pa.array([NOW.date(), None, NOW.date()], pa.date64()),
    "time32": pa.array([NOW.time().replace(microsecond=0), None, datetime.time()], pa.time32("s")),
    "time64": pa.array([NOW.time(), None, datetime.time()], pa.time64("us")),
    "timestamp_s": pa.array([0, None, 1_700_000_000], pa.timestamp("s")),
    "timestamp_ns": pa.array([0, None, -1], pa.timestamp("ns")),
    "timestamp_utc": pa.array([NOW, None, NOW], pa.timestamp("us", "UTC")),
    "timestamp_zone": pa.array([NOW, None, NOW], pa.timestamp("ms", "Europe/Berlin")),
    "duration": pa.array([datetime.timedelta(1), None, datetime.timedelta(0)], pa.duration("us")),
    "interval": pa.array([(1, 2, 3), None, (0, 0, -1)], pa.month_day_nano_interval()),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int64())),
    "large_list": pa.array([["a"], None, []], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2)),
    "struct": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "nested": pa.array([[{"x": [1, 2]}, None], None, []], pa.list_(pa.struct([("x", pa.list_(pa.int8()))]))),
    "null": pa.nulls(3),
}

LOOKUP = "SELECT t.k, t.v, u.n FROM input t LEFT JOIN names u ON t.k = u.k"


@pytest.fixture
def lookup(session):
    session.table("names", pa.table({"k": [1, 2], "n": ["one", "two"]}), key="k")
    return session


@pytest.mark.parametrize("name", COLUMNS)
def test_a_probe_column_comes_out_as_it_went_in(lookup, name):
    column = COLUMNS[name]
    batch = pa.record_batch({"k": [1, 2, 3], "v": column})
    table = lookup.prepare(LOOKUP).enrich(batch).to_pyarrow()
    assert table.schema.field("v").type == column.type
    assert table["v"].combine_chunks().equals(column)
    assert table["n"].to_pylist() == ["one", "two", None]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_column_comes_out_with_its_values(session, name):
    column = COLUMNS[name]
    session.table("t", pa.table({"k": [1, 2, 3], "v": column}), key="k")
    query = session.prepare("SELECT t.v FROM input i JOIN t ON i.k = t.k")
    found = query.enrich(pa.record_batch({"k": [3, 1, 2]})).to_pyarrow()["v"]
    assert found.to_pylist() == [column[2].as_py(), column[0].as_py(), column[1].as_py()]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_sliced_column_keeps_its_place(lookup, name):
    column = pa.concat_arrays([COLUMNS[name]] * 7)
    batch = pa.record_batch({"k": range(21), "v": column}).slice(5, 11)
    table = lookup.prepare(LOOKUP).enrich(batch).to_pyarrow()
    assert table["v"].to_pylist() == column.to_pylist()[5:16]
    assert table["k"].to_pylist() == list(range(5, 16))


def test_an_empty_batch_gives_an_empty_result_with_columns(lookup):
    batch = pa.record_batch({"k": pa.array([], pa.int64()), "v": pa.array([], pa.string())})
    rows = lookup.prepare(LOOKUP).enrich(batch)
    assert (rows.num_rows, rows.num_columns, len(rows)) == (0, 3, 0)
    assert rows.to_pyarrow().schema.names == ["k", "v", "n"]


def test_an_empty_table_gives_an_empty_result_with_columns(lookup):
    table = pa.schema([("k", pa.int64()), ("v", pa.string())]).empty_table()
    rows = lookup.prepare(LOOKUP).enrich(table)
    assert rows.to_pyarrow().schema.names == ["k", "v", "n"]
    assert rows.num_rows == 0


def test_several_chunks_are_one_input(lookup):
    pieces = [pa.table({"k": [at], "v": [str(at)]}) for at in range(5)]
    table = pa.concat_tables(pieces)
    assert table["k"].num_chunks == 5
    rows = lookup.prepare(LOOKUP).enrich(table)
    assert rows.to_pyarrow()["v"].to_pylist() == ["0", "1", "2", "3", "4"]
    # As one array they are one batch.
    assert pa.record_batch(rows)["k"].to_pylist() == [0, 1, 2, 3, 4]


def test_a_reader_is_read_once_to_its_end(lookup):
    batch = pa.record_batch({"k": [1, 2], "v": ["a", "b"]})
    reader = pa.RecordBatchReader.from_batches(batch.schema, (batch for _ in range(3)))
    assert lookup.prepare(LOOKUP).enrich(reader).num_rows == 6


def test_a_reader_that_fails_says_why(lookup):
    batch = pa.record_batch({"k": [1], "v": ["a"]})

    def batches():
        yield batch
        raise OSError("the wire was cut")

    reader = pa.RecordBatchReader.from_batches(batch.schema, batches())
    with pytest.raises(fl.DataError, match="the wire was cut"):
        lookup.prepare(LOOKUP).enrich(reader)


def test_a_long_batch_gives_several_in_order(session):
    count = 200_000
    session.table("names", pa.table({"k": range(count), "n": range(count)}), key="k")
    batch = pa.record_batch({"k": range(count), "v": range(count)})
    rows = session.prepare(LOOKUP).enrich(batch)
    table = rows.to_pyarrow()
    assert table["n"].num_chunks > 1
    assert table["n"].to_pylist() == list(range(count))


def test_a_very_long_table_is_one_input(session):
    count = 1_200_000
    session.table("names", pa.table({"k": [0, 1], "n": [5, 6]}), key="k")
    table = pa.table({"k": pa.array([0, 1] * (count // 2)), "v": pa.array([1, 1] * (count // 2))})
    rows = session.prepare("SELECT SUM(n + v) AS s, COUNT(*) AS c FROM input t JOIN names USING (k)").enrich(table)
    assert rows.to_pyarrow().to_pylist() == [{"s": count // 2 * 13, "c": count}]


def test_a_result_is_an_input(with_users, trades):
    first = with_users.prepare("SELECT t.*, u.tier FROM input t LEFT JOIN users u USING (user_id)").enrich(trades)
    second = with_users.prepare("SELECT trade_id FROM input JOIN users USING (user_id) WHERE input.tier = 'gold'")
    assert second.enrich(first).to_pyarrow()["trade_id"].to_pylist() == [12]
    with_users.table("enriched", first, key="trade_id")
    assert with_users.sql("SELECT COUNT(*) AS n FROM enriched").to_pyarrow()["n"].to_pylist() == [4]


def test_a_batch_whose_buffers_are_numpy_arrays_outlives_them(session):
    numpy = pytest.importorskip("numpy")
    keys = numpy.arange(1000)
    session.table("t", pa.table({"k": pa.array(keys), "v": pa.array(keys * 2)}), key="k")
    rows = session.prepare("SELECT i.k, t.v FROM input i JOIN t USING (k)").enrich(
        pa.record_batch({"k": pa.array(numpy.arange(1000))})
    )
    del keys
    assert rows.to_pyarrow()["v"].to_pylist() == list(range(0, 2000, 2))
