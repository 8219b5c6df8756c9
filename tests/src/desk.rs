//! A person's desk: a directory for a source, a repository in it, and a shell that knows both.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::shell::{Shell, key};

/// A temporary directory with a source `data`, and a repository in `repository`. Gone when dropped.
#[derive(Debug)]
pub struct Desk {
    /// The directory.
    pub dir: tempfile::TempDir,
    /// Knows the repository and its password.
    pub shell: Shell,
}

impl Desk {
    /// No repository was made yet.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("data")).expect("a directory in it");
        let url = format!("file://{}", dir.path().join("repository").display());
        Self { dir, shell: Shell { url, password: key() } }
    }

    /// With a repository that holds nothing.
    ///
    /// # Panics
    /// When it can't be made.
    pub fn new() -> Self {
        let desk = Self::empty();
        desk.shell.done(&["repo", "init"]);
        desk
    }

    /// Where something of this name lies.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as an argument.
    pub fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// Captures the source as the component `app`.
    pub fn backup(&self) -> (Value, i32) {
        self.shell.answer(&["backup", "--source", &self.path("data"), "--component", "app"])
    }

    /// Restores the newest point into a new directory.
    pub fn restore(&self, target: &str) -> (Value, i32) {
        self.shell.answer(&[
            "restore",
            "--point",
            "latest",
            "--component",
            "app",
            "--target",
            &self.path(target),
        ])
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}
