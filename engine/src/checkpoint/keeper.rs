//! Keeps a pipeline's checkpoints: finds the newest whole one, writes the next, forgets the old,
//! and fences a pipeline that another of the same name has taken over from.
//!
//! ```text
//!  PATH/enriched/checkpoint-00000000000000000042    after epoch 42
//!                checkpoint-00000000000000000043
//!                term-00000000000000000003          who may write: the third that was started
//!                lock                               held from prepare to commit
//! ```
//!
//! Whoever opens the folder claims the next term. Before it prepares an epoch a pipeline takes the
//! lock and looks whether a later term was claimed meanwhile: then it is fenced, and publishes
//! nothing more. A newer pipeline waits for the lock, so it never begins in the midst of an epoch
//! that the older one is publishing.

use std::sync::Arc;

use parking_lot::Mutex;

use super::contract::{Storage, StorageError, StorageErrorKind, StorageLock, StorageResult};
use super::format::{decode, encode};
use super::{Checkpoint, PipelineIdentity};
use crate::error::{Error, Result};

const CHECKPOINT: &str = "checkpoint-";
const TERM: &str = "term-";

/// Writes a pipeline's checkpoints.
pub(crate) struct Keeper {
    storage: Arc<dyn Storage>,
    identity: PipelineIdentity,
    term: u64,
    /// How many checkpoints are kept.
    keep: usize,
    /// The epoch written last, or found as the newest, and what was written for it, as often as it was
    /// tried: an epoch that came to nothing is written again, by the next life as well.
    tried: Mutex<(u64, Vec<Vec<u8>>)>,
}

/// The right to publish one epoch; others wait until it is dropped.
pub(crate) struct Turn {
    lock: Box<dyn StorageLock>,
}

/// What was found on opening.
pub(crate) struct Found {
    /// The newest checkpoint that is whole.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// What is to be told of newer ones that are damaged.
    pub(crate) damage: Vec<String>,
}

impl Keeper {
    /// Opens a pipeline's checkpoints and claims them for it.
    ///
    /// # Errors
    /// Fails where they are those of another query, are all damaged, or cannot be read.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        identity: PipelineIdentity,
        keep: usize,
    ) -> Result<(Self, Found)> {
        let place = storage.place();
        let failed = |error: StorageError| unreadable(&place, &error);
        storage.make().map_err(|error| unwritable(&place, &error))?;
        let _lock = storage.lock().map_err(failed)?;
        let names = storage.names().map_err(failed)?;
        let found = newest(storage.as_ref(), &names)?;
        if let Some(checkpoint) = &found.checkpoint {
            check_identity(checkpoint, &identity, &place)?;
        }
        let terms = names.iter().filter_map(|name| numbered(TERM, name));
        let term = terms.max().unwrap_or(0) + 1;
        storage
            .write(&format!("{TERM}{term:020}"), b"")
            .map_err(|error| unwritable(&place, &error))?;
        for name in names.iter().filter(|name| name.starts_with(TERM)) {
            // What is left of it does no harm.
            let _ = storage.remove(name);
        }
        let newest = found.checkpoint.as_ref();
        let tried = newest.map(|checkpoint| (checkpoint.epoch, vec![encode(checkpoint)]));
        let keeper = Self {
            storage,
            identity,
            term,
            keep: keep.max(1),
            tried: Mutex::new(tried.unwrap_or_default()),
        };
        Ok((keeper, found))
    }

    /// Takes the turn to publish an epoch.
    ///
    /// # Errors
    /// Fails where a pipeline of the same name was started later: this one is fenced.
    pub(crate) fn turn(&self) -> Result<Turn> {
        let place = self.storage.place();
        let lock = self.storage.lock().map_err(|error| unreadable(&place, &error))?;
        let newest = self.newest_term().map_err(|error| unreadable(&place, &error))?;
        match newest {
            Some(term) if term == self.term => Ok(Turn { lock }),
            _ => Err(self.fenced()),
        }
    }

    fn newest_term(&self) -> Result<Option<u64>, StorageError> {
        let names = self.storage.names()?;
        Ok(names.iter().filter_map(|name| numbered(TERM, name)).max())
    }

    /// Returns why a sink has failed: that a pipeline of the same name was started later, and has
    /// cleared away what this one had begun; or else what the sink says.
    pub(crate) fn reason(&self, error: Error) -> Error {
        match self.newest_term() {
            Ok(Some(term)) if term != self.term => self.fenced(),
            _ => error,
        }
    }

    fn fenced(&self) -> Error {
        Error::Fenced {
            pipeline: self.identity.name.clone(),
            place: self.storage.place(),
        }
    }

    /// Writes a checkpoint and forgets the oldest. Only whoever has the [turn](Self::turn) does.
    ///
    /// # Errors
    /// Fails where it cannot be written; the one before then stands.
    pub(crate) fn write(&self, checkpoint: &Checkpoint, turn: &Turn) -> Result<()> {
        let place = self.storage.place();
        if !turn.lock.is_held() {
            let message = "the storage did not answer for so long that another may have taken the lock";
            let lost = StorageError::new(StorageErrorKind::Unavailable, message);
            return Err(unwritable(
                &place,
                &lost.hint("start it again once the storage answers"),
            ));
        }
        self.put(checkpoint)?;
        let names = self.storage.names().unwrap_or_default();
        for old in expendable(&names, self.keep) {
            // One too many does no harm, and is forgotten with the next.
            let _ = self.storage.remove(&old);
        }
        Ok(())
    }

    /// Writes a checkpoint as a new object: of two instances that both take it for their turn, one does.
    fn put(&self, checkpoint: &Checkpoint) -> Result<()> {
        let place = self.storage.place();
        let failed = |error: StorageError| unwritable(&place, &error);
        let name = format!("{CHECKPOINT}{:020}", checkpoint.epoch);
        let bytes = encode(checkpoint);
        let mut tried = self.tried.lock();
        if tried.0 != checkpoint.epoch {
            *tried = (checkpoint.epoch, Vec::new());
        }
        tried.1.push(bytes.clone());
        match self.storage.create(&name, &bytes) {
            Err(error) if error.kind == StorageErrorKind::AlreadyExists => {}
            other => return other.map_err(failed),
        }
        // It is there: an epoch of ours that was taken back, a damaged one that was gone around, or
        // that of an instance which has taken over while this one stood still.
        let found = self.storage.read(&name).map_err(failed)?;
        if tried.1.contains(&found) || decode(&found).is_err() {
            return self.storage.write(&name, &bytes).map_err(failed);
        }
        Err(self.fenced())
    }

    /// Reads the checkpoint of an epoch before the newest; none where it is not kept, or not whole.
    pub(crate) fn older(&self, epoch: u64) -> Option<Checkpoint> {
        let name = format!("{CHECKPOINT}{epoch:020}");
        read(self.storage.as_ref(), &name, epoch).ok()?.ok()
    }

    /// Returns whose checkpoints they are.
    pub(crate) fn identity(&self) -> &PipelineIdentity {
        &self.identity
    }
}

