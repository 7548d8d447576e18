//! What brings records into Fletching and takes results out: files, generated data, the terminal.
//!
//! ```text
//!  connector = 'file'      source, sink   Parquet, CSV, JSON lines, Arrow IPC
//!  connector = 'datagen'   source         generated rows, the same for the same seed
//!  connector = 'kafka'     source, sink   JSON, CSV, raw, Avro, Protobuf records of topics
//!  connector = 'stdout'    sink           a table, CSV or JSON on the terminal
//!
//!  checkpoint.path = 's3://…'             an object store that speaks S3
//! ```
//!
//! [`all`] hands every connector to a session; each can also be used by itself through the
//! traits of [`fletching::connector`]:
//!
//! ```
//! use fletching::connector::{Connector, Options, RelationKind, RelationSpec, ScanRequest};
//! use fletching_connectors::FileConnector;
//!
//! let folder = std::env::temp_dir().join(format!("fletching-doc-{}", std::process::id()));
//! std::fs::create_dir_all(&folder).unwrap();
//! let path = folder.join("prices.csv");
//! std::fs::write(&path, "symbol,price\nAAA,1.50\nBBB,2\n").unwrap();
//!
//! let spec = RelationSpec {
//!     name: "prices".into(),
//!     kind: RelationKind::Table,
//!     schema: None,
//!     primary_key: Vec::new(),
//!     options: Options::new("table prices").with("path", path.to_string_lossy()),
//! };
//! let source = FileConnector.source(&spec)?;
//! let mut readers = source.scan(&ScanRequest::all())?;
//! let batch = readers[0].next_batch()?.unwrap();
//! assert_eq!(batch.num_rows(), 2);
//! # std::fs::remove_dir_all(&folder).unwrap();
//! # Ok::<(), fletching::Error>(())
//! ```

#[cfg(feature = "datagen")]
mod datagen;
#[cfg(any(feature = "datagen", feature = "csv", feature = "json"))]
mod decimal;
mod file;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod message;
#[cfg(feature = "s3")]
mod s3;
mod spelling;
mod stdout;

use std::sync::Arc;

use fletching::checkpoint::StorageScheme;
use fletching::connector::Connector;

#[cfg(feature = "datagen")]
pub use datagen::DatagenConnector;
pub use file::FileConnector;
#[cfg(feature = "kafka")]
pub use kafka::KafkaConnector;
#[cfg(feature = "kafka")]
pub use message::{MessageReader, RefusedMessage};
#[cfg(feature = "s3")]
pub use s3::S3Storage;
pub use stdout::StdoutConnector;

/// Returns every connector of this build.
///
/// ```
/// let names: Vec<_> = fletching_connectors::all().iter().map(|c| c.name()).collect();
/// assert!(names.contains(&"file") && names.contains(&"stdout"));
/// ```
pub fn all() -> Vec<Arc<dyn Connector>> {
    vec![
        Arc::new(FileConnector),
        #[cfg(feature = "datagen")]
        Arc::new(DatagenConnector),
        #[cfg(feature = "kafka")]
        Arc::new(KafkaConnector::with_files()),
        Arc::new(StdoutConnector),
    ]
}

/// Returns every storage for checkpoints of this build, beside folders of the file system.
///
/// ```
/// let names: Vec<_> = fletching_connectors::storages().iter().map(|s| s.name()).collect();
/// assert_eq!(names, ["s3"]);
/// ```
pub fn storages() -> Vec<Arc<dyn StorageScheme>> {
    vec![
        #[cfg(feature = "s3")]
        Arc::new(S3Storage::default()),
    ]
}
