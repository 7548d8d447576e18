//! A real object store for tests: S3Proxy, which speaks S3 over a folder, on a free port of the loopback.
//!
//! ```text
//!  Java and Maven ──▶ jars fetched once into the target folder ──▶ a store of our own
//!  else ──▶ a loud line, and the tests are skipped; FLETCHING_REQUIRE_S3=1 makes that a failure
//! ```
//!
//! The store ends with the test process however that ends, as the broker does.

mod process;

use std::sync::OnceLock;

pub use process::ObjectStore;

/// Returns the store that all tests of a process share, or none where there can be none.
///
/// # Panics
/// Panics where there can be none although `FLETCHING_REQUIRE_S3` is set.
///
/// ```no_run
/// let Some(store) = fletching_tests::object_store::shared() else { return };
/// let place = format!("s3://{}/prefix", store.bucket("pipelines"));
/// ```
pub fn shared() -> Option<&'static ObjectStore> {
    static SHARED: OnceLock<Option<ObjectStore>> = OnceLock::new();
    SHARED.get_or_init(|| found(ObjectStore::make(false))).as_ref()
}

/// Starts a store of one's own, to be stopped and started again; none where there can be none.
///
/// # Panics
/// Panics where there can be none although `FLETCHING_REQUIRE_S3` is set.
///
/// ```no_run
/// let Some(mut store) = fletching_tests::object_store::own() else { return };
/// store.stop();
/// store.start();
/// ```
pub fn own() -> Option<ObjectStore> {
    found(ObjectStore::make(true))
}

fn found(store: Result<ObjectStore, String>) -> Option<ObjectStore> {
    let terms = (
        "object stores",
        "FLETCHING_REQUIRE_S3",
        "Install Java 17 and Maven.",
    );
    crate::server::found(store, terms)
}
