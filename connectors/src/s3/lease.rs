//! A lock without a file system: an object that says who has it, changed only by those who know how it stands.
//!
//! ```text
//!              PUT if none is there                 every quarter of a lease: PUT if it is as we left it
//!   nothing ─────────────────────────▶ held by A ◀──────────────────┐
//!                                        │    └─────────────────────┘
//!                 PUT if as we left it   │                 ▲
//!   free  ◀──────────────────────────────┘                 │ PUT if it is still as it was seen
//!     └───────── PUT if it is as seen ────▶ held by B ─────┘ when A is known to have ended, or when it was
//!                                                            seen unchanged for the length of a lease
//! ```
//!
//! No clocks are compared: whoever waits measures with its own how long the object has stood unchanged,
//! and the holder takes it for lost once that long has gone by since it began to renew it last. A
//! checkpoint is written as an object that must be new, so that even a holder that stood still in
//! between changes nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fletching::checkpoint::{StorageError, StorageErrorKind, StorageLock, StorageResult};
use parking_lot::{Condvar, Mutex};

use super::client::{Client, Condition, Patience};
use super::owner::Owner;

/// How long a lease holds that is not renewed.
const LEASE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_millis(2500);
/// How long a renewal may take: so long that two may fail.
const RENEWING: Patience = Patience {
    retry: Duration::ZERO,
    once: Some(Duration::from_secs(2)),
};

/// The lock of a folder.
#[derive(Debug)]
pub(super) struct Lease {
    client: Arc<Client>,
    key: String,
    owner: Owner,
    known: Mutex<Known>,
    /// Whether the store was seen to honour conditions.
    is_proven: AtomicBool,
}

/// What is known of the object between calls.
#[derive(Debug, Default)]
struct Known {
    /// How often we have written it: so each time it is another.
    writes: u64,
    /// The tag that we have set it free with.
    freed: Option<String>,
    /// The tag of one that another holds, and since when it was seen.
    seen: Option<(String, Instant)>,
    /// The guard that was given out last.
    held: Weak<Renewed>,
}

impl Lease {
    pub(super) fn new(client: Arc<Client>, key: String) -> Arc<Self> {
        Arc::new(Self {
            client,
            key,
            owner: Owner::new(),
            known: Mutex::default(),
            is_proven: AtomicBool::new(false),
        })
    }

    /// Takes it where nobody has it.
    pub(super) fn try_take(self: &Arc<Self>) -> StorageResult<Option<Held>> {
        let mut known = self.known.lock();
        if known.held.strong_count() > 0 {
            return Ok(None);
        }
        if let Some(tag) = known.freed.take() {
            // Nobody else has asked for it since, most times.
            if let Some(held) = self.take(&mut known, Condition::Tag(&tag))? {
                return Ok(Some(held));
            }
        }
        let Some((tag, bytes)) = self.client.get(&self.key, self.client.patience)? else {
            return self.take(&mut known, Condition::Absent);
        };
        let tag = tag.ok_or_else(|| without_conditions(&self.client.name(&self.key)))?;
        if self.may_take(&mut known, &tag, &bytes) {
            return self.take(&mut known, Condition::Tag(&tag));
        }
        Ok(None)
    }

    fn may_take(&self, known: &mut Known, tag: &str, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let holder = text.strip_prefix("held ").and_then(Owner::parse);
        let Some(holder) = holder else {
            // It is free, or what is there says nothing that could be waited for.
            return true;
        };
        // Ours is one whose release was lost: no guard of it is left.
        if holder == self.owner || holder.has_ended() {
            return true;
        }
        match &known.seen {
            Some((seen, since)) if seen == tag => since.elapsed() >= LEASE,
            _ => {
                known.seen = Some((tag.to_owned(), Instant::now()));
                false
            }
        }
    }

    /// Takes it where a condition holds.
    fn take(self: &Arc<Self>, known: &mut Known, condition: Condition<'_>) -> StorageResult<Option<Held>> {
        let began = Instant::now();
        let text = self.text(known, "held");
        let patience = self.client.patience;
        let put = self.client.put(&self.key, text.as_bytes(), condition, patience)?;
        let Some(mut tag) = put else {
            return Ok(None);
        };
        known.seen = None;
        if !self.is_proven.load(Relaxed) {
            tag = self.prove(tag, text.as_bytes())?;
        }
        let held = Held::new(Arc::clone(self), tag, began);
        known.held = Arc::downgrade(&held.shared);
        Ok(Some(held))
    }

