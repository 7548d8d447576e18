//! The steps of a transaction, tried again where that may help, and errors that say who won.

use std::time::{Duration, Instant};

use fletching::{Error, Result};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::outlet::Outlet;

/// How long is waited after a first failure; twice as long after each further one.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Registers the writer: an older one of its name is fenced, and what it had not committed is
/// taken back.
pub(super) fn init(outlet: &Outlet) -> Result<()> {
    insist(outlet, "begin to write to", outlet.cluster.timeout, || {
        outlet.producer.init_transactions(outlet.cluster.timeout)
    })
}

/// Begins a transaction.
pub(super) fn begin(outlet: &Outlet) -> Result<()> {
    step(outlet, "begin a transaction on", || {
        outlet.producer.begin_transaction()
    })
}

/// Commits what was sent since [`begin`].
pub(super) fn commit(outlet: &Outlet) -> Result<()> {
    step(outlet, "commit a transaction on", || {
        outlet.producer.commit_transaction(outlet.cluster.timeout)
    })
}

/// Takes back what was sent since [`begin`]. A failure is of no matter: the broker does it itself
/// when the transaction's time is up, or when a writer of the same name registers.
pub(super) fn abort(outlet: &Outlet) {
    let _ = outlet.producer.abort_transaction(outlet.cluster.timeout);
}

/// Does a step of a transaction until it succeeds, cannot any more, or the transaction has run out: a broker
/// that is away is waited for as long.
pub(super) fn step(
    outlet: &Outlet,
    doing: &str,
    attempt: impl FnMut() -> Result<(), KafkaError>,
) -> Result<()> {
    insist(
        outlet,
        doing,
        outlet.cluster.timeout.max(outlet.lifetime),
        attempt,
    )
}

fn insist(
    outlet: &Outlet,
    doing: &str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), KafkaError>,
) -> Result<()> {
    let until = Instant::now() + patience;
    let mut pause = BACKOFF;
    loop {
        let Err(error) = attempt() else {
            return Ok(());
        };
        if is_fenced(&error) {
            return Err(Error::External {
                message: format!(
                    "kafka {}: another instance of this pipeline writes to the topic {} now, and this one is \
                     fenced; run one instance, or give each a name of its own",
                    outlet.cluster.servers, outlet.topic
                ),
                source: Some(std::sync::Arc::new(error)),
            });
        }
        let may_pass = matches!(&error, KafkaError::Transaction(inner) if inner.is_retriable());
        if !may_pass || Instant::now() + pause > until {
            return Err(outlet.failed(doing, &error));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// Says whether an error means that a newer writer of the same name has registered.
pub(super) fn is_fenced(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Fenced
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::InvalidProducerEpoch
        )
    )
}
