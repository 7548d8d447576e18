//! The command line: what may be asked for, and its help.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::bench::{self, BenchArguments};
use crate::checkpoints::CheckpointsCommand;
use crate::paint::ColorChoice;
use crate::results::Format;
use crate::script::Source;
use crate::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  fletching run enrich.sql                          run a script
  fletching run enrich.sql --set day=2026-11-23     … with ${day} in it replaced
  fletching -c \"SELECT 1 + 1\"                       run SQL from the command line
  fletching -c \"SELECT * FROM 'a.parquet'\" --format csv > a.csv
  fletching check enrich.sql                        plan a script, run nothing
  fletching                                         open the shell
  fletching bench trades --rivals                   compare with other engines
  echo \"SELECT 1\" | fletching                       run a script from a pipe

Exit codes:
  0    everything was done (also where the reader of a pipe has closed it)
  1    a run failed: a file, the data, a limit
  2    the command line, the SQL or an option is wrong
  130  stopped by Ctrl-C (a pipeline over an unbounded stream commits, and ends with 0)";

/// Enriches streams of records from reference tables, with SQL.
#[derive(Debug, Parser)]
#[command(name = "fletching", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Run this SQL; may be given several times
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,

    #[command(flatten)]
    pub(crate) session: SessionArguments,

    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the statements of SQL files in order
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// The files; - is standard input
        #[arg(required = true, value_name = "FILE.sql")]
        files: Vec<PathBuf>,

        #[command(flatten)]
        output: OutputArguments,
    },

    /// Plan and validate SQL files without running them
    ///
    /// Sources are opened as far as it takes to learn their columns. Nothing is loaded, nothing is
    /// written. With --sample, tables are loaded and the joins tried on some rows.
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The files; - is standard input
        #[arg(required = true, value_name = "FILE.sql")]
        files: Vec<PathBuf>,

        /// Load the tables, join N rows of each stream, and report on the keys
        #[arg(long, value_name = "N")]
        sample: Option<NonZeroUsize>,
    },

    /// Open the shell, as `fletching` alone does
    Shell {
        #[command(flatten)]
        output: OutputArguments,
    },

    /// Look at the checkpoints of pipelines, or remove old ones
    Checkpoints {
        #[command(subcommand)]
        command: CheckpointsCommand,
    },

    /// Run benchmarks, alone or with rivals
    ///
    /// Data is made from a seed. Contenders run in turn, each in a process of its own, on the same
    /// data; results are compared before any figure is shown. A rival that is not installed is
    /// left out with a word. Threads: --threads, or one, or what the scenario says.
    #[command(after_help = bench::EXAMPLES)]
    Bench {
        #[command(flatten)]
        arguments: BenchArguments,
    },

    /// Answer the questions of `bench`
    #[command(hide = true)]
    BenchWorker,
}

const RUN_EXAMPLES: &str = "\
Examples:
  fletching run enrich.sql
  fletching run enrich.sql --set threads=4 --set in=trades.parquet
  fletching run report.sql --format json | jq .
  fletching run report.sql --output report.parquet
  fletching run - < enrich.sql";

const CHECK_EXAMPLES: &str = "\
Examples:
  fletching check enrich.sql          prints: enrich.sql: 5 statements are fine
  fletching check enrich.sql || exit  ends with 2 where something is wrong
  fletching check --sample 10000 enrich.sql
                                      what the joins will find, before a long run";

/// What a session is opened with.
#[derive(Debug, Clone, Args)]
pub(crate) struct SessionArguments {
    /// Replace ${NAME} in the SQL, or else set the setting NAME; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", global = true, value_parser = name_and_value)]
    pub(crate) values: Vec<(String, String)>,

    /// Use at most N threads [default: FLETCHING_THREADS, or one for each core]
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// When to use colours
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,

    /// Print results, warnings and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Where results go and what they look like.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OutputArguments {
    /// How to write the rows of queries [default: table on a terminal, csv elsewhere]
    #[arg(long, short, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<Format>,

    /// Write the rows of queries to FILE; it appears when everything is done
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Show every row of a table, not the first 40 only
    #[arg(long)]
    pub(crate) all_rows: bool,

    /// Print how long each statement took
    #[arg(long)]
    pub(crate) timing: bool,

    /// Show no progress bars
    #[arg(long)]
    pub(crate) no_progress: bool,
}

impl OutputArguments {
    /// Lets what stands after the subcommand win over what stands before it.
    fn or(self, before: Self) -> Self {
        Self {
            format: self.format.or(before.format),
            output: self.output.or(before.output),
            all_rows: self.all_rows || before.all_rows,
            timing: self.timing || before.timing,
            no_progress: self.no_progress || before.no_progress,
        }
    }
}

/// What the program is asked to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Run scripts.
    Run {
        sources: Vec<Source>,
        output: OutputArguments,
    },
    /// Check files.
    Check {
        files: Vec<PathBuf>,
        sample: Option<NonZeroUsize>,
    },
    /// Open the shell.
    Shell { output: OutputArguments },
    /// Look at checkpoints.
    Checkpoints { command: CheckpointsCommand },
    /// Run benchmarks.
    Bench { arguments: BenchArguments },
    /// Take part in a benchmark.
    BenchWorker,
}

impl Arguments {
    /// Says what to do. Ends the program where arguments contradict each other.
    pub(crate) fn into_task(self, terminal: &Terminal) -> Task {
        if self.command.is_some() && !self.commands.is_empty() {
            Self::command()
                .error(
                    ErrorKind::ArgumentConflict,
                    "-c cannot be used together with a subcommand",
                )
                .exit();
        }
        match self.command {
            Some(Command::Run { files, output }) => Task::Run {
                sources: files.into_iter().map(Source::file).collect(),
                output: output.or(self.output),
            },
            Some(Command::Check { files, sample }) => Task::Check { files, sample },
            Some(Command::Shell { output }) => Task::Shell {
                output: output.or(self.output),
            },
            Some(Command::Checkpoints { command }) => Task::Checkpoints { command },
            Some(Command::Bench { arguments }) => Task::Bench { arguments },
            Some(Command::BenchWorker) => Task::BenchWorker,
            None if !self.commands.is_empty() => Task::Run {
                sources: Source::commands(self.commands),
                output: self.output,
            },
            None if terminal.stdin_is_terminal => Task::Shell { output: self.output },
            None => Task::Run {
                sources: vec![Source::Stdin],
                output: self.output,
            },
        }
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, as in threads=4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_on_either_side_of_the_subcommand() {
        let arguments = Arguments::parse_from(["fletching", "--format", "json", "run", "a.sql", "--timing"]);
        let terminal = Terminal::none();
        let Task::Run { output, .. } = arguments.into_task(&terminal) else {
            panic!("it is a run")
        };
        assert_eq!((output.format, output.timing), (Some(Format::Json), true));
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(name_and_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(name_and_value("a").is_err() && name_and_value("=b").is_err());
    }
}
