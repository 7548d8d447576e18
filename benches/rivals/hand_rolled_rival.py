"""What one writes by hand: an index of each table in numpy, kept, and `take`."""

import plan
from protocol import Rival, cut, leave_out, read_ipc, serve

try:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    leave_out(error)
    raise SystemExit


class Index:
    """Finds the rows of keys: by address where whole numbers are dense, else by binary search;
    texts by pyarrow's own `index_in`."""

    def __init__(self, column):
        self.texts = column if pa.types.is_string(column.type) else None
        if self.texts is not None:
            if pc.count_distinct(column).as_py() < len(column):
                raise NotImplementedError("texts that stand twice are not kept by hand")
            return
        keys = column.to_numpy()
        self.low, span = keys.min(), int(keys.max()) - int(keys.min()) + 1
        self.is_unique = len(np.unique(keys)) == len(keys)
        self.address = None
        if self.is_unique and span <= 4 * len(keys):
            self.address = np.full(span + 1, -1, dtype=np.int64)
            self.address[keys - self.low] = np.arange(len(keys))
        else:
            self.order = np.argsort(keys, kind="stable")
            self.sorted = keys[self.order]

    def find(self, column):
        """Returns for each probe row its table row, or -1; or for several matches both sides."""
        if self.texts is not None:
            return None, pc.fill_null(pc.index_in(column, value_set=self.texts), -1).to_numpy()
        probes = column.to_numpy()
        if self.address is not None:
            at = probes - self.low
            at = np.where((at >= 0) & (at < len(self.address)), at, len(self.address) - 1)
            return None, self.address[at]
        first = np.searchsorted(self.sorted, probes, side="left")
        if self.is_unique:
            first = np.minimum(first, len(self.sorted) - 1)
            return None, np.where(self.sorted[first] == probes, self.order[first], -1)
        counts = np.searchsorted(self.sorted, probes, side="right") - first
        left = np.repeat(np.arange(len(probes)), counts)
        within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        return left, self.order[np.repeat(first, counts) + within]


class HandRolled(Rival):
    VERSION = f"numpy {np.__version__}, pyarrow {pa.__version__}"

    def __init__(self, job, read=read_ipc):
        self.job = job
        self.query = job["query"]
        self.stream = read(job["input"]).combine_chunks()
        self.input_rows = self.stream.num_rows
        self.joins = []
        tables = {table["name"]: table["path"] for table in job["tables"]}
        for join in self.query["join"]:
            [(left, right)] = plan.keys(join)[:1]
            if len(plan.keys(join)) > 1:
                raise NotImplementedError("composite keys are not done by hand")
            table = read(tables[join["table"]]).combine_chunks()
            columns = {
                alias: self.in_one_piece(table[name]) for name, alias in plan.taken(join)
            }
            index = Index(self.in_one_piece(table[right]))
            self.joins.append((left, index, columns, join["kind"] == "left"))
        if job["run"]["kind"] == "whole":
            self.stream_batch = self.in_one_batch(self.stream)

    @staticmethod
    def in_one_piece(column):
        chunks = column.combine_chunks()
        return chunks if isinstance(chunks, pa.Array) else chunks.chunk(0)

    def in_one_batch(self, table):
        columns = [self.in_one_piece(column) for column in table.columns]
        return pa.RecordBatch.from_arrays(columns, table.schema.names)

    def whole(self):
        return self.batch(self.stream_batch)

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        return cut(self.stream.slice(0, count * rows if count else None), rows)

    def batch(self, batch):
        filtered = plan.threshold(self.query)
        names = plan.stream_columns(self.query)
        if filtered:
            column, number = filtered
            mask = pc.greater(batch[column], pa.scalar(number, batch[column].type))
            batch = batch.select(names).filter(mask)
        outputs = {}
        for left, index, columns, is_left in self.joins:
            expanded, rows = index.find(batch[left])
            if expanded is not None:
                batch = batch.take(pa.array(expanded))
            elif is_left:
                rows = pa.array(rows, mask=rows < 0)
            elif (missed := rows < 0).any():
                kept = np.flatnonzero(~missed)
                batch, rows = batch.take(pa.array(kept)), rows[kept]
                outputs = {name: column.take(pa.array(kept)) for name, column in outputs.items()}
            rows = rows if isinstance(rows, pa.Array) else pa.array(rows)
            for name, column in columns.items():
                outputs[name] = column.take(rows)
        for name in self.query["select"]:
            outputs[name] = batch[name]
        order = plan.outputs(self.query)
        return pa.RecordBatch.from_arrays([outputs[name] for name in order], order)

    @classmethod
    def process(cls, job):
        pa.set_cpu_count(job["threads"])
        job["run"]["kind"] = "whole"
        result = cls(job, pq.read_table).whole()
        pq.write_table(pa.Table.from_batches([result]), job["output"], compression="snappy")


serve(HandRolled)
