"""What a call of `Prepared.enrich` from Python costs over the same call in Rust.

    python bench/enrich.py [--limit-us 10]

Prints, for batches of several lengths, the time of a call in Rust, of a call from Python with a pyarrow
RecordBatch, and of one whose result goes on to pyarrow; each the best of several runs, in microseconds. With
--limit-us, fails where the call over 1,024 rows costs more than that over Rust.
"""

import argparse
import timeit

import pyarrow as pa

import fletching as fl

TABLE_ROWS = 100_000
RUNS = 15


def best_us(work, calls):
    return min(timeit.repeat(work, number=calls, repeat=RUNS)) / calls * 1e6


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--limit-us", type=float)
    limit = arguments.parse_args().limit_us

    session = fl.Session(threads=1)
    keys = range(TABLE_ROWS)
    users = pa.table({"user_id": keys, "tier": [f"tier {key % 7}" for key in keys], "limit": keys})
    session.table("users", users, key="user_id")
    query = session.prepare(
        "SELECT t.trade_id, t.amount, t.symbol, u.tier, u.limit FROM input t JOIN users u ON t.user_id = u.user_id"
    )
    print(f"{'rows':>6} {'Rust':>9} {'Python':>9} {'over':>7} {'to_pyarrow':>11} {'over':>7}   (µs a call)")
    for rows in (1, 16, 256, 1024, 8192):
        batch = pa.record_batch(
            {
                "trade_id": range(rows),
                "user_id": [key * 7919 % TABLE_ROWS for key in range(rows)],
                "amount": [1.5] * rows,
                "symbol": ["ACME"] * rows,
            }
        )
        calls = max(50, 200_000 // (rows + 200))
        query.enrich(batch)
        rust = min(query._time_in_rust(batch, calls) for _ in range(RUNS)) / calls * 1e6
        python = best_us(lambda: query.enrich(batch), calls)
        pyarrow = best_us(lambda: query.enrich(batch).to_pyarrow(), calls)
        print(
            f"{rows:>6} {rust:>9.2f} {python:>9.2f} {python - rust:>7.2f} {pyarrow:>11.2f} {pyarrow - rust:>7.2f}"
        )
        if limit is not None and rows == 1024 and python - rust > limit:
            raise SystemExit(f"a call costs {python - rust:.2f} µs over Rust, more than {limit}")


if __name__ == "__main__":
    main()
