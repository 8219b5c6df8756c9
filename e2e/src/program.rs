//! Programs that users type: kubectl, helm, holdfast. Run as they are, with what they print.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// One program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a program printed.
#[derive(Clone, Debug)]
pub struct Printed {
    pub success: bool,
    pub out: String,
    pub err: String,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), environment: Vec::new() }
    }

    /// Where it is, for a program that calls it.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The same program with one more variable in its environment: secrets have no place in arguments.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A command that runs it for as long as this program lives: it is ended when the child is dropped, and by the kernel
    /// when this program is killed.
    pub fn attendant(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.path);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it and returns whatever came out.
    pub async fn attempt(&self, arguments: &[&str], input: Option<&str>) -> Result<Printed> {
        let name = self.path.display();
        let mut child = Command::new(&self.path)
            .args(arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that refuses early closes its input: its answer says why.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let output = child.wait_with_output().await.with_context(|| format!("{name} was lost"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Printed { success: output.status.success(), out: text(output.stdout), err: text(output.stderr) })
    }

    /// Runs it, which must succeed; returns what it printed.
    pub async fn run(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let printed = self.attempt(arguments, input).await?;
        if !printed.success {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            bail!("{name} {} failed: {}{}", arguments.join(" "), printed.err, printed.out);
        }
        Ok(printed.out)
    }
}
