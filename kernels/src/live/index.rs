//! The index of a live table: key → the newest row's slot, put in place by one writer.

use std::sync::Arc;

use super::build::{Filled, KeyedRows, fill};
use super::coder::{KeyCoder, Words};
use super::options::LiveOptions;
use super::shards::{ShardMap, ShardWriter};
use crate::KernelError;

/// The writer's side.
pub(super) struct LiveIndex {
    coder: Arc<KeyCoder>,
    shards: Shards,
}

enum Shards {
    Narrow(ShardWriter<u64, 5>),
    Wide(ShardWriter<u128, 3>),
}

/// A version's side: the shards it was published with.
#[derive(Clone)]
pub(super) struct IndexView {
    coder: Arc<KeyCoder>,
    shards: ShardView,
}

#[derive(Clone)]
enum ShardView {
    Narrow(Arc<ShardMap<u64, 5>>),
    Wide(Arc<ShardMap<u128, 3>>),
}

impl LiveIndex {
    /// Makes an empty index of keys that a coder encodes.
    pub(super) fn new(coder: KeyCoder, options: &LiveOptions) -> Self {
        let shards = if coder.is_narrow() {
            Shards::Narrow(ShardWriter::new(options.shards, options.hash_mask))
        } else {
            Shards::Wide(ShardWriter::new(options.shards, options.hash_mask))
        };
        Self {
            coder: Arc::new(coder),
            shards,
        }
    }

    pub(super) fn coder(&self) -> &KeyCoder {
        &self.coder
    }

    /// Puts all keys of a table into an index that is empty, on rayon's threads; returns the rows
    /// that a later one of their key replaced.
    pub(super) fn fill(&mut self, keys: &[KeyedRows]) -> Result<Filled, KernelError> {
        match &mut self.shards {
            Shards::Narrow(shards) => fill(&self.coder, shards, keys, |words| match words {
                Words::Narrow(words) => Some(words),
                Words::Wide(_) => None,
            }),
            Shards::Wide(shards) => fill(&self.coder, shards, keys, |words| match words {
                Words::Wide(words) => Some(words),
                Words::Narrow(_) => None,
            }),
        }
    }

    /// Puts a slot for each word of this index's coder; see [`ShardWriter::put`].
    pub(super) fn put(
        &mut self,
        words: &Words<'_>,
        slot: impl Fn(usize) -> u32,
        replacing: impl FnMut(u32, u32),
    ) {
        match (&mut self.shards, words) {
            (Shards::Narrow(shards), Words::Narrow(words)) => shards.put(words, slot, replacing),
            (Shards::Wide(shards), Words::Wide(words)) => shards.put(words, slot, replacing),
            _ => debug_assert!(false, "words of another coder"),
        }
    }

    /// Returns the index as it is now, for a version.
    pub(super) fn view(&self) -> IndexView {
        IndexView {
            coder: Arc::clone(&self.coder),
            shards: match &self.shards {
                Shards::Narrow(shards) => ShardView::Narrow(Arc::clone(shards.map())),
                Shards::Wide(shards) => ShardView::Wide(Arc::clone(shards.map())),
            },
        }
    }
}

impl IndexView {
    pub(super) fn coder(&self) -> &KeyCoder {
        &self.coder
    }

    /// Writes what each word's slot holds, or `EMPTY`.
    pub(super) fn locate(&self, words: &Words<'_>, slots: &mut [u32]) {
        match (&self.shards, words) {
            (ShardView::Narrow(shards), Words::Narrow(words)) => shards.locate(words, slots),
            (ShardView::Wide(shards), Words::Wide(words)) => shards.locate(words, slots),
            _ => debug_assert!(false, "words of another coder"),
        }
    }

    pub(super) fn shard_count(&self) -> usize {
        match &self.shards {
            ShardView::Narrow(shards) => shards.shard_count(),
            ShardView::Wide(shards) => shards.shard_count(),
        }
    }

    /// Calls back with every slot in use of a shard.
    pub(super) fn each_slot(&self, shard: usize, each: impl FnMut(u32)) {
        match &self.shards {
            ShardView::Narrow(shards) => shards.each_slot(shard, each),
            ShardView::Wide(shards) => shards.each_slot(shard, each),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let shards = match &self.shards {
            ShardView::Narrow(shards) => shards.heap_bytes(),
            ShardView::Wide(shards) => shards.heap_bytes(),
        };
        shards + self.coder.heap_bytes()
    }
}
