//! The program `fletching`: runs SQL scripts, checks them, and is a shell to try things in.
//!
//! ```text
//!  arguments ──▶ scripts ──▶ Session ──▶ rows ──▶ results (table, CSV, JSON, Arrow, Parquet) ──▶ stdout
//!                               │
//!                               └──▶ warnings, errors, progress, what sinks wrote ────────────▶ stderr
//! ```
//!
//! Everything that computes is in the library crates; here is only what a person at a terminal,
//! or a script in a pipe, meets.

mod arguments;
mod bench;
mod check;
mod checkpoints;
mod diagnostic;
mod failure;
mod figures;
mod follow;
mod interrupt;
mod lookups;
mod opening;
mod paint;
mod progress;
mod results;
mod run;
mod script;
mod shell;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use fletching_allocator::{Allocator, keep_freed_memory};

use arguments::{Arguments, Task};
use failure::Failure;
use terminal::Terminal;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    keep_freed_memory();
    let arguments = Arguments::parse();
    let terminal = Terminal::find(arguments.session.color);
    match start(arguments, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.show(&terminal);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(arguments: Arguments, terminal: &Terminal) -> Result<(), Failure> {
    let session = arguments.session.clone();
    match arguments.into_task(terminal) {
        Task::Run { sources, output } => run::run(sources, &session, &output, terminal),
        Task::Check { files, sample } => check::check(&files, sample, &session, terminal),
        Task::Shell { output } => shell::run(&session, &output, terminal),
        Task::Checkpoints { command } => checkpoints::run(&command, &session),
        Task::Bench { arguments } => bench::run(&arguments, &session, terminal),
        Task::BenchWorker => bench::serve(),
    }
}