    /// Insists that the store refuses to write what is there already as new.
    fn prove(&self, tag: String, text: &[u8]) -> StorageResult<String> {
        let again = self.client.put(
            &self.key,
            b"unconditional",
            Condition::Absent,
            self.client.patience,
        )?;
        let wrong = self.client.put(
            &self.key,
            b"unconditional",
            Condition::Tag("\"0\""),
            self.client.patience,
        )?;
        if again.is_some() || wrong.is_some() || tag.is_empty() {
            // It is not left as if somebody held it.
            self.client
                .put(&self.key, text, Condition::Any, self.client.patience)?;
            self.client.delete(&self.key)?;
            return Err(without_conditions(&self.client.name(&self.key)));
        }
        self.is_proven.store(true, Relaxed);
        Ok(tag)
    }

    fn text(&self, known: &mut Known, state: &str) -> String {
        known.writes += 1;
        format!("{state} {} {}", self.owner, known.writes)
    }
}

fn without_conditions(name: &str) -> StorageError {
    let message = format!("{name}: the store does not honour conditions on what it writes");
    StorageError::new(StorageErrorKind::Other, message).hint(
        "without them two instances cannot be kept apart: use a store that honours If-None-Match and If-Match, \
         as AWS S3, MinIO, Ceph and R2 do, or a folder",
    )
}

/// A lease that is held, and renewed until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    shared: Arc<Renewed>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Renewed {
    lease: Arc<Lease>,
    state: Mutex<State>,
    /// Wakes who renews, when it is dropped.
    dropped: Condvar,
}

#[derive(Debug)]
struct State {
    /// The tag it was written with last; nothing once it is another's.
    tag: Option<String>,
    /// When the last renewal that came to be was begun.
    confirmed: Instant,
    is_dropped: bool,
}

impl Held {
    fn new(lease: Arc<Lease>, tag: String, confirmed: Instant) -> Self {
        let state = State {
            tag: Some(tag),
            confirmed,
            is_dropped: false,
        };
        let shared = Arc::new(Renewed {
            lease,
            state: Mutex::new(state),
            dropped: Condvar::new(),
        });
        let renewing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("s3-lease".into());
        // Without the thread it lapses, and whoever holds it finds that out.
        let thread = thread.spawn(move || renewing.renew()).ok();
        Self { shared, thread }
    }
}

impl Renewed {
    /// Renews it until it is dropped or lost.
    fn renew(&self) {
        let mut state = self.state.lock();
        while !state.is_dropped && state.tag.is_some() {
            if !self.dropped.wait_for(&mut state, RENEWAL).timed_out() {
                continue;
            }
            let Some(tag) = state.tag.clone() else { return };
            let text = self.lease.text(&mut self.lease.known.lock(), "held");
            // Whether it is held can be asked meanwhile.
            drop(state);
            let began = Instant::now();
            let client = &self.lease.client;
            let put = client.put(&self.lease.key, text.as_bytes(), Condition::Tag(&tag), RENEWING);
            state = self.state.lock();
            match put {
                Ok(Some(tag)) => (state.tag, state.confirmed) = (Some(tag), began),
                Ok(None) => state.tag = self.found(text.as_bytes()),
                // It is tried again at the next turn, as long as the lease holds.
                Err(_) => {}
            }
        }
    }

    /// Returns the tag of the object where it is as we wrote it: the answer to a renewal was lost.
    fn found(&self, text: &[u8]) -> Option<String> {
        let client = &self.lease.client;
        let found = client.get(&self.lease.key, RENEWING).ok()??;
        let is_ours = String::from_utf8_lossy(&found.1)
            .strip_prefix("held ")
            .and_then(Owner::parse)
            .is_some_and(|owner| owner == self.lease.owner);
        (is_ours || found.1 == text).then_some(found.0).flatten()
    }
}

impl StorageLock for Held {
    fn is_held(&self) -> bool {
        let state = self.shared.state.lock();
        state.tag.is_some() && state.confirmed.elapsed() < LEASE
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.state.lock().is_dropped = true;
        self.shared.dropped.notify_all();
        if let Some(thread) = self.thread.take() {
            // A renewal that is on its way is waited for: it would change the tag.
            let _ = thread.join();
        }
        let lease = &self.shared.lease;
        let Some(tag) = self.shared.state.lock().tag.take() else {
            return;
        };
        let mut known = lease.known.lock();
        let text = lease.text(&mut known, "free");
        // Where it cannot be said, whoever comes next waits for it to lapse.
        let freed = lease
            .client
            .put(&lease.key, text.as_bytes(), Condition::Tag(&tag), RENEWING);
        known.freed = freed.ok().flatten();
    }
}
