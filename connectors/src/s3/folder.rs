//! A folder for checkpoints: the objects under a prefix.

use std::sync::Arc;
use std::time::Duration;

use fletching::checkpoint::{
    Storage, StorageError, StorageErrorKind, StorageLock, StorageResult, StoredObject,
};

use super::client::{Client, Condition};
use super::lease::Lease;
use super::place::PlaceSpec;
use super::upload::WHOLE_BYTES_MAX;

const LOCK: &str = "lock";
/// How often a lock that another has is asked for.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// A folder.
#[derive(Debug)]
pub(super) struct Folder {
    client: Arc<Client>,
    /// Nothing, or a path that ends with a slash.
    prefix: String,
    lease: Arc<Lease>,
}

impl Folder {
    pub(super) fn open(spec: PlaceSpec) -> Self {
        let prefix = spec.prefix.clone();
        Self::at(Arc::new(Client::new(spec)), prefix)
    }

    fn at(client: Arc<Client>, prefix: String) -> Self {
        let lease = Lease::new(Arc::clone(&client), format!("{prefix}{LOCK}"));
        Self {
            client,
            prefix,
            lease,
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for Folder {
    fn place(&self) -> String {
        self.client.name(self.prefix.trim_end_matches('/'))
    }

    fn folder(&self, name: &str) -> Arc<dyn Storage> {
        Arc::new(Self::at(
            Arc::clone(&self.client),
            format!("{}{name}/", self.prefix),
        ))
    }

    /// Looks whether the bucket is there and may be listed; prefixes need not be made.
    fn make(&self) -> StorageResult<()> {
        self.client.list(&self.prefix).map(|_| ())
    }

    fn folders(&self) -> StorageResult<Vec<String>> {
        let prefixes = self.client.list(&self.prefix)?.prefixes;
        let inside = prefixes
            .iter()
            .filter_map(|prefix| prefix.strip_prefix(&self.prefix));
        let mut names: Vec<_> = inside.map(|name| name.trim_end_matches('/').to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn objects(&self) -> StorageResult<Vec<StoredObject>> {
        let found = self.client.list(&self.prefix)?.objects;
        let objects = found.into_iter().filter_map(|(key, bytes)| {
            let name = key.strip_prefix(&self.prefix)?;
            // Some tools make an empty object of a folder's name.
            (name != LOCK && !name.is_empty()).then(|| StoredObject {
                name: name.to_owned(),
                bytes,
            })
        });
        let mut objects: Vec<_> = objects.collect();
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    fn read(&self, name: &str) -> StorageResult<Vec<u8>> {
        let key = self.key(name);
        match self.client.get(&key, self.client.patience)? {
            Some((_, bytes)) => Ok(bytes),
            None => {
                let message = format!("there is no {}", self.client.name(&key));
                Err(StorageError::new(StorageErrorKind::NotFound, message))
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        let key = self.key(name);
        if bytes.len() > WHOLE_BYTES_MAX {
            return self.client.put_in_parts(&key, bytes);
        }
        let put = self.client.put(&key, bytes, Condition::Any, self.client.patience);
        put.map(|_| ())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> StorageResult<()> {
        let key = self.key(name);
        let is_new = match bytes.len() > WHOLE_BYTES_MAX {
            // Parts are put together without a condition; only state of tables is so large, and what
            // two programs write of it can both be restored.
            true if self
                .client
                .list(&key)?
                .objects
                .iter()
                .any(|(found, _)| *found == key) =>
            {
                false
            }
            true => return self.client.put_in_parts(&key, bytes),
            false => {
                let put = self
                    .client
                    .put(&key, bytes, Condition::Absent, self.client.patience)?;
                put.is_some()
            }
        };
        if is_new {
            return Ok(());
        }
        let message = format!("there is a {} already", self.client.name(&key));
        Err(StorageError::new(StorageErrorKind::AlreadyExists, message))
    }

    fn remove(&self, name: &str) -> StorageResult<()> {
        self.client.delete(&self.key(name))
    }

    fn try_lock(&self) -> StorageResult<Option<Box<dyn StorageLock>>> {
        let held = self.lease.try_take()?;
        Ok(held.map(|held| Box::new(held) as Box<dyn StorageLock>))
    }

    fn lock_interval(&self) -> Duration {
        LOCK_INTERVAL
    }
}
