"""What the coordinator and a rival say to each other: a line of JSON each way.

The same as cli/src/bench/protocol.rs, which shows the lines. A rival is a class with

    VERSION, MODES                the engine's version, and the ways to try
    __init__(job)                 loads and makes everything ready
    whole()                       runs the query over the whole stream; returns the result
    batches(count)                returns at most `count` batches of the stream (0: all), made ready
    batch(batch)                  runs the query over one of them; returns the result
    table(result)                 returns a result as a pyarrow.Table
    process(job)                  a class method: Parquet files in, a Parquet file out
"""

import gc
import json
import os
import sys
from time import perf_counter_ns

try:
    import pyarrow as pa
except ImportError:
    pa = None  # a rival says so


def read_ipc(path):
    """Reads an Arrow IPC file as a table over the mapped file: nothing is copied."""
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def cut(table, rows):
    """Cuts a table into batches of so many rows, each in one piece."""
    return [
        table.slice(start, rows).combine_chunks().to_batches()[0]
        for start in range(0, table.num_rows, rows)
    ]


def peak_rss_bytes():
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def spread(times):
    """Percentiles of the nearest rank, as in Rust."""
    times = sorted(times)
    at = lambda percent: times[max(-(-len(times) * percent // 100) - 1, 0)]
    return {"count": len(times), "p50": at(50), "p90": at(90), "p99": at(99), "max": times[-1]}


class Server:
    """Answers requests for one rival."""

    def __init__(self, rival):
        self.rival = rival
        self.loaded = None
        self.job = None
        self.last = None
        self.cut = []

    def hello(self, request):
        return {"version": self.rival.VERSION, "modes": self.rival.MODES}

    def load(self, request):
        self.job = request["job"]
        paths = [self.job["input"]] + [table["path"] for table in self.job["tables"]]
        pa.set_cpu_count(self.job["threads"])
        self.loaded = self.rival(self.job)
        if self.job["run"]["kind"] == "batches":
            self.cut = self.loaded.batches(self.job["run"]["batches"])
        return {"input_bytes": sum(read_ipc(path).nbytes for path in paths)}

    def run(self, request):
        self.last = None
        gc.collect()
        gc.disable()
        try:
            if self.job["run"]["kind"] == "whole":
                return self.run_whole()
            return self.run_batches()
        finally:
            gc.enable()

    def run_whole(self):
        started = perf_counter_ns()
        self.last = self.loaded.whole()
        seconds = (perf_counter_ns() - started) / 1e9
        return {
            "seconds": seconds,
            "input_rows": self.loaded.input_rows,
            "rows": self.loaded.row_count(self.last),
            "output_bytes": self.loaded.byte_count(self.last),
            "batch_ns": None,
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def run_batches(self):
        passes = self.job["run"]["passes"]
        times, rows, size = [], 0, 0
        run_one, count = self.loaded.batch, self.loaded.row_count
        for _ in range(passes):
            for batch in self.cut:
                started = perf_counter_ns()
                result = run_one(batch)
                times.append(perf_counter_ns() - started)
                rows += count(result)
                size += self.loaded.byte_count(result)
                del result
        return {
            "seconds": sum(times) / 1e9,
            "input_rows": sum(self.loaded.row_count(batch) for batch in self.cut) * passes,
            "rows": rows,
            "output_bytes": size,
            "batch_ns": spread(times),
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def write(self, request):
        if self.job["run"]["kind"] == "whole":
            self.last = None
            tables = [self.loaded.table(self.loaded.whole())]
        else:
            batches = self.loaded.batches(self.job["compared_batches"])
            tables = [self.loaded.table(self.loaded.batch(batch)) for batch in batches]
        schema = tables[0].schema
        with pa.OSFile(request["path"], "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for table in tables:
                writer.write_table(table.cast(schema))
        return {}


class Rival:
    """What rivals have in common."""

    MODES = ["default"]

    def row_count(self, result):
        return result.num_rows

    def byte_count(self, result):
        return result.nbytes

    def table(self, result):
        if isinstance(result, pa.RecordBatch):
            return pa.Table.from_batches([result])
        return result


def serve(rival):
    """Answers requests until the input ends; or, with --process, runs the job and ends."""
    if len(sys.argv) > 2 and sys.argv[1] == "--process":
        rival.process(json.loads(sys.argv[2]))
        return
    # Whatever else is printed goes to standard error: the pipe is for replies alone.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(rival)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "end":
            break
        try:
            reply = getattr(server, request["do"])(request)
        except Exception as error:  # whatever an engine raises is an answer
            said = str(error).strip().splitlines() or [""]
            reply = {"error": f"{type(error).__name__}: {said[0]}"[:300]}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def leave_out(error):
    """Tells why the engine cannot take part, to whatever is asked."""
    package = error.name or "a package"
    reply = {"error": f"{package} is not installed; fletching bench --setup installs it"}
    if len(sys.argv) > 2:
        sys.exit(reply["error"])
    for _ in sys.stdin:
        print(json.dumps(reply), flush=True)
