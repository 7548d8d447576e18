//! From the option `path` to the files it stands for: a file, a folder or a glob.

use std::fs;
use std::path::{Path, PathBuf};

use fletching::{Error, Result};

use super::format::{Format, guess};
use crate::spelling::nearest;

/// A file to read.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl SourceFile {
    /// Names the file in messages.
    pub(crate) fn origin(&self) -> String {
        self.path.display().to_string()
    }
}

/// Finds the files that `text` stands for, sorted by name, and their format.
///
/// The format is the one given, or the one that the first file's name tells. Of a folder or a
/// glob only the files of that format are taken; hidden, underscored and temporary files never.
pub(crate) fn resolve(text: &str, format: Option<Format>) -> Result<(Vec<SourceFile>, Option<Format>)> {
    let path = Path::new(text);
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {
            let file = SourceFile {
                path: path.to_path_buf(),
                bytes: meta.len(),
            };
            Ok((vec![file], format.or(guess(path).format)))
        }
        Ok(meta) if meta.is_dir() => pick(path, list_folder(path)?, format),
        Ok(_) => {
            let hint = "name a file, a folder or a glob".to_owned();
            Err(file_error(path, "is neither a file nor a folder", Some(hint)))
        }
        Err(_) if is_glob(text) => pick(path, list_glob(text)?, format),
        Err(error) => Err(missing(path, &error)),
    }
}

/// Lists the files that a folder or glob stands for now, which may be none, as [`resolve`] does.
pub(crate) fn find_now(text: &str, format: Option<Format>) -> Result<(Vec<SourceFile>, Option<Format>)> {
    let path = Path::new(text);
    let paths = if is_glob(text) && !path.is_dir() {
        list_glob(text)?
    } else {
        list_folder(path)?
    };
    choose(paths, format)
}

/// Makes a file error.
pub(crate) fn file_error(path: &Path, message: impl Into<String>, hint: Option<String>) -> Error {
    Error::File {
        path: path.to_path_buf(),
        message: message.into(),
        hint,
    }
}

pub(crate) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Makes the error for a path that cannot be opened, with a near name of the same folder.
fn missing(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::file(path, error);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let Ok(entries) = fs::read_dir(folder) else {
        let message = format!("no such file: the folder {} does not exist", folder.display());
        return file_error(path, message, None);
    };
    let names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    let hint = match nearest(&name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{}'?", path.with_file_name(near).display()),
        None => "check the path; it is taken from the folder the program runs in".into(),
    };
    file_error(path, "no such file or folder", Some(hint))
}

fn list_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::file(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| Error::file(folder, &error))?.path());
    }
    Ok(paths)
}

fn list_glob(text: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(text);
    let found = glob::glob(text).map_err(|error| {
        file_error(
            path,
            format!("not a valid pattern: {} at character {}", error.msg, error.pos),
            None,
        )
    })?;
    found
        .map(|entry| entry.map_err(|error| Error::file(error.path(), error.error())))
        .collect()
}

/// Says whether a file is one that another program keeps for itself.
fn is_private(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    name.starts_with(['.', '_']) || name.ends_with(".tmp")
}

/// Takes the visible files of one format, of which there must be some.
fn pick(
    place: &Path,
    paths: Vec<PathBuf>,
    format: Option<Format>,
) -> Result<(Vec<SourceFile>, Option<Format>)> {
    let (files, format) = choose(paths, format)?;
    if files.is_empty() {
        let what = if is_glob(&place.to_string_lossy()) {
            "matches no file"
        } else {
            "holds no file"
        };
        let hint = "names that begin with '.' or '_' or end with '.tmp' are left out".to_owned();
        return Err(file_error(place, what, Some(hint)));
    }
    Ok((files, format))
}

/// Takes the visible files of one format, sorted by name. A file that is gone by now is left out.
fn choose(mut paths: Vec<PathBuf>, format: Option<Format>) -> Result<(Vec<SourceFile>, Option<Format>)> {
    paths.retain(|path| !is_private(path) && path.is_file());
    paths.sort();
    let format = format.or_else(|| paths.iter().find_map(|path| guess(path).format));
    if let Some(format) = format
        && paths.iter().any(|path| guess(path).format == Some(format))
    {
        paths.retain(|path| guess(path).format == Some(format));
    }
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        match fs::metadata(&path) {
            Ok(meta) => files.push(SourceFile {
                path,
                bytes: meta.len(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file(&path, &error)),
        }
    }
    Ok((files, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[SourceFile]) -> Vec<String> {
        files
            .iter()
            .map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_folder_gives_its_visible_files_of_one_format_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.csv",
            "a.csv",
            ".hidden.csv",
            "_SUCCESS",
            "c.csv.tmp",
            "notes.md",
        ] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let (files, format) = resolve(&folder.path().to_string_lossy(), None).unwrap();
        assert_eq!(
            (names(&files), format),
            (vec!["a.csv".into(), "b.csv".into()], Some(Format::Csv))
        );
        let pattern = format!("{}/b*", folder.path().display());
        assert_eq!(names(&resolve(&pattern, None).unwrap().0), ["b.csv"]);
    }

    #[test]
    fn a_missing_file_names_a_near_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trades.csv"), "x").unwrap();
        let path = folder.path().join("trade.csv");
        let text = resolve(&path.to_string_lossy(), None).unwrap_err().to_string();
        let near = folder.path().join("trades.csv");
        assert_eq!(
            text,
            format!(
                "{}: no such file or folder; did you mean '{}'?",
                path.display(),
                near.display()
            )
        );
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let text = resolve(&folder.path().to_string_lossy(), None)
            .unwrap_err()
            .to_string();
        assert!(text.contains("holds no file"), "{text}");
        let pattern = format!("{}/*.csv", folder.path().display());
        let text = resolve(&pattern, None).unwrap_err().to_string();
        assert!(text.contains("matches no file"), "{text}");
    }
}
