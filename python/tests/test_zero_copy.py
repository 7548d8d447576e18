"""No value is copied on its way through."""

import pyarrow as pa

LOOKUP = "SELECT t.k, t.v, u.n FROM input t LEFT JOIN names u ON t.k = u.k"


def addresses(array):
    return [buffer.address for buffer in array.buffers() if buffer is not None]


def test_a_probe_column_that_every_row_keeps_shares_its_buffers(session):
    session.table("names", pa.table({"k": [1, 2, 3], "n": ["one", "two", "three"]}), key="k")
    batch = pa.record_batch({"k": [1, 2, 3], "v": ["a", "b", "c"]})
    rows = session.prepare(LOOKUP).enrich(batch)
    for out in (rows.to_pyarrow(), pa.table(rows), pa.record_batch(rows)):
        out = out.combine_chunks() if isinstance(out, pa.Table) else out
        for name in ("k", "v"):
            found = out[name].chunk(0) if isinstance(out, pa.Table) else out[name]
            assert addresses(found) == addresses(batch[name])


def test_every_chunk_of_a_table_shares_its_buffers(session):
    session.table("names", pa.table({"k": [1, 2, 3], "n": ["one", "two", "three"]}), key="k")
    chunks = [pa.array([1, 2, 3]), pa.array([3, 2])]
    table = pa.table({"k": pa.chunked_array(chunks), "v": pa.chunked_array(chunks)})
    found = session.prepare(LOOKUP).enrich(table).to_pyarrow()["v"]
    assert [addresses(chunk) for chunk in found.chunks] == [addresses(chunk) for chunk in chunks]


def test_a_polars_column_shares_its_buffers(session):
    import polars as pl

    session.table("names", pl.DataFrame({"k": [1, 2, 3], "n": ["one", "two", "three"]}), key="k")
    frame = pl.DataFrame({"k": [1, 2, 3], "v": [1.5, 2.5, 3.5]})
    out = session.prepare(LOOKUP).enrich(frame).to_polars()
    assert addresses(out["v"].to_arrow()) == addresses(frame["v"].to_arrow())


def test_several_batches_stay_several_in_polars(session):
    import polars as pl

    session.table("names", pl.DataFrame({"k": [1, 2], "n": ["one", "two"]}), key="k")
    table = pa.table({"k": pa.chunked_array([[1], [2]]), "v": pa.chunked_array([[1.5], [2.5]])})
    out = session.prepare(LOOKUP).enrich(table).to_polars()
    assert out.n_chunks() == 2 and out["n"].to_list() == ["one", "two"]
