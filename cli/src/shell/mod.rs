//! The shell: statements typed at a prompt, one session for all of them. An error ends a
//! statement, never the shell.

mod complete;
mod dot;
mod history;
mod keywords;
mod line_editor;

use std::io::Write;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};

use crate::arguments::{OutputArguments, SessionArguments};
use crate::diagnostic::Diagnostic;
use crate::failure::Failure;
use crate::follow;
use crate::interrupt::Interrupt;
use crate::opening;
use crate::results::Destination;
use crate::run::{self, Runner, Style, Summaries};
use crate::script::{Script, Source};
use crate::terminal::Terminal;
use dot::DotCommand;
use line_editor::ShellHelper;

const PROMPT: &str = "fletching> ";

/// Opens the shell; it ends with the input or with `.quit`.
pub(crate) fn run(
    arguments: &SessionArguments,
    output: &OutputArguments,
    terminal: &Terminal,
) -> Result<(), Failure> {
    refuse_files(output)?;
    let interrupt = Interrupt::listen();
    let session = opening::open(arguments)?;
    // What is no setting may still be the value of a ${name} that is yet to be typed.
    let settings = session.setting_names();
    opening::apply(&session, arguments, |name| {
        !settings.iter().any(|setting| setting == name)
    })?;

    let summaries = if arguments.quiet {
        Summaries::None
    } else {
        Summaries::All
    };
    let style = Style {
        summaries,
        rows_remedy: ".rows all",
        ..Style::of_run(arguments, output, terminal)
    };
    let runner = Runner {
        session,
        interrupt,
        terminal: terminal.clone(),
        style,
    };
    let out = Destination::stdout(terminal.stdout_is_terminal);
    let mut shell = Shell {
        runner,
        out,
        values: arguments.values.clone(),
    };
    if !arguments.quiet {
        shell.greet(&settings);
    }
    let ended = shell.read_lines();
    follow::stop(&shell.runner.session);
    ended.map_err(|error| Failure::outside(format!("the terminal cannot be read: {error}")))
}

fn refuse_files(output: &OutputArguments) -> Result<(), Failure> {
    if output.output.is_some() {
        let error = Diagnostic::error("--output needs a script whose rows it holds");
        return Err(Failure::usage(
            error.help("use it with fletching run FILE.sql or with -c"),
        ));
    }
    match output.format.filter(|format| format.is_binary()) {
        Some(format) => Err(Failure::usage(
            Diagnostic::error(format!("the shell cannot show {}", format.word()))
                .help("use --format table, csv or json"),
        )),
        None => Ok(()),
    }
}

/// A session at a prompt.
struct Shell {
    runner: Runner,
    out: Destination,
    /// The values of `${name}`.
    values: Vec<(String, String)>,
}

impl Shell {
    fn greet(&self, settings: &[String]) {
        let terminal = &self.runner.terminal;
        let version = env!("CARGO_PKG_VERSION");
        let hint = terminal
            .message_paint
            .dim("a statement ends with a semicolon; .help tells more");
        terminal.message(&format!("Fletching {version}: {hint}"));
        for (name, _) in self.values.iter().filter(|(name, _)| !settings.contains(name)) {
            let note = Diagnostic::note(format!(
                "'{name}' is no setting; its value stands for ${{{name}}}"
            ));
            terminal.message(&note.render(terminal.message_paint));
        }
    }

    fn read_lines(&mut self) -> Result<(), ReadlineError> {
        let paint = self.runner.terminal.paint;
        let color_mode = if paint.is_enabled() {
            ColorMode::Enabled
        } else {
            ColorMode::Disabled
        };
        let config = Config::builder()
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .color_mode(color_mode)
            .build();
        let mut editor = Editor::<ShellHelper, FileHistory>::with_config(config)?;
        editor.set_helper(Some(ShellHelper::new(self.runner.session.clone())));
        let history = history::file();
        if let Some(history) = &history {
            // There is none the first time.
            let _ = editor.load_history(history);
        }
        let prompt = (PROMPT, paint.accent(PROMPT));
        loop {
            let text = match editor.readline(&prompt) {
                Ok(text) => text,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error),
            };
            if text.trim().is_empty() {
                continue;
            }
            editor.add_history_entry(text.trim_end())?;
            if let Some(history) = &history {
                // A folder that cannot be written costs the history, not the shell.
                let _ = editor.append_history(history);
            }
            if self.obey(&text) == Next::End {
                return Ok(());
            }
        }
    }

    /// Does what was typed.
    fn obey(&mut self, text: &str) -> Next {
        let done = match DotCommand::parse(text) {
            None => self.run(Script::new(None, text.to_owned(), &self.values)),
            Some(Ok(DotCommand::Quit)) => return Next::End,
            Some(Ok(DotCommand::Read(path))) => self.run(Source::File(path).read(&self.values)),
            Some(Ok(command)) => {
                command.obey(&mut self.runner, &mut self.out);
                Ok(())
            }
            Some(Err(diagnostic)) => Err(Failure::usage(diagnostic)),
        };
        if let Err(failure) = done {
            failure.show(&self.runner.terminal);
            // Where nobody sees the output there is nothing left to do.
            if failure.is_pipe_closed() {
                return Next::End;
            }
        }
        Next::Read
    }

    fn run(&mut self, script: Result<Script, Failure>) -> Result<(), Failure> {
        let script = script?;
        let statements = run::parse(&self.runner.session, &script)?;
        let done = self.runner.run(&script, &statements, &mut self.out);
        if self.out.flush().is_err() && self.out.is_closed() {
            return Err(Failure::pipe_closed());
        }
        done
    }
}

/// What the shell does after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Reads the next.
    Read,
    /// Ends.
    End,
}