/// Returns the number in a name of a kind.
pub(super) fn numbered(kind: &str, name: &str) -> Option<u64> {
    name.strip_prefix(kind)?.parse().ok()
}

/// Lists the epochs of checkpoints, the newest first, with their names.
pub(super) fn checkpoints(names: &[String]) -> Vec<(u64, &String)> {
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| Some((numbered(CHECKPOINT, name)?, name)))
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found
}

/// Lists the checkpoints beyond those to keep.
pub(super) fn expendable(names: &[String], keep: usize) -> Vec<String> {
    let all = checkpoints(names);
    all.into_iter().skip(keep).map(|(_, name)| name.clone()).collect()
}

/// Reads one checkpoint.
pub(super) fn read(
    storage: &dyn Storage,
    name: &str,
    epoch: u64,
) -> StorageResult<Result<Checkpoint, String>> {
    let checkpoint = decode(&storage.read(name)?);
    Ok(match checkpoint {
        Ok(checkpoint) if checkpoint.epoch != epoch => Err("it is one of another epoch".into()),
        other => other,
    })
}

/// Finds the newest checkpoint that is whole.
fn newest(storage: &dyn Storage, names: &[String]) -> Result<Found> {
    let mut damage = Vec::new();
    let place = storage.place();
    for (epoch, name) in checkpoints(names) {
        match read(storage, name, epoch) {
            Err(error) => return Err(unreadable(&place, &error)),
            Ok(Ok(checkpoint)) => {
                let checkpoint = Some(checkpoint);
                return Ok(Found { checkpoint, damage });
            }
            Ok(Err(reason)) => damage.push(format!("{place}/{name} is damaged: {reason}")),
        }
    }
    if damage.is_empty() {
        let checkpoint = None;
        return Ok(Found { checkpoint, damage });
    }
    Err(Error::Checkpoint {
        place,
        message: format!("no checkpoint is whole: {}", damage.join("; ")),
        hint: Some("restore the folder from a copy, or remove it to begin anew".into()),
    })
}

fn check_identity(checkpoint: &Checkpoint, identity: &PipelineIdentity, place: &str) -> Result<()> {
    if checkpoint.identity.name == identity.name && checkpoint.identity.fingerprint == identity.fingerprint {
        return Ok(());
    }
    Err(Error::Option {
        subject: format!("sink {}", identity.name),
        message: format!(
            "its checkpoint in {place} (epoch {}) was written by another query: {}",
            checkpoint.epoch, checkpoint.identity.sql
        ),
        hint: Some(
            "run that query, give the sink another name, or begin anew with `fletching checkpoints prune PATH --all`"
                .into(),
        ),
        location: None,
    })
}

fn unreadable(place: &str, error: &StorageError) -> Error {
    Error::Checkpoint {
        place: place.into(),
        message: format!("cannot be read: {error}"),
        hint: error.hint.clone(),
    }
}

pub(super) fn unwritable(place: &str, error: &StorageError) -> Error {
    let stands = "the one before stands, and nothing after it was published";
    Error::Checkpoint {
        place: place.into(),
        message: format!("a checkpoint cannot be written: {error}"),
        hint: Some(match &error.hint {
            Some(hint) => format!("{stands}; {hint}"),
            None => stands.into(),
        }),
    }
}
