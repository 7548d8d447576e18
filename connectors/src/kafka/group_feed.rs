//! A feed of the partitions that a consumer group gives.
//!
//! ```text
//!  join ─▶ Assigned ─▶ offsets of the group asked ─▶ read ─▶ Revoked ─▶ (epoch committed) ─▶ given up
//!             ▲                                                                               │
//!             └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The group waits for a member that has not given up what is revoked. So the epoch in the making is
//! committed first, and whoever has the partition next goes on after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fletching::connector::{Feed, Lag, Membership, Polled, Position, ReadyPoint};
use fletching::{Error, Result};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::client::GroupChange;
use super::committed::committed_offsets;
use super::feed::TopicFeed;
use super::group::Member;
use super::pull::Puller;
use super::start::{Finder, Part, Start, by_partition};

/// How long the group's offsets are waited for at a time; meanwhile the feed can be ended.
const ASK_WAIT: Duration = Duration::from_secs(2);
/// How long they are asked for in all: a transaction of an instance that died may have to run out.
const ASK_MAX: Duration = Duration::from_secs(90);
/// The pause between two times.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// A feed that is a member of a group.
pub(super) struct SharedFeed {
    feed: TopicFeed,
    member: Arc<Member>,
    start: Start,
    /// What the group has done, until it is answered, and since when.
    change: Option<(GroupChange, Instant)>,
    /// Whether the loop was told of a revocation, which is answered when it polls next.
    is_told: bool,
}

impl SharedFeed {
    /// Joins the group with the feed's one consumer.
    pub(super) fn join(feed: TopicFeed, start: Start) -> Result<Self> {
        let cluster = match feed.pullers.first() {
            Some(puller) => puller.consumer.client().fetch_cluster_id(feed.cluster.timeout),
            None => None,
        };
        let shared = Self {
            member: Arc::new(Member {
                cluster,
                generation: Mutex::default(),
                is_transactional: AtomicBool::new(false),
            }),
            feed,
            start,
            change: None,
            is_told: false,
        };
        let puller = shared.puller()?;
        puller.heard.lock().answers = true;
        shared.subscribe()?;
        Ok(shared)
    }

    fn puller(&self) -> Result<&Puller> {
        let puller = self.feed.pullers.first();
        puller.ok_or_else(|| Error::internal("a shared feed reads no topic"))
    }

    fn subscribe(&self) -> Result<()> {
        let puller = self.puller()?;
        let joined = puller.consumer.subscribe(&[&puller.topic]);
        joined.map_err(|error| self.failed("join", &error))
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> Error {
        let doing = format!("{doing} the group {}", self.feed.group);
        let heard = Mutex::default();
        let heard = self.feed.pullers.first().map_or(&heard, |puller| &puller.heard);
        self.feed.cluster.error(&doing, error, heard)
    }

    /// Takes note of what the group has done.
    fn listen(&mut self) -> Result<()> {
        let change = self.puller()?.heard.lock().change.take();
        if let Some(change) = change {
            self.change = Some((change, Instant::now()));
        }
        Ok(())
    }

    /// Lets go of the partitions.
    fn give_up(&mut self) -> Result<()> {
        self.feed.ready.clear();
        self.feed.pullers.iter_mut().for_each(Puller::give_up);
        let given = self.puller()?.consumer.unassign();
        given.map_err(|error| self.failed("leave partitions to", &error))
    }

    /// Begins to read the partitions given where the group stands.
    fn take_over(&mut self, partitions: &[i32]) -> Result<()> {
        let parts = if partitions.is_empty() {
            Vec::new()
        } else {
            self.parts(partitions)?
        };
        self.feed.ready.clear();
        self.feed
            .pullers
            .iter_mut()
            .try_for_each(|puller| puller.take_over(&parts))?;
        *self.member.generation.lock() = self.puller()?.heard.lock().generation.take();
        Ok(())
    }

    /// Finds where partitions are to be read from.
    fn parts(&self, partitions: &[i32]) -> Result<Vec<Part>> {
        let puller = self.puller()?;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&puller.topic, *partition);
        }
        let found = committed_offsets(&puller.consumer, &list, ASK_WAIT);
        let found = found.map_err(|error| self.failed("find the offsets of", &error))?;
        let known = by_partition(&found);
        let finder = Finder {
            cluster: &self.feed.cluster,
            consumer: &puller.consumer,
            heard: &puller.heard,
            topic: &puller.topic,
        };
        let mut parts = finder.parts(&self.start, ReadyPoint::End, &known)?;
        parts.retain(|part| partitions.contains(&part.partition));
        Ok(parts)
    }

    /// Answers the group; returns whether the loop must be told first.
    fn answer(&mut self) -> Result<Option<Polled>> {
        let Some((change, since)) = self.change.take() else {
            return Ok(None);
        };
        match &change {
            GroupChange::Revoked if self.is_told => {
                self.is_told = false;
                self.give_up()?;
                Ok(None)
            }
            GroupChange::Revoked => {
                self.is_told = true;
                self.change = Some((change, since));
                Ok(Some(Polled::Revoked))
            }
            GroupChange::Assigned(partitions) => match self.take_over(partitions) {
                Ok(()) => Ok(None),
                Err(error) if may_pass(&error) && since.elapsed() < ASK_MAX => {
                    self.change = Some((change, since));
                    std::thread::sleep(ASK_PAUSE);
                    Ok(Some(Polled::Idle))
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// Says whether an error is the outside world's, and not about offsets that are gone.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::External { source: Some(_), .. })
}

impl Feed for SharedFeed {
    fn lag(&self) -> Vec<Lag> {
        self.feed.lag()
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if let Some(polled) = self.answer()? {
            return Ok(polled);
        }
        let polled = self.feed.poll(wait)?;
        self.listen()?;
        match (polled, &self.change) {
            // Records that came with a change are not passed on: they are read again.
            (Polled::Records(_), Some(_)) => Ok(Polled::Idle),
            (polled, _) => Ok(polled),
        }
    }

    fn has_caught_up(&self) -> bool {
        self.change.is_none() && self.feed.has_caught_up()
    }

    fn committed(&mut self, positions: &[Position]) -> Result<()> {
        if self.member.is_transactional.load(Relaxed) {
            return Ok(());
        }
        match self.feed.committed(positions) {
            // Then others have the partitions, and what was written of them comes once more.
            Err(Error::External {
                source: Some(source), ..
            }) if is_stale(source.downcast_ref()) => Ok(()),
            done => done,
        }
    }

    fn membership(&self) -> Option<Membership> {
        let member: Membership = Arc::<Member>::clone(&self.member);
        Some(member)
    }

    /// Leaves the group and joins it again: what it held is revoked, and it begins anew.
    fn rejoin(&mut self) -> Result<()> {
        self.puller()?.consumer.unsubscribe();
        self.subscribe()
    }
}

/// Says whether offsets were refused because the group has moved on.
fn is_stale(error: Option<&KafkaError>) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.and_then(KafkaError::rdkafka_error_code);
    matches!(
        code,
        Some(
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::AssignmentLost
        )
    )
}

impl Drop for SharedFeed {
    /// Has the client leave the group by itself.
    fn drop(&mut self) {
        for puller in &self.feed.pullers {
            puller.heard.lock().answers = false;
            // A revocation that nobody answered would keep the client from closing.
            if self.change.is_some() || puller.heard.lock().change.is_some() {
                let _ = puller.consumer.unassign();
            }
        }
    }
}
