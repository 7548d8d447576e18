//! The store's process: settings, start, stop.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::broker::jars;

/// How long a store may take to start.
const START_MAX: Duration = Duration::from_secs(90);

/// What its clients must have.
const KEY: &str = "fletching";
const SECRET: &str = "a-secret-that-is-never-shown";

/// Runs the store until its own input closes, and leaves nothing behind.
const KEEPER: &str = r#"
java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -DLOG_LEVEL=warn -cp "$1" \
  org.gaul.s3proxy.Main --properties "$2/store.conf" >"$2/store.log" 2>&1 </dev/null &
store=$!
cat >/dev/null
kill -KILL $store 2>/dev/null
wait $store 2>/dev/null
[ "$3" = keep ] || rm -rf "$2"
"#;

/// An object store.
#[derive(Debug)]
pub struct ObjectStore {
    class_path: String,
    folder: PathBuf,
    port: u16,
    keeper: Option<Child>,
    /// Whether the folder outlives the keeper, for another start.
    is_kept: bool,
}

impl ObjectStore {
    /// Returns its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the key and the secret that it takes.
    pub fn credentials(&self) -> (&'static str, &'static str) {
        (KEY, SECRET)
    }

    /// Makes a bucket whose name begins with `name`, and returns its name.
    ///
    /// # Panics
    /// Panics where it cannot be made.
    pub fn bucket(&self, name: &str) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Relaxed));
        fs::create_dir_all(self.folder.join("buckets").join(&name)).expect("a folder");
        name
    }

    pub(super) fn make(is_kept: bool) -> Result<Self, String> {
        let class_path = jars::class_path_of("s3proxy-4.1.0", include_str!("pom.xml"))?;
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free
            .map_err(|error| format!("there is no free port: {error}"))?
            .port();
        let folder = std::env::temp_dir().join(format!("fletching-store-{}-{port}", std::process::id()));
        let buckets = folder.join("buckets");
        fs::create_dir_all(&buckets).map_err(|error| format!("{}: {error}", buckets.display()))?;
        let settings = format!(
            "s3proxy.endpoint=http://127.0.0.1:{port}\n\
             s3proxy.authorization=aws-v4\n\
             s3proxy.identity={KEY}\n\
             s3proxy.credential={SECRET}\n\
             jclouds.provider=filesystem-nio2\n\
             jclouds.filesystem.basedir={}\n",
            buckets.display()
        );
        let path = folder.join("store.conf");
        fs::write(&path, settings).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut store = Self {
            class_path,
            folder,
            port,
            keeper: None,
            is_kept,
        };
        store.try_start()?;
        Ok(store)
    }

    fn try_start(&mut self) -> Result<(), String> {
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &self.class_path])
            .arg(&self.folder)
            .arg(if self.is_kept { "keep" } else { "remove" })
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
                let log = fs::read_to_string(self.folder.join("store.log")).unwrap_or_default();
                return Err(format!("the store does not start: {log}"));
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
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            // There is nothing to be done about a keeper that cannot be waited for.
            let _ = keeper.wait();
        }
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
