"""Acero, the executor in pyarrow: filter, project and hash joins as declarations."""

import plan
from protocol import Rival, cut, leave_out, read_ipc, serve

try:
    import pyarrow as pa
    import pyarrow.acero as acero
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    leave_out(error)
    raise SystemExit


def enrich(query, stream, tables):
    """Writes a query as a declaration. The table is the build side: Acero builds of the right."""
    declaration = acero.Declaration("table_source", acero.TableSourceNodeOptions(stream))
    filtered = plan.threshold(query)
    if filtered:
        column, number = filtered
        number = pa.scalar(number).cast(stream.schema.field(column).type)
        options = acero.FilterNodeOptions(pc.field(column) > number)
        declaration = acero.Declaration("filter", options, [declaration])
    names = plan.stream_columns(query)
    options = acero.ProjectNodeOptions([pc.field(name) for name in names], names)
    declaration = acero.Declaration("project", options, [declaration])
    for join in query["join"]:
        pairs, taken = plan.keys(join), plan.taken(join)
        right_names = [f"{key}__key" for _, key in pairs] + [name for _, name in taken]
        columns = [pc.field(key) for _, key in pairs] + [pc.field(name) for name, _ in taken]
        right = acero.Declaration(
            "project",
            acero.ProjectNodeOptions(columns, right_names),
            [acero.Declaration("table_source", acero.TableSourceNodeOptions(tables[join["table"]]))],
        )
        options = acero.HashJoinNodeOptions(
            "inner" if join["kind"] == "inner" else "left outer",
            left_keys=[left for left, _ in pairs],
            right_keys=[f"{key}__key" for _, key in pairs],
            left_output=names,
            right_output=[name for _, name in taken],
            output_suffix_for_right="__right",
        )
        declaration = acero.Declaration("hashjoin", options, [declaration, right])
        names = names + [name for _, name in taken]
    outputs = plan.outputs(query)
    options = acero.ProjectNodeOptions([pc.field(name) for name in outputs], outputs)
    return acero.Declaration("project", options, [declaration])


class Acero(Rival):
    VERSION = pa.__version__

    def __init__(self, job):
        self.job = job
        self.query = job["query"]
        self.is_parallel = job["threads"] > 1
        self.stream = read_ipc(job["input"])
        self.input_rows = self.stream.num_rows
        self.tables = {
            table["name"]: read_ipc(table["path"]).combine_chunks() for table in job["tables"]
        }

    def whole(self):
        return enrich(self.query, self.stream, self.tables).to_table(use_threads=self.is_parallel)

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        batches = cut(self.stream.slice(0, count * rows if count else None), rows)
        return [pa.Table.from_batches([batch]) for batch in batches]

    def batch(self, batch):
        return enrich(self.query, batch, self.tables).to_table(use_threads=self.is_parallel)

    @classmethod
    def process(cls, job):
        pa.set_cpu_count(job["threads"])
        query = job["query"]
        filtered = plan.threshold(query)
        columns = plan.stream_columns(query) + ([filtered[0]] if filtered else [])
        stream = pq.read_table(job["input"], columns=list(dict.fromkeys(columns)))
        tables = {table["name"]: pq.read_table(table["path"]) for table in job["tables"]}
        result = enrich(query, stream, tables).to_table(use_threads=job["threads"] > 1)
        pq.write_table(result, job["output"], compression="snappy")


serve(Acero)
