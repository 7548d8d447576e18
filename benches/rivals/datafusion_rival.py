"""DataFusion: tables in memory, text as it is or as views."""

from protocol import Rival, cut, leave_out, read_ipc, serve

try:
    import datafusion
    import pyarrow as pa
except ImportError as error:
    leave_out(error)
    raise SystemExit


def connect(threads):
    config = datafusion.SessionConfig().with_target_partitions(threads)
    return datafusion.SessionContext(config)


def viewed(table):
    fields = [
        field.with_type(pa.string_view()) if pa.types.is_string(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


class DataFusion(Rival):
    VERSION = datafusion.__version__
    MODES = ["plain text", "views"]

    def __init__(self, job):
        self.job = job
        self.sql = job["query"]["sql"]
        self.context = connect(job["threads"])
        self.read = lambda path: viewed(read_ipc(path)) if job["mode"] == "views" else read_ipc(path)
        self.stream = self.read(job["input"])
        self.input_rows = self.stream.num_rows
        for table in job["tables"]:
            self.register(table["name"], self.read(table["path"]).to_batches())
        if job["run"]["kind"] == "whole":
            self.register("input", self.stream.to_batches())

    def register(self, name, batches):
        """Registers batches as a table in memory, with a partition for each thread."""
        threads = self.job["threads"]
        partitions = [batches[at::threads] for at in range(threads)]
        self.context.register_record_batches(name, [part for part in partitions if part])

    def whole(self):
        return self.context.sql(self.sql).collect()

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        return cut(self.stream.slice(0, count * rows if count else None), rows)

    def batch(self, batch):
        self.context.deregister_table("input")
        self.context.register_record_batches("input", [[batch]])
        return self.context.sql(self.sql).collect()

    def row_count(self, result):
        if isinstance(result, pa.RecordBatch):
            return result.num_rows
        return sum(batch.num_rows for batch in result)

    def byte_count(self, result):
        return sum(batch.nbytes for batch in result)

    def table(self, result):
        if not result:
            return self.context.sql(self.sql).to_arrow_table()
        table = pa.Table.from_batches(result)
        fields = [
            field.with_type(pa.string()) if field.type == pa.string_view() else field
            for field in table.schema
        ]
        return table.cast(pa.schema(fields))

    @classmethod
    def process(cls, job):
        context = connect(job["threads"])
        context.register_parquet("input", job["input"])
        for table in job["tables"]:
            context.register_parquet(table["name"], table["path"])
        sql = job["query"]["sql"]
        context.sql(
            f"COPY ({sql}) TO '{job['output']}' STORED AS PARQUET OPTIONS ('format.compression' 'snappy')"
        ).collect()


serve(DataFusion)
