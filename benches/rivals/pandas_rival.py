"""pandas: `merge_asof` over data frames, of numpy columns or of Arrow ones; as-of joins alone."""

import plan
from protocol import Rival, leave_out, read_ipc, serve

try:
    import pandas as pd
    import pyarrow as pa
except ImportError as error:
    leave_out(error)
    raise SystemExit


def frame(path, mode, categories):
    """Reads a file; in the modes that allow it, keys are categories, made once before the time."""
    table = read_ipc(path)
    types = {"numpy": None, "numpy, categories": None, "arrow": pd.ArrowDtype}
    made = table.to_pandas(types_mapper=types[mode])
    if "categories" in mode:
        for column, dtype in categories.items():
            if column in made:
                made[column] = made[column].astype(dtype)
    return made


def categories_of(job):
    """Returns for each key of text the one type that both sides need to share."""
    found = {}
    for join in job["query"]["join"]:
        path = next(table["path"] for table in job["tables"] if table["name"] == join["table"])
        for left, right in plan.keys(join):
            column = read_ipc(path)[right]
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                values = pa.compute.unique(pa.chunked_array(column.chunks + read_ipc(job["input"])[left].chunks))
                found[left] = found[right] = pd.CategoricalDtype(sorted(values.to_pylist()))
    return found


def enrich(query, stream, tables):
    """Joins as of each time in turn. Both sides come in the order of time, which it needs."""
    joined = stream[plan.stream_columns(query)]
    for join in query["join"]:
        left_time, comparison, right_time = plan.times(join)
        direction, allow_exact_matches = plan.SIDES[comparison]
        pairs = plan.keys(join)
        names = dict(plan.taken(join))
        right = tables[join["table"]][[right_time] + [key for _, key in pairs] + list(names)]
        right = right.rename(columns={name: f"{alias}__taken" for name, alias in names.items()})
        right = right.rename(columns={right_time: f"{right_time}__time"})
        joined = pd.merge_asof(
            joined,
            right,
            left_on=left_time,
            right_on=f"{right_time}__time",
            left_by=[left for left, _ in pairs],
            right_by=[key for _, key in pairs],
            direction=direction,
            allow_exact_matches=allow_exact_matches,
        )
        if join["kind"] == "inner":
            joined = joined[joined[f"{right_time}__time"].notna()]
        joined = joined.drop(columns=[f"{right_time}__time"])
        joined = joined.rename(columns={f"{alias}__taken": alias for alias in names.values()})
    return joined[plan.outputs(query)]


class Pandas(Rival):
    VERSION = pd.__version__
    MODES = ["numpy", "numpy, categories", "arrow"]

    def __init__(self, job):
        self.job = job
        self.query = job["query"]
        if self.query["filter"] or not all(plan.times(join) for join in self.query["join"]):
            raise NotImplementedError("pandas takes part in as-of joins alone")
        categories = categories_of(job) if "categories" in job["mode"] else {}
        self.stream = frame(job["input"], job["mode"], categories)
        self.input_rows = len(self.stream)
        self.tables = {table["name"]: frame(table["path"], job["mode"], categories) for table in job["tables"]}

    def whole(self):
        return enrich(self.query, self.stream, self.tables)

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        starts = range(0, len(self.stream), rows)
        return [self.stream.iloc[start : start + rows] for start in list(starts)[: count or None]]

    def batch(self, batch):
        return enrich(self.query, batch, self.tables)

    def row_count(self, result):
        return len(result)

    def byte_count(self, result):
        return int(result.memory_usage(index=False).sum())

    def table(self, result):
        table = pa.Table.from_pandas(result, preserve_index=False)
        # Where a row has no match, whole numbers have become floats.
        for at, field in enumerate(table.schema):
            if pa.types.is_floating(field.type):
                column = table.column(at).cast(pa.int64())
                table = table.set_column(at, field.name, column)
        return table


serve(Pandas)
