//! Where settings are gathered: a flag beats the environment, which beats the default, and each is noted with its origin.

use std::path::{Path, PathBuf};

use super::value::without_password;
use super::{Origin, Setting, SettingsError, Surroundings};

/// Gathers settings as they are resolved.
pub(super) struct Desk<'a> {
    pub around: &'a Surroundings,
    pub settings: Vec<Setting>,
}

impl Desk<'_> {
    /// The value in force, which is also noted.
    pub fn take(
        &mut self,
        name: &'static str,
        flag: &'static str,
        given: Option<String>,
        default: &str,
    ) -> Result<String, SettingsError> {
        let (value, origin) = match (given, self.around.text(name)?) {
            (Some(value), _) => (value, Origin::Flag(flag.to_owned())),
            (None, Some(value)) => (value, Origin::Environment(name.to_owned())),
            (None, None) => (default.to_owned(), Origin::Default),
        };
        self.settings.push(Setting {
            name,
            flag,
            value: value.clone(),
            origin,
        });
        Ok(value)
    }

    /// The meaning of the value that was taken last; a fault names where it was said.
    pub fn read<T>(
        &self,
        text: &str,
        meaning: impl FnOnce(&str) -> Result<T, String>,
        hint: &str,
    ) -> Result<T, SettingsError> {
        meaning(text).map_err(|problem| {
            // What stands before an @ may be a password, and problems quote.
            let problem = if text.contains('@') {
                format!("\"{}\" can't be used", without_password(text))
            } else {
                problem
            };
            SettingsError::value(self.named(), problem, (!hint.is_empty()).then_some(hint))
        })
    }

    /// Where the setting that was taken last was said.
    pub fn named(&self) -> String {
        self.settings
            .last()
            .map_or(String::new(), |setting| match &setting.origin {
                Origin::Flag(flag) => flag.clone(),
                _ => setting.name.to_owned(),
            })
    }

    /// Where the setting that was taken last comes from.
    pub fn origin(&self) -> Origin {
        self.settings
            .last()
            .map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Shows something else in place of the value that was taken last: it holds a secret.
    pub fn shows_instead(&mut self, shown: String) {
        if let Some(setting) = self.settings.last_mut() {
            setting.value = shown;
        }
    }

    /// Shows the folder that was taken last as it is meant: absolute.
    pub fn shows(&mut self, folder: &Path) {
        if let Some(setting) = self.settings.last_mut() {
            setting.value = folder.display().to_string();
        }
    }
}

/// The entries of a list separated by commas.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// A path as it is meant from the current folder.
pub(super) fn absolute(around: &Surroundings, path: &str) -> Result<PathBuf, SettingsError> {
    let joined = around.folder.join(path);
    std::path::absolute(&joined).map_err(|source| SettingsError::File { path: joined, source })
}
