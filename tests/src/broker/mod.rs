//! A real Apache Kafka broker for tests: one node, in KRaft mode, on free ports of the loopback.
//!
//! ```text
//!  FLETCHING_TEST_KAFKA=host:port ──▶ that one
//!  else Java and Maven ──▶ jars fetched once into the target folder ──▶ a broker of our own
//!  else ──▶ a loud line, and the tests are skipped; FLETCHING_REQUIRE_KAFKA=1 makes that a failure
//! ```
//!
//! The broker ends with the test process however that ends.

mod client;
mod process;
mod secured;
mod segments;

use std::sync::OnceLock;

pub use client::{HeldOffsets, Record, Topic};
pub use process::Broker;
pub use secured::{Listener, USER};

/// Returns the broker that all tests of a process share, or none where there can be none.
///
/// # Panics
/// Panics where there can be none although `FLETCHING_REQUIRE_KAFKA` is set.
///
/// ```no_run
/// let Some(broker) = fletching_tests::broker::shared() else { return };
/// let topic = broker.topic("trades", 4);
/// topic.send(&[(Some("k"), Some("v"))]);
/// ```
pub fn shared() -> Option<&'static Broker> {
    static SHARED: OnceLock<Option<Broker>> = OnceLock::new();
    SHARED.get_or_init(|| found(Broker::shared())).as_ref()
}

/// Starts a broker of one's own, to be stopped and started again; none where there can be none.
///
/// # Panics
/// Panics where there can be none although `FLETCHING_REQUIRE_KAFKA` is set.
///
/// ```no_run
/// let Some(mut broker) = fletching_tests::broker::own() else { return };
/// broker.stop();
/// broker.start();
/// ```
pub fn own() -> Option<Broker> {
    found(Broker::own())
}

/// Returns the broker with TLS and logins that all tests of a process share, or none where there can be
/// none. It is one of our own, whatever `FLETCHING_TEST_KAFKA` says.
///
/// # Panics
/// Panics where there can be none although `FLETCHING_REQUIRE_KAFKA` is set.
///
/// ```no_run
/// use fletching_tests::broker::{Listener, secured};
///
/// let Some(broker) = secured() else { return };
/// let (servers, ca) = (broker.address(Listener::Tls), broker.certificates().path("ca.pem"));
/// ```
pub fn secured() -> Option<&'static Broker> {
    static SECURED: OnceLock<Option<Broker>> = OnceLock::new();
    SECURED.get_or_init(|| found(Broker::secured())).as_ref()
}

fn found(broker: Result<Broker, String>) -> Option<Broker> {
    let terms = (
        "Kafka",
        "FLETCHING_REQUIRE_KAFKA",
        "Install Java 17 and Maven, or set FLETCHING_TEST_KAFKA=host:port.",
    );
    crate::server::found(broker, terms)
}
