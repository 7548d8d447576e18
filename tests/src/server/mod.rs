//! A server written in Java, as a process of the tests: started, killed, started again.
//!
//! It ends with the test process however that ends: a shell beside it waits for its input to close,
//! which the system does for a process that is gone.

mod jars;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) use jars::class_path;

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(90);

/// Runs the server until its own input closes, and leaves nothing behind.
const KEEPER: &str = r#"
jars=$1 folder=$2 end=$3
shift 3
java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars" "$@" \
  >"$folder/server.log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server 2>/dev/null
[ "$end" = keep ] || rm -rf "$folder"
"#;

/// A server and its folder.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) class_path: String,
    /// Its class, and what that takes.
    pub(crate) arguments: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    keeper: Option<Child>,
    /// Whether the folder outlives the keeper, for another start.
    is_kept: bool,
}

impl Server {
    /// Makes a folder for a server that will answer on a port; it is not started yet.
    pub(crate) fn new(name: &str, class_path: String, port: u16, is_kept: bool) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("fletching-{name}-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            class_path,
            arguments: Vec::new(),
            folder,
            port,
            keeper: None,
            is_kept,
        })
    }

    /// Writes a file of settings into its folder, and returns its path.
    pub(crate) fn write(&self, name: &str, settings: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        fs::write(&path, settings).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Starts it, with all it held, and waits until it answers.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &self.class_path])
            .arg(&self.folder)
            .arg(if self.is_kept { "keep" } else { "remove" })
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sh does not run: {error}"))?;
        self.keeper = Some(keeper);
        let began = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if began.elapsed() > START_MAX {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(format!("the server does not start: {log}"));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Kills it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            // There is nothing to be done about a keeper that cannot be waited for.
            let _ = keeper.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Finds ports of the loopback that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], String> {
    let failed = |error: std::io::Error| format!("there is no free port: {error}");
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Returns a server where there is one. Where there is none says so loudly, or fails where it is required.
///
/// # Panics
/// Panics where there is none although the variable `required` is set.
pub(crate) fn found<S>(server: Result<S, String>, (what, required, remedy): (&str, &str, &str)) -> Option<S> {
    match server {
        Ok(server) => Some(server),
        Err(why) if std::env::var_os(required).is_some() => {
            panic!("the tests of {what} must run here, but {why}")
        }
        Err(why) => {
            eprintln!("\n*** SKIPPED: tests of {what}, since {why}. ***\n*** {remedy} ***\n");
            None
        }
    }
}
