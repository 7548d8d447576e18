//! The store's process: settings, start, stop.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::server::{Server, class_path, free_ports};

/// What its clients must have.
const KEY: &str = "fletching";
const SECRET: &str = "a-secret-that-is-never-shown";

/// An object store.
#[derive(Debug)]
pub struct ObjectStore(Server);

impl ObjectStore {
    /// Returns its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
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
        fs::create_dir_all(self.0.folder.join("buckets").join(&name)).expect("a folder");
        name
    }

    pub(super) fn make(is_kept: bool) -> Result<Self, String> {
        let jars = class_path("s3proxy-4.1.0", include_str!("pom.xml"))?;
        let [port] = free_ports()?;
        let mut server = Server::new("store", jars, port, is_kept)?;
        let buckets = server.folder.join("buckets");
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
        let path = server.write("store.conf", &settings)?;
        server.arguments = [
            "-DLOG_LEVEL=warn",
            "org.gaul.s3proxy.Main",
            "--properties",
            &path.display().to_string(),
        ]
        .map(str::to_owned)
        .into();
        server.start()?;
        Ok(Self(server))
    }

    /// Starts it again, with all it held, on the same port.
    ///
    /// # Panics
    /// Panics where it does not start.
    pub fn start(&mut self) {
        if let Err(why) = self.0.start() {
            panic!("{why}");
        }
    }

    /// Kills it at once, as a crash would.
    pub fn stop(&mut self) {
        self.0.stop();
    }
}
