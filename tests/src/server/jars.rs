//! A server's jars, fetched once by Maven and kept in the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the class path of the jars that a `pom.xml` names, fetched into a folder of the target folder.
pub(crate) fn class_path(name: &str, pom: &str) -> Result<String, String> {
    runs("java", &["-version"])?;
    let folder = target()?.join(name);
    if !folder.exists() {
        // Tests that start side by side take turns: each Maven also writes to the repository that all share.
        let path = folder.with_extension("lock");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let turn = File::create(&path).map_err(failed)?;
        turn.lock().map_err(failed)?;
        if !folder.exists() {
            fetch(&folder, pom)?;
        }
    }
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut jars: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().display().to_string()))
        .filter(|path| path.ends_with(".jar"))
        .collect();
    jars.sort_unstable();
    Ok(jars.join(":"))
}

/// Returns cargo's target folder: the one that this program was built into.
fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    let deps = program.ancestors().find(|path| path.ends_with("deps"));
    let target = deps.and_then(Path::parent).and_then(Path::parent);
    Ok(target.map_or_else(std::env::temp_dir, Path::to_path_buf))
}

/// Fetches into a folder of this process and gives it its name when it is whole.
fn fetch(folder: &Path, pom_text: &str) -> Result<(), String> {
    runs("mvn", &["--version"])?;
    let part = folder.with_extension(format!("part-{}", std::process::id()));
    fs::create_dir_all(&part).map_err(|error| format!("{}: {error}", part.display()))?;
    let pom = part.join("pom.xml");
    fs::write(&pom, pom_text).map_err(|error| format!("{}: {error}", pom.display()))?;
    let fetched = Command::new("mvn")
        .args(["-B", "-q", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", part.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn does not run: {error}"))?;
    if !fetched.status.success() {
        let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
        return Err(format!("Maven cannot fetch the jars: {said}"));
    }
    // Another process may have been faster; its jars are as good.
    if fs::rename(&part, folder).is_err() && !folder.exists() {
        return Err(format!("cannot make {}", folder.display()));
    }
    let _ = fs::remove_dir_all(&part);
    Ok(())
}

/// Says whether a program runs.
fn runs(program: &str, arguments: &[&str]) -> Result<(), String> {
    let run = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} does not run here: {status}")),
        Err(error) => Err(format!("there is no {program} here: {error}")),
    }
}
