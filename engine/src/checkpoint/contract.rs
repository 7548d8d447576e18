//! What a place for checkpoints must do: the contract between the engine and the storage behind it.
//!
//! ```text
//!  PLACE/                    what checkpoint.path names: a folder, or a bucket and a prefix
//!    enriched/               a folder for each pipeline       (`Storage::folder`)
//!      checkpoint-…          objects, whole or not there      (`write`, `create`)
//!      lock                  who publishes now                (`try_lock`, `lock`)
//!    table.users/            a folder for each table
//! ```
//!
//! A local folder comes with the engine; others are handed to a session as a [`StorageScheme`], as
//! `fletching_connectors::storages()` does, so that the engine itself speaks to no network.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long another that publishes is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// What went wrong with a storage, as far as the engine must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageErrorKind {
    /// There is no such object, folder or bucket.
    NotFound,
    /// An object that was to be new is there already.
    AlreadyExists,
    /// There is no room left.
    Full,
    /// Reading or writing is not allowed.
    Denied,
    /// It does not answer, after it was asked as often as is sensible.
    Unavailable,
    /// Anything else.
    Other,
}

/// An error of a storage.
///
/// ```
/// use fletching::checkpoint::{StorageError, StorageErrorKind};
///
/// let error = StorageError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
/// assert_eq!(error.kind, StorageErrorKind::Full);
/// assert!(error.hint.unwrap().contains("free space"));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct StorageError {
    /// What kind of thing went wrong.
    pub kind: StorageErrorKind,
    /// What, and to which object.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl StorageError {
    /// Makes an error.
    ///
    /// ```
    /// use fletching::checkpoint::{StorageError, StorageErrorKind};
    ///
    /// let error = StorageError::new(StorageErrorKind::NotFound, "there is no bucket b").hint("make it first");
    /// assert_eq!(error.to_string(), "there is no bucket b");
    /// ```
    pub fn new(kind: StorageErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> Self {
        let (kind, hint) = match error.kind() {
            io::ErrorKind::NotFound => (StorageErrorKind::NotFound, None),
            io::ErrorKind::AlreadyExists => (StorageErrorKind::AlreadyExists, None),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => (
                StorageErrorKind::Full,
                Some("free space there, or raise the limit, and start it again"),
            ),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                (StorageErrorKind::Denied, Some("check the permissions"))
            }
            io::ErrorKind::TimedOut => (StorageErrorKind::Unavailable, None),
            _ => (StorageErrorKind::Other, None),
        };
        let text = error.to_string();
        let message = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        Self {
            kind,
            message,
            hint: hint.map(str::to_owned),
        }
    }
}

/// What functions of a storage return.
pub type StorageResult<T> = std::result::Result<T, StorageError>;

/// An object in a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// Its name in its folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// The right to publish; it is given back when dropped.
///
/// A guard whose storage ties the lock to the process, as a local file's is, needs nothing more:
///
/// ```
/// use fletching::checkpoint::StorageLock;
///
/// struct Held;
/// impl StorageLock for Held {}
/// assert!(Held.is_held());
/// ```
pub trait StorageLock: Send + Sync {
    /// Says whether nobody else can have taken it meanwhile.
    fn is_held(&self) -> bool {
        true
    }
}

/// A folder for checkpoints, with objects and further folders in it.
///
/// Calls come from several threads, one writer for each folder: whoever has its lock. Objects are
/// a few hundred bytes (checkpoints) to some tens of megabytes (rows of tables) large.
///
/// ```
/// use fletching::checkpoint::{Place, Storage};
///
/// let folder = std::env::temp_dir().join(format!("fletching-storage-{}", std::process::id()));
/// let place = Place::from(folder.as_path());
/// let pipeline = place.storage().folder("enriched");
/// pipeline.make()?;
/// let lock = pipeline.lock()?;
/// pipeline.write("checkpoint-1", b"where it stands")?;
/// assert_eq!(pipeline.read("checkpoint-1")?, b"where it stands");
/// assert_eq!(place.storage().folders()?, ["enriched"]);
/// assert!(pipeline.try_lock()?.is_none() && lock.is_held());
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), fletching::checkpoint::StorageError>(())
/// ```
pub trait Storage: Send + Sync + fmt::Debug {
    /// Returns the place, for messages and for people.
    fn place(&self) -> String;

    /// Names a folder in this one; it need not be there.
    fn folder(&self, name: &str) -> Arc<dyn Storage>;

    /// Makes it ready to be written to, where it is not.
    ///
    /// # Errors
    /// Fails where that cannot be, as for want of permission or of a bucket.
    fn make(&self) -> StorageResult<()>;

    /// Lists the folders in it, in order.
    ///
    /// # Errors
    /// Fails where it cannot be listed.
    fn folders(&self) -> StorageResult<Vec<String>>;

