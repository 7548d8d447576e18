//! The rivals: Python scripts that are part of the program, and the virtual environment they run in.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fault::{Fault, Result};

/// Another place for data, scripts and the virtual environment.
const FOLDER_VARIABLE: &str = "FLETCHING_BENCH_DIR";

const REQUIREMENTS: &str = include_str!("../../../benches/rivals/requirements.txt");

/// The scripts; `NAME_rival.py` is the rival `NAME`.
const SCRIPTS: [(&str, &str); 8] = [
    ("protocol.py", include_str!("../../../benches/rivals/protocol.py")),
    ("plan.py", include_str!("../../../benches/rivals/plan.py")),
    (
        "duckdb_rival.py",
        include_str!("../../../benches/rivals/duckdb_rival.py"),
    ),
    (
        "polars_rival.py",
        include_str!("../../../benches/rivals/polars_rival.py"),
    ),
    (
        "pandas_rival.py",
        include_str!("../../../benches/rivals/pandas_rival.py"),
    ),
    (
        "datafusion_rival.py",
        include_str!("../../../benches/rivals/datafusion_rival.py"),
    ),
    (
        "acero_rival.py",
        include_str!("../../../benches/rivals/acero_rival.py"),
    ),
    (
        "hand_rolled_rival.py",
        include_str!("../../../benches/rivals/hand_rolled_rival.py"),
    ),
];

/// Where benchmarks keep what they make.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Finds the folder: `FLETCHING_BENCH_DIR`, or one in the user's cache.
    ///
    /// # Errors
    /// Fails where the system names no such folder, or it cannot be made.
    pub(super) fn open() -> Result<Self> {
        let named = env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty());
        let folder = match named {
            Some(folder) => PathBuf::from(folder),
            None => dirs::cache_dir()
                .ok_or_else(|| Fault::new(format!("there is no cache folder; set {FOLDER_VARIABLE}")))?
                .join("fletching")
                .join("bench"),
        };
        fs::create_dir_all(&folder)?;
        // Scripts and workers are run from elsewhere.
        let folder = folder.canonicalize()?;
        Ok(Self { folder })
    }

    /// Returns a folder in it, made where it is not there.
    ///
    /// # Errors
    /// Fails where it cannot be made.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Returns the command of a rival's script, in the virtual environment where there is one.
    ///
    /// # Errors
    /// Fails where the scripts cannot be written.
    pub(super) fn rival(&self, name: &str) -> Result<Command> {
        let scripts = self.folder("rivals")?;
        for (file, text) in SCRIPTS {
            let path = scripts.join(file);
            // Left alone where it is the same: another run may be reading it.
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                fs::write(path, text)?;
            }
        }
        let script = scripts.join(format!("{name}_rival.py"));
        if !script.exists() {
            return Err(Fault::new(format!("there is no rival '{name}'")));
        }
        let python = self.python();
        let python = if python.exists() { python } else { "python3".into() };
        let mut command = Command::new(python);
        command.arg(script);
        Ok(command)
    }

    /// Makes the virtual environment and installs the rivals in it.
    ///
    /// # Errors
    /// Fails where Python is not there, or the packages cannot be had.
    pub(super) fn set_up(&self) -> Result<PathBuf> {
        let requirements = self.folder("rivals")?.join("requirements.txt");
        fs::write(&requirements, REQUIREMENTS)?;
        let environment = self.folder.join("python");
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let install = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--quiet",
            "-r",
        ];
        run(Command::new(self.python()).args(install).arg(&requirements))?;
        Ok(environment)
    }

    fn python(&self) -> PathBuf {
        let environment = self.folder.join("python");
        if cfg!(windows) {
            environment.join("Scripts").join("python.exe")
        } else {
            environment.join("bin").join("python")
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let status = command
        .status()
        .map_err(|error| Fault::from(error).during(&program))?;
    if status.success() {
        return Ok(());
    }
    let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    Err(Fault::new(format!("{program} {}: {status}", arguments.join(" "))))
}
