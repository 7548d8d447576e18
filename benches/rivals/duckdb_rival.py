"""DuckDB: native tables or Arrow memory, whichever is faster; Arrow out."""

from protocol import Rival, cut, leave_out, read_ipc, serve

try:
    import duckdb
    import pyarrow as pa
except ImportError as error:
    leave_out(error)
    raise SystemExit


def connect(threads):
    connection = duckdb.connect()
    connection.execute(f"SET threads = {threads}")
    # Rows need not come in the order of the stream.
    connection.execute("SET preserve_insertion_order = false")
    return connection


class DuckDB(Rival):
    VERSION = duckdb.__version__
    # `con.sql` hands over Arrow without a copy, `con.execute` plans once where that plans twice.
    MODES = ["tables", "tables, views out", "arrow", "arrow, views out", "tables, execute"]

    def __init__(self, job):
        self.job = job
        self.sql = job["query"]["sql"]
        self.connection = connect(job["threads"])
        if "views" in job["mode"]:
            self.connection.execute("SET produce_arrow_string_view = true")
        self.arrow = {"input": read_ipc(job["input"])}
        for table in job["tables"]:
            self.arrow[table["name"]] = read_ipc(table["path"])
        self.input_rows = self.arrow["input"].num_rows
        is_native = job["mode"].startswith("tables")
        is_whole = job["run"]["kind"] == "whole"
        for name, table in self.arrow.items():
            if name == "input" and not is_whole:
                continue  # comes batch by batch
            if is_native:
                self.connection.register("loading", table)
                self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM loading")
                self.connection.unregister("loading")
            else:
                self.connection.register(name, table)
        if is_native and is_whole:
            self.arrow = {}

    def whole(self):
        if "execute" in self.job["mode"]:
            return self.connection.execute(self.sql).to_arrow_table()
        return self.connection.sql(self.sql).to_arrow_table()

    def batches(self, count):
        rows = self.job["run"]["batch_rows"]
        batches = cut(self.arrow["input"].slice(0, count * rows if count else None), rows)
        return [pa.Table.from_batches([batch]) for batch in batches]

    def batch(self, batch):
        self.connection.register("input", batch)
        return self.whole()

    @classmethod
    def process(cls, job):
        connection = connect(job["threads"])
        for name, path in [("input", job["input"])] + [(t["name"], t["path"]) for t in job["tables"]]:
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")
        sql = job["query"]["sql"]
        connection.execute(f"COPY ({sql}) TO '{job['output']}' (FORMAT parquet, COMPRESSION snappy)")


serve(DuckDB)
