//! The interactive shell: prompt, history, several lines per statement.

use std::path::PathBuf;

use rustyline::config::CompletionType;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, DefaultEditor, Editor};

use crate::complete::{Names, ShellHelper};
use crate::run::{App, Failure, note, report};
use crate::script::Feed;

const PROMPT: &str = "hyperslab> ";
const CONTINUED: &str = "      ...> ";
/// The prompt while a transaction is open.
const OPEN: &str = "hyperslab*> ";

/// The terminal's width.
pub(crate) fn terminal_columns() -> Option<usize> {
    width(DefaultEditor::new().ok()?.dimensions())
}

fn width(dimensions: Option<(u16, u16)>) -> Option<usize> {
    dimensions.map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0)
}

/// Reads and runs statements until `.quit` or Ctrl-D. A statement that fails is no error here.
pub(crate) fn run(app: &mut App) -> Result<(), String> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(10_000)
        .map_err(|e| e.to_string())?
        .auto_add_history(false)
        .build();
    let mut editor: Editor<ShellHelper, FileHistory> =
        Editor::with_config(config).map_err(|e| format!("the terminal cannot be used: {e}"))?;
    editor.set_helper(Some(ShellHelper::default()));
    let history = history_file();
    if let Some(path) = &history {
        // There is none before the first statement.
        let _ = editor.load_history(path);
    }
    if !app.settings.quiet {
        note(&banner(app));
    }
    let mut feed = Feed::default();
    loop {
        app.settings.columns = width(editor.dimensions());
        if let Some(helper) = editor.helper_mut() {
            helper.update(Names::of(&app.session), feed.text());
        }
        match editor.readline(prompt(app, feed.pending())) {
            Ok(line) => {
                let entry = format!("{}{line}", feed.text());
                let commands = feed.push(&format!("{line}\n"));
                if commands.is_empty() {
                    continue;
                }
                remember(&mut editor, history.as_ref(), &entry);
                for command in &commands {
                    match app.run(command) {
                        Ok(()) => {}
                        Err(Failure::Quit | Failure::Closed) => return Ok(()),
                        Err(Failure::Cancelled) => {
                            report("cancelled");
                            break;
                        }
                        Err(Failure::Error(text)) => report(&text),
                    }
                }
            }
            Err(ReadlineError::Interrupted) => feed.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            // The window changed its size, or the shell was in the background.
            Err(ReadlineError::Signal(_)) => {}
            Err(e) => return Err(format!("reading from the terminal failed: {e}")),
        }
    }
}

fn prompt(app: &App, pending: bool) -> &'static str {
    match (pending, app.session.in_transaction()) {
        (true, _) => CONTINUED,
        (false, true) => OPEN,
        (false, false) => PROMPT,
    }
}

/// Failing to write the history is no error: the folder may be read-only.
fn remember(editor: &mut Editor<ShellHelper, FileHistory>, file: Option<&PathBuf>, entry: &str) {
    let added = editor.add_history_entry(entry.trim_end());
    if let (Ok(true), Some(path)) = (added, file) {
        if let Some(folder) = path.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = editor.append_history(path);
    }
}

/// `$XDG_STATE_HOME/hyperslab/history` where that is set, else `~/.hyperslab_history`.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    state
        .map(|folder| folder.join("hyperslab").join("history"))
        .or_else(|| std::env::home_dir().map(|home| home.join(".hyperslab_history")))
}

fn banner(app: &App) -> String {
    let store = match &app.open.store {
        None => "an empty store in memory, gone when you leave; .open FOLDER opens one on disk".to_owned(),
        Some(path) => format!("{}{}", path.display(), if app.open.read_only { ", read-only" } else { "" }),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("Hyperslab {version}: {store}\nStatements end with `;`. .help lists the shell's commands, .quit leaves.")
}
