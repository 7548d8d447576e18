//! Where `checkpoint.path` leads to: a folder, or what a scheme opens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contract::{Storage, StorageError, StorageScheme, StorageSetting};
use super::storage::LocalFolder;
use crate::connector::nearest;
use crate::error::{Error, Result};
use crate::session::Session;

/// A place for checkpoints: made of a path, or by [`Session::checkpoints`](crate::Session::checkpoints).
///
/// ```
/// use fletching::checkpoint::Place;
///
/// let place = Place::from(std::path::Path::new("state"));
/// assert_eq!(place.storage().place(), "state");
/// ```
#[derive(Debug, Clone)]
pub struct Place(Arc<dyn Storage>);

impl Place {
    /// Returns the storage.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0
    }
}

impl From<Arc<dyn Storage>> for Place {
    fn from(storage: Arc<dyn Storage>) -> Self {
        Self(storage)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self(Arc::new(LocalFolder::at(path)))
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::from(path.as_path())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

impl Session {
    /// Opens a place for checkpoints as `checkpoint.path` names it, to look at what is there.
    ///
    /// # Errors
    /// Fails where it has a scheme that this session has no storage for, or makes no sense.
    ///
    /// ```
    /// let session = fletching::Session::new()?;
    /// assert_eq!(session.checkpoints("state")?.storage().place(), "state");
    /// assert_eq!(session.checkpoints("s3://bucket/state").unwrap_err().code(), "OPTION"); // no such storage here
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn checkpoints(&self, place: &str) -> Result<Place> {
        self.inner.settings.read().storages.open(place)
    }
}

/// The schemes of a session, and what was set for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schemes {
    known: Vec<Arc<dyn StorageScheme>>,
    settings: BTreeMap<String, String>,
}

impl Schemes {
    pub(crate) fn new(known: Vec<Arc<dyn StorageScheme>>) -> Self {
        Self {
            known,
            settings: BTreeMap::new(),
        }
    }

    /// Lists the settings of all schemes.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &'static StorageSetting> {
        self.known.iter().flat_map(|scheme| scheme.settings())
    }

    pub(crate) fn knows(&self, setting: &str) -> bool {
        self.settings().any(|known| known.name == setting)
    }

    /// Returns what a setting was set to; nothing where it was not.
    pub(crate) fn get(&self, setting: &str) -> String {
        let value = self.settings.get(setting);
        value.cloned().unwrap_or_else(|| "none".into())
    }

    pub(crate) fn set(&mut self, setting: &str, value: &str) {
        let value = value.trim();
        if value.is_empty() || value.eq_ignore_ascii_case("none") {
            self.settings.remove(setting);
        } else {
            self.settings.insert(setting.into(), value.into());
        }
    }

    /// Finds the scheme of a place; none for a path of the file system.
    fn scheme<'a>(&self, place: &'a str) -> Result<Option<(&Arc<dyn StorageScheme>, &'a str)>> {
        let Some((name, path)) = place.split_once("://") else {
            return Ok(None);
        };
        let scheme = self.known.iter().find(|scheme| scheme.name() == name);
        match scheme {
            Some(scheme) => Ok(Some((scheme, path))),
            None => Err(self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        let names = self.known.iter().map(|scheme| scheme.name());
        let listed: Vec<_> = names.clone().map(|name| format!("{name}://")).collect();
        let hint = match (nearest(name, names), listed.is_empty()) {
            (Some(near), _) => format!("did you mean '{near}://'?"),
            (None, false) => format!("a path of the file system, or one of {}", listed.join(", ")),
            (None, true) => "this build keeps checkpoints in folders of the file system alone".into(),
        };
        Error::Option {
            subject: "setting checkpoint.path".into(),
            message: format!("there is no storage for '{name}://' in this build"),
            hint: Some(hint),
            location: None,
        }
    }

    /// Says whether a place can be named.
    pub(crate) fn check(&self, place: &str) -> Result<()> {
        self.scheme(place).map(|_| ())
    }

    /// Opens a place.
    pub(crate) fn open(&self, place: &str) -> Result<Place> {
        let Some((scheme, path)) = self.scheme(place)? else {
            return Ok(Place::from(Path::new(place)));
        };
        let opened = scheme.open(path, &self.settings);
        opened.map(Place).map_err(|error| unusable(place, &error))
    }
}

/// Makes the error for a place that cannot be opened, listed or read.
pub(crate) fn unusable(place: &str, error: &StorageError) -> Error {
    Error::Checkpoint {
        place: place.into(),
        message: error.message.clone(),
        hint: error.hint.clone(),
    }
}
