//! A storage for tests that fails at one of its calls, whichever it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::contract::{Storage, StorageError, StorageErrorKind, StorageLock, StorageResult, StoredObject};

/// How calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// One call, before it has done anything.
    Once,
    /// One call that is carried out, but whose answer is lost.
    AnswerLost,
    /// One call, and all that write after it, as where a disk is full.
    FromThen,
}

impl Failing {
    pub(crate) const ALL: [Self; 3] = [Self::Once, Self::AnswerLost, Self::FromThen];
}

/// Which call fails, counted over a storage and all the folders in it.
#[derive(Debug)]
pub(crate) struct Faults {
    calls: AtomicU64,
    at: u64,
    how: Failing,
}

impl Faults {
    pub(crate) fn at(at: u64, how: Failing) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicU64::new(0),
            at,
            how,
        })
    }

    /// Says whether it has come to the call that fails.
    pub(crate) fn have_come(&self) -> bool {
        self.calls.load(Relaxed) >= self.at
    }

    fn call<T>(&self, writes: bool, call: impl FnOnce() -> StorageResult<T>) -> StorageResult<T> {
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let is_late = writes && number > self.at && self.how == Failing::FromThen;
        if number != self.at && !is_late {
            return call();
        }
        if self.how == Failing::AnswerLost {
            drop(call());
            return Err(StorageError::new(StorageErrorKind::Unavailable, "no answer came"));
        }
        Err(StorageError::new(StorageErrorKind::Full, "no space left").hint("free space there"))
    }
}

/// A storage whose calls are counted.
#[derive(Debug)]
pub(crate) struct FailingStorage {
    inner: Arc<dyn Storage>,
    faults: Arc<Faults>,
}

impl FailingStorage {
    pub(crate) fn over(inner: Arc<dyn Storage>, faults: &Arc<Faults>) -> Arc<dyn Storage> {
        Arc::new(Self {
            inner,
            faults: Arc::clone(faults),
        })
    }
}

impl Storage for FailingStorage {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn folder(&self, name: &str) -> Arc<dyn Storage> {
        Self::over(self.inner.folder(name), &self.faults)
    }

    fn make(&self) -> StorageResult<()> {
        self.faults.call(true, || self.inner.make())
    }

    fn folders(&self) -> StorageResult<Vec<String>> {
        self.faults.call(false, || self.inner.folders())
    }

    fn objects(&self) -> StorageResult<Vec<StoredObject>> {
        self.faults.call(false, || self.inner.objects())
    }

    fn read(&self, name: &str) -> StorageResult<Vec<u8>> {
        self.faults.call(false, || self.inner.read(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        self.faults.call(true, || self.inner.write(name, bytes))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        self.faults.call(true, || self.inner.create(name, bytes))
    }

    fn remove(&self, name: &str) -> StorageResult<()> {
        self.faults.call(false, || self.inner.remove(name))
    }

    fn try_lock(&self) -> StorageResult<Option<Box<dyn StorageLock>>> {
        self.faults.call(false, || self.inner.try_lock())
    }
}
