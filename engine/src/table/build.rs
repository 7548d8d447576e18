//! Building what lookups need of a large table: on threads of its own.

use rayon::ThreadPoolBuilder;

use crate::error::{Error, Result};

/// From this many rows on, several threads build.
const PARALLEL_ROWS_MIN: usize = 1 << 17;

/// Runs a build over so many rows on at most so many threads, and tells it whether there are
/// several.
///
/// Those are started for the one build, and the caller waits for them without doing anything else.
/// A caller that is itself a worker of a rayon pool, and waited as rayon does, would take up
/// another task meanwhile, which may need the very thing that is being built, and wait for itself.
pub(super) fn build<T: Send>(
    rows: usize,
    threads: usize,
    work: impl FnOnce(bool) -> Result<T> + Send,
) -> Result<T> {
    if threads < 2 || rows < PARALLEL_ROWS_MIN {
        return work(false);
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|at| format!("fletching-build-{at}"))
        .build()
        .map_err(|error| Error::Resource {
            message: format!(
                "cannot start {threads} threads to build an index: {error}; set fewer with SET threads"
            ),
        })?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.install(|| work(true)));
        waiting
            .join()
            .unwrap_or_else(|_| Err(Error::internal("building an index panicked")))
    })
}
