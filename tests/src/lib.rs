//! The tests of Fletching that need the whole of it, and the runner of SQL logic tests.
//!
//! ```text
//!  tests/slt/**.slt   what SQL means here, as scripts
//!  src/slt/           the runner of such scripts: ours, and other engines' suites as they are
//!  src/broker/        a real Apache Kafka broker, for tests/kafka/ and whoever else needs one
//!  src/object_store/  a real object store, likewise
//!  src/server/        what those two have in common: a server in Java, as a process
//!  src/victim.rs      a process to be killed: the test program once more
//!  src/tls/           certificates of the JDK's keytool, and a front that speaks TLS
//!  tests/all/         oracles, properties, the order of dependencies, tidiness
//! ```
//!
//! The runner is also a command:
//!
//! ```text
//! cargo run -p fletching-tests --bin slt -- tests/slt
//! ```

pub mod broker;
pub mod object_store;
mod server;
pub mod slt;
pub mod tls;
pub mod victim;
