//! Where the shell keeps what was typed.

use std::fs;
use std::path::PathBuf;

/// Returns the file of the history, in a folder that exists; `None` where there can be none.
pub(crate) fn file() -> Option<PathBuf> {
    let folder = dirs::state_dir().or_else(dirs::data_local_dir)?.join("fletching");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
