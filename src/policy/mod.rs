//! Categories, templates and limits from files: TOML in, one hashed [`Policy`] out.
//!
//! Every `*.toml` of a folder is read; together they are one bundle, identified by the hash of what they mean (not
//! of how or where it is written). The bundle's JSON is the value of `notify.policies`, so that a decision can be
//! explained under the rules that made it. Invariant: knows nothing of events and decides nothing.

mod bundle;
mod error;
mod fallback;
mod file;

use std::path::{Path, PathBuf};

pub use bundle::{BundleError, bundle_json, from_bundle_json};
pub use error::{PolicyError, PolicyErrors, Problem};

use crate::model::Policy;

/// Reads every `*.toml` in `dir`, in the order of their names.
///
/// # Errors
/// All problems of all files at once, each with its file and line.
pub fn load(dir: &Path) -> Result<Policy, PolicyErrors> {
    let unreadable =
        |path: &Path, error: &std::io::Error| PolicyErrors::one(path, Problem::Unreadable(error.to_string()));
    let entries = std::fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(dir, &error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    if paths.is_empty() {
        return Err(PolicyErrors::one(dir, Problem::NoFiles));
    }
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        files.push((path, text));
    }
    from_files(&files)
}

/// One policy from the texts of several files; the paths are named in errors.
///
/// # Errors
/// See [`load`].
pub fn from_files(files: &[(PathBuf, String)]) -> Result<Policy, PolicyErrors> {
    let mut merged = file::Merged::default();
    for (path, text) in files {
        merged.add(path, text);
    }
    let (categories, default) = merged.finish()?;
    Ok(bundle::seal(categories, default))
}

#[cfg(test)]
mod tests;
