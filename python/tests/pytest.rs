//! Runs the Python package's tests: makes a virtual environment once, puts the library that cargo
//! has just built beside the Python sources, and hands over to pytest.
//!
//! Without Python 3.10, or without a registry to install pytest from, this is skipped, in a loud
//! line; where `CI` or `FLETCHING_REQUIRE_PYTHON` is set, that is a failure.
#![allow(clippy::unwrap_used, reason = "a test ends where an unwrap fails")]

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The interpreters to try, the first that serves being taken. `PYTHON` goes before them.
const INTERPRETERS: [&str; 7] = [
    "python3",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python",
];

/// Prints its version if it is new enough and can make virtual environments.
const SUITED: &str = "import sys, venv, ensurepip\nassert sys.version_info >= (3, 10)\nprint(sys.version)";

#[test]
fn the_python_package_passes_its_tests() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    fs::create_dir_all(&scratch).unwrap();
    // Another run over the same target folder waits its turn.
    let turn = File::create(scratch.join("lock")).unwrap();
    turn.lock().unwrap();

    let python = match environment(&scratch) {
        Ok(python) => python,
        Err(reason) => return skip(&reason),
    };
    assemble(&scratch);
    let ran = Command::new(&python)
        .args(["-m", "pytest", "-q", "--tb=short"])
        .arg("--rootdir")
        .arg(sources())
        .arg("-c")
        .arg(sources().join("pyproject.toml"))
        .arg(sources().join("tests"))
        .current_dir(&scratch)
        .env("PYTHONPATH", &scratch)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let printed = text(&ran);
    let closing = printed.trim_end().lines().last().unwrap_or_default();
    assert!(ran.status.success(), "pytest failed:\n{printed}");
    say(&format!("pytest: {closing}"));
}

/// The package's folder. Cargo says it as the test runs; the one compiled in may be that of another
/// clone which shares the target folder.
fn sources() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
}

/// Prints past the test harness, which keeps what passing tests print to itself.
fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{line}").unwrap();
}

fn skip(reason: &str) {
    for variable in ["CI", "FLETCHING_REQUIRE_PYTHON"] {
        let required = std::env::var(variable).is_ok_and(|value| !value.is_empty() && value != "0");
        assert!(
            !required,
            "the Python package cannot be tested, but {variable} is set: {reason}"
        );
    }
    say(&format!(
        "!!! SKIPPED: the Python package was NOT tested: {reason}"
    ));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a program; what it printed is the error where it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(text(&output))
    } else {
        Err(format!("{command:?} failed: {}", text(&output).trim()))
    }
}

/// Finds an interpreter and its version.
fn interpreter() -> Result<(String, String), String> {
    let named = std::env::var("PYTHON").ok();
    let candidates = named.iter().map(String::as_str).chain(INTERPRETERS);
    let mut refused = Vec::new();
    for candidate in candidates {
        match run(Command::new(candidate).args(["-c", SUITED])) {
            Ok(version) => return Ok((candidate.to_string(), version)),
            Err(reason) => refused.push(reason),
        }
    }
    Err(format!(
        "no Python 3.10 or later with venv and pip: {}",
        refused.join("; ")
    ))
}

/// Makes a virtual environment with what the tests need, or takes the one made before, and
/// returns its interpreter.
fn environment(scratch: &Path) -> Result<PathBuf, String> {
    let (interpreter, version) = interpreter()?;
    let requirements = sources().join("requirements-test.txt");
    let folder = scratch.join("venv");
    let python = if cfg!(windows) {
        folder.join("Scripts").join("python.exe")
    } else {
        folder.join("bin").join("python")
    };
    // What it was made of; written last, so that half an environment is none.
    let made_of = version + &fs::read_to_string(&requirements).unwrap();
    let note = folder.join("made-of.txt");
    if python.exists() && fs::read_to_string(&note).is_ok_and(|noted| noted == made_of) {
        return Ok(python);
    }
    say("making a virtual environment for the Python package's tests, once");
    run(Command::new(interpreter)
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--retries", "2", "--only-binary", ":all:", "--requirement"])
        .arg(&requirements))?;
    fs::write(note, made_of).unwrap();
    Ok(python)
}

/// Puts the package together: the Python sources, and the library from beside this test.
fn assemble(scratch: &Path) {
    let package = scratch.join("fletching");
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(&package).unwrap();
    for entry in fs::read_dir(sources().join("fletching")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), package.join(entry.file_name())).unwrap();
        }
    }
    let built = std::env::current_exe()
        .unwrap()
        .with_file_name(format!("{DLL_PREFIX}fletching_python{DLL_SUFFIX}"));
    let module = package.join(if cfg!(windows) {
        "_fletching.pyd"
    } else {
        "_fletching.abi3.so"
    });
    // It is large: linked where that can be.
    fs::hard_link(&built, &module)
        .or_else(|_| fs::copy(&built, &module).map(drop))
        .unwrap_or_else(|error| panic!("{}: {error}", built.display()));
}
