//! Certificates for tests, made by the JDK's keytool, and a front that speaks TLS for a server.
//!
//! ```text
//!  keytool ──▶ all.p12: ca, broker (signed by ca, for 127.0.0.1), client (signed by ca), other (by nobody)
//!  Tls.java ──▶ NAME.pem, NAME.key
//! ```

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = include_str!("Tls.java");

/// The password of `all.p12`, and of the keys in it.
const PASSWORD: &str = "changeit";

/// Certificates in a folder.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in a folder, which keeps them.
    ///
    /// ```no_run
    /// let made = fletching_tests::tls::Certificates::make("/tmp/certificates".as_ref())?;
    /// assert!(made.text("ca.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Fails where there is no JDK.
    pub fn make(folder: &Path) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let made = Self {
            folder: folder.to_owned(),
        };
        let authority = ["-ext", "bc:c=ca:true", "-ext", "KeyUsage:c=keyCertSign"];
        made.entry("ca", &authority)?;
        made.entry(
            "broker",
            &["-signer", "ca", "-ext", "san=ip:127.0.0.1,dns:localhost"],
        )?;
        made.entry("client", &["-signer", "ca"])?;
        made.entry("other", &authority)?;
        fs::write(made.path("Tls.java"), PROGRAM).map_err(|error| format!("Tls.java: {error}"))?;
        run(made.java("export").arg(&made.folder))?;
        Ok(made)
    }

    /// Returns the path of `ca.pem`, `client.key` and so on.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Returns what is in such a file.
    ///
    /// # Panics
    /// Panics where there is none of the name.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file of that name")
    }

    fn entry(&self, name: &str, more: &[&str]) -> Result<(), String> {
        let store = self.path("all.p12");
        let subject = format!("CN={name}");
        let mut keytool = Command::new("keytool");
        keytool
            .args(["-J-XX:TieredStopAtLevel=1", "-genkeypair", "-keyalg", "EC"])
            .args([
                "-groupname",
                "secp256r1",
                "-validity",
                "7",
                "-storetype",
                "PKCS12",
            ])
            .args(["-storepass", PASSWORD, "-keystore", &store])
            .args(["-alias", name, "-dname", &subject])
            .args(more);
        run(&mut keytool)
    }

    /// Starts the program beside this module.
    fn java(&self, what: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx64m", "-XX:TieredStopAtLevel=1"])
            .arg(self.path("Tls.java"))
            .args([what, &self.path("all.p12")]);
        java
    }

    /// Starts a server on a free port of the loopback that takes TLS and hands on in the clear to
    /// another port.
    ///
    /// # Panics
    /// Panics where it does not start.
    pub fn front(&self, behind: u16) -> Front {
        let mut child = self
            .java("front")
            .arg(behind.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java runs");
        let mut line = String::new();
        let said = child.stdout.take().expect("it is piped");
        BufReader::new(said).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        Front { port, child }
    }
}

/// A front that ends when it is dropped, or this process ends.
#[derive(Debug)]
pub struct Front {
    /// Where it listens.
    pub port: u16,
    child: Child,
}

impl Drop for Front {
    fn drop(&mut self) {
        // It ends with its input; there is nothing to be done about one that cannot be waited for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("{name} does not run: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = [ran.stdout, ran.stderr].concat();
    Err(format!("{name} fails: {}", String::from_utf8_lossy(&said)))
}
