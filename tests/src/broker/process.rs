//! The broker's process: settings, start, stop.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::secured::{Listener, Secured};
use crate::server::{Server, class_path, free_ports};
use crate::tls::Certificates;

/// A broker.
#[derive(Debug)]
pub struct Broker {
    servers: String,
    /// What is run here; nothing where the broker is somebody else's.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    server: Server,
    secured: Option<Secured>,
}

/// What becomes of a broker's folder, and which listeners it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Removed when the broker ends.
    Passing,
    /// Kept for another start.
    Kept,
    /// Removed; with TLS and logins.
    Secured,
}

impl Broker {
    /// Returns where clients find it.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Returns where it keeps its topics, where it runs here.
    pub(super) fn logs(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.server.folder.join("logs"))
    }

    pub(super) fn shared() -> Result<Self, String> {
        match std::env::var("FLETCHING_TEST_KAFKA") {
            Ok(servers) => Ok(Self { servers, own: None }),
            Err(_) => Self::make(Kind::Passing),
        }
    }

    pub(super) fn own() -> Result<Self, String> {
        Self::make(Kind::Kept)
    }

    pub(super) fn secured() -> Result<Self, String> {
        Self::make(Kind::Secured)
    }

    fn secure_part(&self) -> &Secured {
        let own = self.own.as_ref().and_then(|own| own.secured.as_ref());
        own.expect("a broker made by `secured`")
    }

    /// Returns where clients find another listener.
    ///
    /// # Panics
    /// Panics where the broker has no such listeners.
    pub fn address(&self, listener: Listener) -> String {
        self.secure_part().address(listener)
    }

    /// Returns the certificates.
    ///
    /// # Panics
    /// Panics where the broker has none.
    pub fn certificates(&self) -> &Certificates {
        &self.secure_part().certificates
    }

    fn make(kind: Kind) -> Result<Self, String> {
        // The version is that of the pom.
        let jars = class_path("kafka-4.3.1", include_str!("pom.xml"))?;
        let [port, controller, others @ ..] = free_ports::<6>()?;
        let mut server = Server::new("broker", jars, port, kind == Kind::Kept)?;
        let secured = match kind {
            Kind::Secured => Some(Secured::make(&server.folder, others)?),
            _ => None,
        };
        let settings = settings(&server.folder, port, controller, secured.as_ref());
        let path = server.write("server.properties", &settings)?;
        format_storage(&server.class_path, &path, secured.is_some())?;
        server.arguments = vec!["kafka.Kafka".into(), path.display().to_string()];
        server.start()?;
        Ok(Self {
            servers: format!("127.0.0.1:{port}"),
            own: Some(Own { server, secured }),
        })
    }

    /// Starts it again, with all it held, on the same port.
    ///
    /// # Panics
    /// Panics where it does not start.
    pub fn start(&mut self) {
        let started = self.own.as_mut().map(|own| own.server.start());
        if let Some(Err(why)) = started {
            panic!("{why}");
        }
    }

    /// Kills it at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(own) = &mut self.own {
            own.server.stop();
        }
    }
}

fn settings(folder: &Path, port: u16, controller: u16, secured: Option<&Secured>) -> String {
    let logs = folder.join("logs");
    let listeners = secured.map_or_else(String::new, Secured::listeners);
    let protocols = secured.map_or_else(String::new, |_| Secured::protocols());
    let security = secured.map_or_else(String::new, Secured::settings);
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{listeners}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n{security}",
        logs.display()
    )
}

fn format_storage(class_path: &str, settings: &Path, has_users: bool) -> Result<(), String> {
    let users = if has_users { Secured::users() } else { Vec::new() };
    let formatted = Command::new("java")
        .args([
            "-XX:TieredStopAtLevel=1",
            "-cp",
            class_path,
            "kafka.tools.StorageTool",
        ])
        .args(["format", "--standalone", "-t", "ZmxldGNoaW5nLXRlc3RzAA", "-c"])
        .arg(settings)
        .args(users)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("java does not run: {error}"))?;
    if formatted.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&formatted.stderr);
    Err(format!("the broker's storage cannot be made: {said}"))
}