    /// Lists its objects in the order of their names; what is half written and the lock are left out.
    ///
    /// # Errors
    /// Fails where it cannot be listed.
    fn objects(&self) -> StorageResult<Vec<StoredObject>>;

    /// Reads an object whole.
    ///
    /// # Errors
    /// Fails where it is not there or cannot be read.
    fn read(&self, name: &str) -> StorageResult<Vec<u8>>;

    /// Opens an object to be read once from its beginning, and tells its length. By default it is read whole.
    ///
    /// # Errors
    /// Fails as [`read`](Self::read) does.
    fn open(&self, name: &str) -> StorageResult<(Box<dyn io::Read>, u64)> {
        let bytes = self.read(name)?;
        let length = bytes.len() as u64;
        Ok((Box::new(io::Cursor::new(bytes)), length))
    }

    /// Writes an object that is there whole, and durable, or not at all; it replaces one of its name.
    ///
    /// # Errors
    /// Fails where it cannot be written; then it may be there all the same, as where an answer was lost.
    fn write(&self, name: &str, bytes: &[u8]) -> StorageResult<()>;

    /// Writes an object as [`write`](Self::write) does, but only where there is none of its name. A storage
    /// whose lock cannot be lost in the middle of a call may replace it.
    ///
    /// # Errors
    /// Fails with [`StorageErrorKind::AlreadyExists`] where there is one, and as `write` does.
    fn create(&self, name: &str, bytes: &[u8]) -> StorageResult<()>;

    /// Removes an object.
    ///
    /// # Errors
    /// Fails where it cannot be removed.
    fn remove(&self, name: &str) -> StorageResult<()>;

    /// Takes the lock where nobody else has it.
    ///
    /// # Errors
    /// Fails where it cannot be asked for.
    fn try_lock(&self) -> StorageResult<Option<Box<dyn StorageLock>>>;

    /// Returns how often to ask for a lock that another has.
    fn lock_interval(&self) -> Duration {
        Duration::from_millis(10)
    }

    /// Lists the names of its objects, in order.
    ///
    /// # Errors
    /// Fails as [`objects`](Self::objects) does.
    fn names(&self) -> StorageResult<Vec<String>> {
        let objects = self.objects()?.into_iter();
        Ok(objects.map(|object| object.name).collect())
    }

    /// Keeps all others from publishing until the guard is dropped, and waits for one who publishes now.
    ///
    /// # Errors
    /// Fails where another has had the lock for 30 seconds, or it cannot be asked for.
    fn lock(&self) -> StorageResult<Box<dyn StorageLock>> {
        let began = Instant::now();
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if began.elapsed() >= LOCK_WAIT {
                let message = "another program has held the lock on it for 30 s";
                return Err(StorageError::new(StorageErrorKind::Unavailable, message)
                    .hint("end that program, or give this one another checkpoint.path"));
            }
            thread::sleep(self.lock_interval());
        }
    }
}

/// A setting of a storage, as `SHOW SETTINGS` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageSetting {
    /// Its name, which begins with that of the scheme, as in `s3.region`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// What opens the places whose names begin with `NAME://`.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Arc;
/// use fletching::Session;
/// use fletching::checkpoint::{Storage, StorageError, StorageErrorKind, StorageResult, StorageScheme, StorageSetting};
///
/// #[derive(Debug)]
/// struct Nowhere;
/// impl StorageScheme for Nowhere {
///     fn name(&self) -> &'static str { "nowhere" }
///     fn settings(&self) -> &'static [StorageSetting] {
///         &[StorageSetting { name: "nowhere.depth", help: "how deep" }]
///     }
///     fn open(&self, path: &str, _: &BTreeMap<String, String>) -> StorageResult<Arc<dyn Storage>> {
///         Err(StorageError::new(StorageErrorKind::NotFound, format!("{path} is nowhere")))
///     }
/// }
///
/// let session = Session::builder().storages([Arc::new(Nowhere) as Arc<dyn StorageScheme>]).build()?;
/// session.sql("SET nowhere.depth = '3'; SET checkpoint.path = 'nowhere://a/b'")?;
/// let error = session.checkpoints("nowhere://a/b").unwrap_err();
/// assert!(error.to_string().contains("a/b is nowhere"));
/// # Ok::<(), fletching::Error>(())
/// ```
pub trait StorageScheme: Send + Sync + fmt::Debug {
    /// Returns what stands before `://`.
    fn name(&self) -> &'static str;

    /// Lists the settings it has.
    fn settings(&self) -> &'static [StorageSetting];

    /// Opens the place that is named behind `://`, with the settings that were set.
    ///
    /// # Errors
    /// Fails where the path or a setting makes no sense; nothing need be asked for yet.
    fn open(&self, path: &str, settings: &BTreeMap<String, String>) -> StorageResult<Arc<dyn Storage>>;
}
