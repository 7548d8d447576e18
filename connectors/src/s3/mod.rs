//! Checkpoints in object stores that speak S3: `checkpoint.path = 's3://bucket/prefix'`.
//!
//! ```text
//!  environment, s3.* settings ──▶ place ──▶ folder (objects under a prefix) ──▶ client ──▶ store
//!                                             ├── lease    who may write, without a file lock
//!                                             └── upload   large objects in parts
//! ```
//!
//! Requests are signed by `rusty-s3` and sent by `ureq`, one at a time by whoever waits for it. What
//! keeps two instances apart is that the store honours conditions on what it is given (`If-None-Match`,
//! `If-Match`), which AWS S3, MinIO, Ceph and R2 do; that it does is found out before it is relied on.

mod client;
mod folder;
mod lease;
mod owner;
mod place;
mod refusal;
mod upload;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fletching::checkpoint::{Storage, StorageResult, StorageScheme, StorageSetting};

use rusty_s3::Credentials;

use folder::Folder;
use place::PlaceSpec;

/// Opens places as `s3://bucket/prefix`.
///
/// Credentials are those it was given, or else those of `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
/// `AWS_SESSION_TOKEN`. Region and endpoint are those of the settings `s3.region` and `s3.endpoint`, or of `AWS_REGION`,
/// `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`. An epoch costs five or six requests.
///
/// ```
/// use std::sync::Arc;
/// use fletching::Session;
/// use fletching::checkpoint::StorageScheme;
/// use fletching_connectors::S3Storage;
///
/// let storage = S3Storage::default().with_credentials("key", "secret", None);
/// let session = Session::builder().storages([Arc::new(storage) as Arc<dyn StorageScheme>]).build()?;
/// session.sql("SET s3.endpoint = 'http://localhost:9000'; SET checkpoint.path = 's3://state/fletching'")?;
/// let error = session.checkpoints("s3://").unwrap_err().to_string();
/// assert!(error.contains("names no bucket"), "{error}");
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct S3Storage {
    credentials: Option<Credentials>,
}

impl fmt::Debug for S3Storage {
    /// Leaves out the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Storage").finish_non_exhaustive()
    }
}

impl S3Storage {
    /// Uses these credentials, whatever the environment says: a key, its secret, and the token of a session.
    ///
    /// ```
    /// let storage = fletching_connectors::S3Storage::default().with_credentials("key", "hidden", None);
    /// assert!(!format!("{storage:?}").contains("hidden"));
    /// ```
    #[must_use]
    pub fn with_credentials(mut self, key: &str, secret: &str, token: Option<&str>) -> Self {
        self.credentials = Some(match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        });
        self
    }
}

const SETTINGS: &[StorageSetting] = &[
    StorageSetting {
        name: place::ENDPOINT,
        help: "the address of a store that speaks S3, as in 'http://localhost:9000' (default that of AWS, or \
               AWS_ENDPOINT_URL)",
    },
    StorageSetting {
        name: place::REGION,
        help: "the region of the bucket (default AWS_REGION, or us-east-1)",
    },
    StorageSetting {
        name: place::PATH_STYLE,
        help: "whether the bucket's name stands in the path of addresses, not in their host (on or off; default on \
               where an endpoint is set)",
    },
    StorageSetting {
        name: place::RETRY_TIMEOUT,
        help: "how long a store that does not answer is asked again (default 20s)",
    },
];

impl StorageScheme for S3Storage {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn settings(&self) -> &'static [StorageSetting] {
        SETTINGS
    }

    fn open(&self, path: &str, settings: &BTreeMap<String, String>) -> StorageResult<Arc<dyn Storage>> {
        let spec = PlaceSpec::read(path, settings, self.credentials.clone(), |name| {
            std::env::var(name).ok()
        })?;
        Ok(Arc::new(Folder::open(spec)))
    }
}
