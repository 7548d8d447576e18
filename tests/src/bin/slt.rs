//! The command `slt`: runs folders of SQL logic tests and counts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use fletching_tests::slt::{FileReport, RunOptions, find_files, run_file};

const USAGE: &str = "\
usage: slt [--threads N] [--jobs N] [--failures N | -v] FOLDER|FILE…

Runs every .slt and .test file of the folders, each in a fresh session.

  --threads N    cores a session may use (default: all)
  --jobs N       files run at once (default: 1)
  --failures N   show the first N failures of each file (default: 0)
  -v             show the first failure of each file
  --all          show every failure
  --quiet        leave out files without failures";

#[derive(Debug, Default)]
struct Arguments {
    options: RunOptions,
    jobs: usize,
    failures_shown: usize,
    is_quiet: bool,
    paths: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut files = Vec::new();
    for path in &arguments.paths {
        match find_files(path) {
            Ok(found) => files.extend(found),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    let total = run_all(&files, &arguments);
    println!("{} passed, {} failed, {} skipped", total[0], total[1], total[2]);
    if total[1] == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        jobs: 1,
        ..Arguments::default()
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let mut number = || -> Result<usize, String> {
            let text = words.next().unwrap_or_default();
            text.parse()
                .map_err(|_| format!("{word}: expected a number, found '{text}'\n\n{USAGE}"))
        };
        match word.as_str() {
            "--threads" => arguments.options.threads = Some(number()?),
            "--jobs" => arguments.jobs = number()?.max(1),
            "--failures" => arguments.failures_shown = number()?,
            "-v" | "--verbose" => arguments.failures_shown = arguments.failures_shown.max(1),
            "--all" => arguments.failures_shown = usize::MAX,
            "--quiet" => arguments.is_quiet = true,
            "-h" | "--help" => return Err(USAGE.to_string()),
            word if word.starts_with('-') => return Err(format!("there is no option '{word}'\n\n{USAGE}")),
            path => arguments.paths.push(PathBuf::from(path)),
        }
    }
    if arguments.paths.is_empty() {
        return Err(USAGE.to_string());
    }
    Ok(arguments)
}

/// Runs files, several at once where asked; prints them in the order they end.
fn run_all(files: &[PathBuf], arguments: &Arguments) -> [usize; 3] {
    let next = AtomicUsize::new(0);
    let total = Mutex::new([0; 3]);
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Relaxed)) {
                    let report = run_file(path, &arguments.options);
                    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let counts = [report.passed, report.failures.len(), report.skipped];
                    total
                        .iter_mut()
                        .zip(counts)
                        .for_each(|(sum, count)| *sum += count);
                    print(path, &report, arguments);
                }
            });
        }
    });
    total
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn print(path: &std::path::Path, report: &FileReport, arguments: &Arguments) {
    let path = path.display();
    let failed = report.failures.len();
    if failed > 0 || !arguments.is_quiet {
        println!(
            "{path}: {} passed, {failed} failed, {} skipped",
            report.passed, report.skipped
        );
    }
    for failure in report.failures.iter().take(arguments.failures_shown) {
        println!(
            "  {path}:{}: {}",
            failure.line,
            failure.reason.replace('\n', "\n    ")
        );
    }
}
