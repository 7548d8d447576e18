//! The broker that is measured against: somebody's, or one of our own from its jars.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use super::super::fault::{Fault, Result};
use super::super::rivals::Cache;

/// Starts a broker that ends when its input closes. The example of Kafka runs it too.
const SCRIPT: &str = include_str!("../../../../examples/kafka/broker");
/// Which jars: the version is that of `pom.xml`.
const POM: &str = include_str!("../../../../tests/src/broker/pom.xml");
const JARS: &str = "kafka-4.3.1";

/// A broker at work; one of our own ends with this, and with the program however that ends.
pub(super) struct Broker {
    pub(super) servers: String,
    own: Option<Child>,
}

impl Broker {
    /// Takes the one that is named, by the arguments or by `FLETCHING_TEST_KAFKA`, or starts one.
    ///
    /// # Errors
    /// Fails where there is no Java or Maven, or the broker does not start.
    pub(super) fn open(named: Option<&str>, cache: &Cache) -> Result<Self> {
        let named = named
            .map(str::to_owned)
            .or_else(|| env::var("FLETCHING_TEST_KAFKA").ok());
        match named {
            Some(servers) => Ok(Self { servers, own: None }),
            None => Self::start(cache),
        }
    }

    fn start(cache: &Cache) -> Result<Self> {
        let folder = cache.folder("kafka")?;
        let pom = folder.join("pom.xml");
        fs::write(&pom, POM)?;
        let jars = jars_of_tests().unwrap_or_else(|| folder.join(JARS));
        let mut own = Command::new("bash")
            .args(["-c", SCRIPT, "broker"])
            .arg(jars)
            .arg(pom)
            .env("BROKER_HEAP", "1g")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Fault::new(format!("bash does not run: {error}")))?;
        let mut servers = String::new();
        if let Some(said) = own.stdout.take() {
            BufReader::new(said).read_line(&mut servers)?;
        }
        let broker = Self {
            servers: servers.trim().to_owned(),
            own: Some(own),
        };
        if broker.servers.is_empty() {
            return Err(Fault::new(
                "there is no broker; see above, or name a running one with --broker host:port",
            ));
        }
        Ok(broker)
    }
}

/// Returns the jars that the tests have fetched into cargo's target folder, where this program is in it.
fn jars_of_tests() -> Option<PathBuf> {
    let jars = env::current_exe().ok()?.parent()?.parent()?.join(JARS);
    jars.is_dir().then_some(jars)
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut own) = self.own.take() {
            drop(own.stdin.take());
            // There is nothing to be done about one that cannot be waited for.
            let _ = own.wait();
        }
    }
}
