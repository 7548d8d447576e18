"""Many threads at once, and the GIL let go while computing."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

import fletching as fl


def test_many_threads_share_a_query(session):
    count = 10_000
    session.table("t", pa.table({"k": range(count), "v": [at * 3 for at in range(count)]}), key="k")
    query = session.prepare("SELECT i.k, t.v FROM input i JOIN t ON i.k = t.k")

    def work(thread):
        for call in range(40):
            start = (thread * 97 + call * 31) % (count - 512)
            out = query.enrich(pa.record_batch({"k": range(start, start + 512)})).to_pyarrow()
            assert out["v"].to_pylist() == [at * 3 for at in range(start, start + 512)]
        return thread

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(16))) == list(range(16))


def test_many_threads_meet_at_the_first_batch(session):
    session.table("t", pa.table({"k": [1], "v": [2]}), key="k")
    for _ in range(5):
        query = session.prepare("SELECT t.v FROM input i JOIN t ON i.k = t.k")
        barrier = threading.Barrier(6)

        def work(_):
            barrier.wait()
            return query.enrich(pa.record_batch({"k": [1, 1]})).num_rows

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(work, range(6))) == [2] * 6


def test_batches_of_two_schemas_at_once(session):
    session.table("t", pa.table({"k": [1], "v": [2]}), key="k")
    query = session.prepare("SELECT i.k, t.v FROM input i JOIN t ON i.k = t.k", input=pa.schema([("k", pa.int64())]))

    def work(thread):
        kind = pa.int64() if thread % 2 else pa.int32()
        for _ in range(200):
            assert query.enrich(pa.record_batch({"k": pa.array([1], kind)})).num_rows == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_sql_from_many_threads(session):
    def work(at):
        session.sql(f"CREATE TABLE t{at} (a BIGINT); INSERT INTO t{at} VALUES ({at})")
        return session.sql(f"SELECT a FROM t{at}").to_pyarrow()["a"].to_pylist()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(12))) == [[at] for at in range(12)]


def ticks_during(work):
    """Counts how often another Python thread gets to run meanwhile, and how long that took."""
    ticks, ended = 0, threading.Event()

    def tick():
        nonlocal ticks
        while not ended.is_set():
            ticks += 1
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    begun = time.monotonic()
    work()
    took = time.monotonic() - begun
    ended.set()
    ticker.join()
    return ticks, took


def test_the_gil_is_released_while_computing():
    session = fl.Session(threads=1)
    session.table("t", pa.table({"k": range(1000), "v": range(1000)}), key="k")
    condition = " + ".join(f"(i.k % {at})" for at in range(3, 40))
    text = f"SELECT SUM({condition}) AS s FROM input i JOIN t ON i.k % 1000 = t.k"
    query = session.prepare(text, input=pa.schema([("k", pa.int64())]))
    small = pa.record_batch({"k": range(60_000)})
    table = pa.table({"k": range(400_000)})
    for work in (lambda: [query.enrich(small) for _ in range(5)], lambda: query.enrich(table), lambda: session.sql(
        "SELECT SUM(value % 7) FROM generate_series(1, 3000000)"
    )):
        ticks, took = ticks_during(work)
        # A tenth of what the clock would allow: a machine may be busy, but a held GIL gives next to none.
        assert ticks > took * 1000 / 10 or took < 0.05, (ticks, took)


def test_a_reader_that_needs_the_gil_gets_it(session):
    session.table("t", pa.table({"k": [1], "v": [2]}), key="k")
    query = session.prepare("SELECT t.v FROM input i JOIN t ON i.k = t.k")
    batch = pa.record_batch({"k": [1]})

    def batches():
        for _ in range(20):
            time.sleep(0.001)
            yield batch

    def work(_):
        return query.enrich(pa.RecordBatchReader.from_batches(batch.schema, batches())).num_rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [20] * 8
