//! The `holdfast` program as a script calls it: with a repository, a password in the environment, and JSON as the answer.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

/// The program, built by the first that asks: cargo knows best whether it is up to date.
///
/// # Panics
/// When it can't be built.
pub fn holdfast() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("holdfast")).clone()
}

/// A program of the workspace, up to date.
pub(crate) fn built(program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // A test target is named so that the features are those of the tests, and nothing is compiled twice.
    let args = ["build", "--quiet", "--workspace", "--bin", program, "--test", "layers"];
    let built = Command::new(cargo).current_dir(root).args(args).status();
    assert!(built.is_ok_and(|status| status.success()), "{program} can't be built");
    target.join("debug").join(program)
}

/// A random key, as the program makes it.
///
/// # Panics
/// When it makes none.
pub fn key() -> String {
    let made = Command::new(holdfast()).args(["key", "generate"]).output().expect("the program starts");
    String::from_utf8(made.stdout).expect("a key is text").trim_end().to_owned()
}

/// A person's shell: a repository and its password.
#[derive(Debug, Clone)]
pub struct Shell {
    /// The repository's URL.
    pub url: String,
    /// What `HOLDFAST_PASSWORD` holds.
    pub password: String,
}

impl Shell {
    /// The command with the repository and the password, ready for more arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(holdfast());
        command.args(args).stdin(Stdio::null()).env("HOLDFAST_PASSWORD", &self.password);
        if !["check", "key"].contains(&args[0]) {
            command.args(["--repo", &self.url]);
        }
        command
    }

    /// Runs it for JSON.
    ///
    /// # Panics
    /// When it doesn't start or prints the password.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).args(["--output", "json"]).output().expect("the program starts");
        for stream in [&output.stdout, &output.stderr] {
            assert!(!String::from_utf8_lossy(stream).contains(&self.password), "the password is printed");
        }
        output
    }

    /// The result, which is the last line of standard output, and the exit code.
    ///
    /// # Panics
    /// When the last line isn't JSON.
    pub fn answer(&self, args: &[&str]) -> (Value, i32) {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_str(text.lines().last().unwrap_or_default());
        (value.unwrap_or_else(|e| panic!("{args:?}: {e}: {text}{said}")), output.status.code().unwrap_or(-1))
    }

    /// The result of a command that has to succeed.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn done(&self, args: &[&str]) -> Value {
        let (value, code) = self.answer(args);
        assert_eq!(code, 0, "{args:?}: {value}");
        value
    }
}
