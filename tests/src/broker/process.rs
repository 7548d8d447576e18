//! The broker's process: settings, start, stop.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::jars;
use super::secured::{Listener, Secured};
use crate::tls::Certificates;

/// How long a broker may take to start.
const START_MAX: Duration = Duration::from_secs(90);

/// Runs the broker until its own input closes, and leaves nothing behind.
const KEEPER: &str = r#"
java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$1" kafka.Kafka "$2/server.properties" \
  >"$2/broker.log" 2>&1 </dev/null &
broker=$!
cat >/dev/null
kill -KILL $broker 2>/dev/null
wait $broker 2>/dev/null
[ "$3" = keep ] || rm -rf "$2"
"#;

/// A broker.
#[derive(Debug)]
pub struct Broker {
    servers: String,
    /// What is run here; nothing where the broker is somebody else's.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    class_path: String,
    folder: PathBuf,
    port: u16,
    keeper: Option<Child>,
    /// Whether the folder outlives the keeper, for another start.
    is_kept: bool,
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
        let class_path = jars::class_path()?;
        let ports = free_ports::<6>().map_err(|error| format!("there is no free port: {error}"))?;
        let [port, controller, others @ ..] = ports;
        let folder = std::env::temp_dir().join(format!("fletching-broker-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let secured = match kind {
            Kind::Secured => Some(Secured::make(&folder, others)?),
            _ => None,
        };
        let settings = settings(&folder, port, controller, secured.as_ref());
        let path = folder.join("server.properties");
        fs::write(&path, settings).map_err(|error| format!("{}: {error}", path.display()))?;
        format_storage(&class_path, &path, secured.is_some())?;
        let own = Own {
            class_path,
            folder,
            port,
            keeper: None,
            is_kept: kind == Kind::Kept,
            secured,
        };
        let mut broker = Self {
            servers: format!("127.0.0.1:{port}"),
            own: Some(own),
        };
        broker.try_start()?;
        Ok(broker)
    }

    fn try_start(&mut self) -> Result<(), String> {
        let Some(own) = &mut self.own else { return Ok(()) };
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &own.class_path])
            .arg(&own.folder)
            .arg(if own.is_kept { "keep" } else { "remove" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sh does not run: {error}"))?;
        own.keeper = Some(keeper);
        let began = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], own.port));
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if began.elapsed() > START_MAX {
                let log = fs::read_to_string(own.folder.join("broker.log")).unwrap_or_default();
                return Err(format!("the broker does not start: {log}"));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts it again, with all it held, on the same port.
    ///
    /// # Panics
    /// Panics where it does not start.
    pub fn start(&mut self) {
        if let Err(why) = self.try_start() {
            panic!("{why}");
        }
    }

    /// Kills it at once, as a crash would.
    pub fn stop(&mut self) {
        let keeper = self.own.as_mut().and_then(|own| own.keeper.take());
        if let Some(mut keeper) = keeper {
            drop(keeper.stdin.take());
            // There is nothing to be done about a keeper that cannot be waited for.
            let _ = keeper.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
        if let Some(own) = &self.own {
            let _ = fs::remove_dir_all(&own.folder);
        }
    }
}

fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
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
