//! A scan of topics: everything up to the offsets that were their ends when it began.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use fletching::Result;
use fletching::connector::{Reader, SourceReport};

use super::bad::Desk;
use super::client::Cluster;
use super::decode::Decoding;
use super::gather::{Gathered, Kept};
use super::pull::Puller;
use super::start::Part;

/// How long a reader waits before it gives an empty batch, so that a cancelled run is noticed.
const WAIT: Duration = Duration::from_millis(200);

/// The partitions of one topic that one reader reads.
pub(super) type Share = (Arc<str>, Vec<Part>);

/// Deals partitions out to at most `readers_max` readers, the longest first; always at least one.
pub(super) fn deal(topics: Vec<Share>, readers_max: usize) -> Vec<Vec<Share>> {
    let mut parts: Vec<(Arc<str>, Part)> = topics
        .into_iter()
        .flat_map(|(topic, parts)| parts.into_iter().map(move |part| (Arc::clone(&topic), part)))
        .filter(|(_, part)| part.begin < part.end)
        .collect();
    parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.end - part.begin));
    let readers = readers_max.clamp(1, parts.len().max(1));
    let mut shares: Vec<(i64, Vec<Share>)> = (0..readers).map(|_| (0, Vec::new())).collect();
    for (topic, part) in parts {
        let Some((records, share)) = shares.iter_mut().min_by_key(|(records, _)| *records) else {
            continue;
        };
        *records += part.end - part.begin;
        match share.iter_mut().find(|(name, _)| *name == topic) {
            Some((_, parts)) => parts.push(part),
            None => share.push((topic, vec![part])),
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Reads some partitions, one topic after the other.
pub(super) struct TopicReader {
    pub(super) cluster: Cluster,
    pub(super) group: String,
    pub(super) topics: VecDeque<Share>,
    pub(super) current: Option<Puller>,
    pub(super) ready: VecDeque<Gathered>,
    pub(super) decoding: Decoding,
    pub(super) kept: Kept,
    pub(super) desk: Desk,
    pub(super) report: Arc<SourceReport>,
    pub(super) batch_rows_max: usize,
    /// Rows that may still be given.
    pub(super) remaining: usize,
}

impl TopicReader {
    /// Returns the next records; `None` at the end, no rows where none came in time.
    fn next_gathered(&mut self) -> Result<Option<Gathered>> {
        if let Some(gathered) = self.ready.pop_front() {
            return Ok(Some(gathered));
        }
        if self.current.is_none() {
            let Some((topic, parts)) = self.topics.pop_front() else {
                return Ok(None);
            };
            let what = (&topic, parts.as_slice());
            self.current = Some(Puller::open(&self.cluster, &self.group, what, self.kept, true)?);
        }
        if let Some(puller) = &mut self.current {
            puller.pull(self.batch_rows_max, WAIT)?;
            self.ready.extend(puller.take());
            if puller.is_read() {
                self.current = None;
            }
        }
        Ok(Some(self.ready.pop_front().unwrap_or_default()))
    }
}

impl Reader for TopicReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.remaining == 0 {
            self.current = None;
            self.desk.finish()?;
            return Ok(None);
        }
        let Some(gathered) = self.next_gathered()? else {
            self.desk.finish()?;
            return Ok(None);
        };
        self.report.add_bytes(gathered.bytes() as u64);
        let batch = self.decoding.decode(&gathered, &mut self.desk)?;
        let rows = batch.num_rows().min(self.remaining);
        self.remaining -= rows;
        Ok(Some(batch.slice(0, rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(partition: i32, begin: i64, end: i64) -> Part {
        Part {
            partition,
            begin,
            end,
        }
    }

    #[test]
    fn partitions_are_dealt_evenly_and_empty_ones_left_out() {
        let topics = vec![(
            Arc::from("t"),
            vec![part(0, 0, 10), part(1, 5, 5), part(2, 0, 6), part(3, 0, 5)],
        )];
        let shares = deal(topics.clone(), 2);
        let records: Vec<i64> = shares
            .iter()
            .map(|share| {
                share
                    .iter()
                    .flat_map(|(_, parts)| parts)
                    .map(|p| p.end - p.begin)
                    .sum()
            })
            .collect();
        assert_eq!(records, [10, 11]);
        assert_eq!(deal(topics, 8).len(), 3);
        assert_eq!(deal(Vec::new(), 4), [Vec::new()]);
    }
}
