"""Polars: lazy plans over data frames, in the in-memory or the streaming engine."""

import plan
from protocol import Rival, leave_out, read_ipc, serve

try:
    import polars as pl
except ImportError as error:
    leave_out(error)
    raise SystemExit


def enrich(query, stream, tables):
    """Writes a query as a lazy plan; pushing things down is the optimizer's."""
    lazy = stream
    filtered = plan.threshold(query)
    if filtered:
        column, number = filtered
        lazy = lazy.filter(pl.col(column) > number)
    for join in query["join"]:
        if plan.times(join):
            lazy = join_asof(lazy, join, tables[join["table"]])
            continue
        pairs = plan.keys(join)
        right = tables[join["table"]].select(
            [pl.col(key).alias(f"{key}__key") for _, key in pairs]
            + [pl.col(name).alias(f"{alias}__taken") for name, alias in plan.taken(join)]
        )
        lazy = lazy.join(
            right,
            left_on=[left for left, _ in pairs],
            right_on=[f"{key}__key" for _, key in pairs],
            how=join["kind"],
        )
    taken = [
        pl.col(f"{alias}__taken").alias(alias) for join in query["join"] for _, alias in plan.taken(join)
    ]
    return lazy.select([pl.col(column) for column in query["select"]] + taken)


def join_asof(lazy, join, table):
    """Both sides come in the order of time, which it needs and is told rather than made to check."""
    left_time, comparison, right_time = plan.times(join)
    strategy, allow_exact_matches = plan.SIDES[comparison]
    pairs = plan.keys(join)
    right = table.select(
        [pl.col(right_time).alias(f"{right_time}__time")]
        + [pl.col(key).alias(f"{key}__key") for _, key in pairs]
        + [pl.col(name).alias(f"{alias}__taken") for name, alias in plan.taken(join)]
    ).set_sorted(f"{right_time}__time")
    joined = lazy.set_sorted(left_time).join_asof(
        right,
        left_on=left_time,
        right_on=f"{right_time}__time",
        by_left=[left for left, _ in pairs],
        by_right=[f"{key}__key" for _, key in pairs],
        strategy=strategy,
        allow_exact_matches=allow_exact_matches,
        check_sortedness=False,
        coalesce=False,
    )
    if join["kind"] == "inner":
        joined = joined.filter(pl.col(f"{right_time}__time").is_not_null())
    return joined.drop([f"{right_time}__time"] + [f"{key}__key" for _, key in pairs], strict=False)


class Polars(Rival):
    VERSION = pl.__version__
    MODES = ["in-memory", "streaming"]

    def __init__(self, job):
        self.job = job
        self.query = job["query"]
        self.engine = job["mode"]
        self.stream = pl.from_arrow(read_ipc(job["input"]), rechunk=True)
        self.input_rows = self.stream.height
        self.tables = {
            table["name"]: pl.from_arrow(read_ipc(table["path"]), rechunk=True).lazy()
            for table in job["tables"]
        }

    def whole(self):
        return enrich(self.query, self.stream.lazy(), self.tables).collect(engine=self.engine)

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        count = count or -(-self.stream.height // rows)
        batches = [self.stream.slice(at * rows, rows) for at in range(count)]
        return [batch for batch in batches if batch.height]

    def batch(self, batch):
        return enrich(self.query, batch.lazy(), self.tables).collect(engine=self.engine)

    def row_count(self, result):
        return result.height

    def byte_count(self, result):
        return result.estimated_size()

    def table(self, result):
        return result.to_arrow(compat_level=pl.CompatLevel.oldest())

    @classmethod
    def process(cls, job):
        tables = {table["name"]: pl.scan_parquet(table["path"]) for table in job["tables"]}
        lazy = enrich(job["query"], pl.scan_parquet(job["input"]), tables)
        lazy.sink_parquet(job["output"], compression="snappy", maintain_order=False)


serve(Polars)
