//! A disk that is full: a pipeline ends with what was full, where, and how to mend it; once there is
//! room it goes on, and nothing is lost or there twice.
//!
//! ```text
//!  a file system of its own, of some kilobytes, in a namespace of its own   (where the system allows that)
//!  a limit on the size of files                                             (anywhere)
//! ```

use std::fs;
use std::process::Command;

use crate::Desk;
use crate::pipelines::insist_on_each_once;

/// Says whether a process may have a small file system of its own.
fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"])
        .output();
    let is_allowed = tried.is_ok_and(|output| output.status.success());
    if !is_allowed {
        eprintln!(
            "\n*** SKIPPED: a full disk, since this system lets no process mount one of its own. ***\n"
        );
    }
    is_allowed
}

impl Desk {
    /// Runs a shell script in the desk's folder; in it `$FLETCHING` is the program.
    fn shell(&self, namespace: bool, script: &str) {
        let mut command = if namespace {
            let mut command = Command::new("unshare");
            command.args(["-rm", "sh", "-c", script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let run = command
            .current_dir(self.folder.path())
            .env("FLETCHING", env!("CARGO_BIN_EXE_fletching"))
            .env_remove("FLETCHING_THREADS")
            .output()
            .expect("sh is there");
        assert!(run.status.success(), "{run:?}");
    }

    /// Returns how a run ended whose code and messages the script has left.
    fn left(&self, run: &str) -> (String, String) {
        let code = self.read(&format!("{run}.code"));
        (code.trim().to_owned(), self.read(&format!("{run}.err")))
    }
}

#[test]
fn a_full_disk_of_checkpoints_stops_it_and_the_old_one_stands() {
    if !may_mount() {
        return;
    }
    let desk = Desk::new();
    desk.write_pipeline(5000, "LIMIT 10000");
    desk.shell(
        true,
        "mkdir state && mount -t tmpfs -o size=64k none state || exit 1
         \"$FLETCHING\" run run.sql 2>first.err & program=$!
         until [ \"$(ls out 2>/dev/null | wc -l)\" -ge 5 ]; do sleep 0.02; done
         while kill -0 $program 2>/dev/null; do cat /dev/zero 2>/dev/null >>state/filler; sleep 0.02; done
         wait $program; echo $? >first.code
         \"$FLETCHING\" checkpoints list state >listed; cp -r out then
         rm state/filler
         \"$FLETCHING\" run run.sql 2>second.err; echo $? >second.code",
    );
    let (code, err) = desk.left("first");
    assert_eq!(code, "1", "{err}");
    assert!(err.contains("checkpoints in state/enriched"), "{err}");
    assert!(err.contains("no space left on device"), "{err}");
    assert!(
        err.contains("the one before stands") && err.contains("free space there"),
        "{err}"
    );
    let listed = desk.read("listed");
    let newest = listed.lines().next().expect("a checkpoint");
    assert!(
        newest.contains("rows out") && !listed.contains("damaged"),
        "{listed}"
    );
    let then = desk.published_in("then");
    insist_on_each_once(&then);
    let (code, err) = desk.left("second");
    assert_eq!(code, "0", "{err}");
    assert!(err.contains("going on after epoch"), "{err}");
    let ids = desk.published();
    insist_on_each_once(&ids);
    assert_eq!(ids.len(), 10_000);
    assert!(then.len() < ids.len());
}

#[test]
fn a_full_disk_of_results_stops_it_and_nothing_half_is_shown() {
    if !may_mount() {
        return;
    }
    let desk = Desk::new();
    desk.write_pipeline(20_000, "LIMIT 20000");
    desk.shell(
        true,
        "mkdir out && mount -t tmpfs -o size=64k none out || exit 1
         \"$FLETCHING\" run run.sql 2>first.err; echo $? >first.code
         mkdir then && cp out/* then/ 2>/dev/null; \"$FLETCHING\" checkpoints list state >listed
         mount -o remount,size=64m out
         \"$FLETCHING\" run run.sql 2>second.err; echo $? >second.code
         mkdir after && cp out/* after/; ls -A out | grep '^\\.' >hidden; true",
    );
    let (code, err) = desk.left("first");
    assert_eq!(code, "1", "{err}");
    assert!(
        err.contains("no space left on device") && err.contains("out/"),
        "{err}"
    );
    assert!(err.contains("free space there"), "{err}");
    assert!(!desk.read("listed").contains("damaged"));
    let then = desk.published_in("then");
    insist_on_each_once(&then);
    let (code, err) = desk.left("second");
    assert_eq!(code, "0", "{err}");
    let ids = desk.published_in("after");
    insist_on_each_once(&ids);
    assert_eq!(ids.len(), 20_000);
    assert!(then.len() < ids.len());
    assert_eq!(desk.read("hidden"), "", "files of epochs were left over");
}

/// A limit on the size of files, which any system has: here one that the checkpoint is larger than.
#[test]
fn a_checkpoint_that_may_not_be_so_large_is_told_of_and_nothing_is_shown() {
    let desk = Desk::new();
    desk.write_pipeline(20_000, "LIMIT 2000");
    let script = desk.read("run.sql");
    let long = format!("CREATE SINK enriched /* {} */ ", "why ".repeat(10_000));
    desk.write("run.sql", &script.replace("CREATE SINK enriched ", &long));
    desk.shell(
        false,
        "(trap '' XFSZ; ulimit -f 16; \"$FLETCHING\" run run.sql 2>first.err; echo $? >first.code)
         ls -A out >then 2>/dev/null
         \"$FLETCHING\" run run.sql 2>second.err; echo $? >second.code",
    );
    let (code, err) = desk.left("first");
    assert_eq!(code, "1", "{err}");
    assert!(
        err.contains("checkpoints in state/enriched") && err.contains("file too large"),
        "{err}"
    );
    assert!(err.contains("raise the limit"), "{err}");
    let shown = desk.read("then");
    assert!(shown.lines().all(|name| name.starts_with('.')), "{shown}");
    let (code, err) = desk.left("second");
    assert_eq!(code, "0", "{err}");
    let ids = desk.published();
    insist_on_each_once(&ids);
    assert_eq!(ids.len(), 2000);
    assert!(fs::metadata(desk.path("state/enriched/lock")).is_ok());
}
