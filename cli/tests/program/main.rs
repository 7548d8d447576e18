//! Runs the program as a person or a script does, and looks at what it prints and how it ends.

mod benchmarks;
mod checking;
mod endings;
mod errors;
mod formats;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod kafka_example;
#[cfg(unix)]
mod killing;
mod letters;
mod pipelines;
mod scripts;
mod settings;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder with a stream of trades, a table of users, and the statements that name them.
struct Desk {
    folder: TempDir,
}

/// What a run left.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

/// Names the files of [`Desk`].
const RELATIONS: &str = "\
CREATE STREAM trades WITH (path = 'trades.csv');
CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (path = 'users.csv');
";

impl Desk {
    fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        desk.write(
            "trades.csv",
            "trade_id,user_id,amount\n1,7,1.50\n2,8,20.25\n3,9,3.00\n",
        );
        desk.write("users.csv", "id,tier\n7,gold\n8,\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    /// Returns the names in the folder beside those it began with.
    fn added(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("the folder is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
        let mut names: Vec<_> = names.map(|name| name.expect("a plain name")).collect();
        names.retain(|name| name != "trades.csv" && name != "users.csv");
        names.sort();
        names
    }

    /// Makes the command, in this folder and free of the settings of whoever runs the tests.
    fn command(&self, arguments: &[&str]) -> Command {
        program(self.folder.path(), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A program that ends without reading is none of our business here.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        Ended {
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fletching"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("FLETCHING_THREADS")
        .env_remove("NO_COLOR");
    command
}

impl Ended {
    /// Insists that it went well, and returns what was printed.
    fn fine(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Insists on an exit code, and returns the messages.
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}
