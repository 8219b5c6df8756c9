//! Keys.

use std::io::{Write, stdout};

use clap::Subcommand;
use serde::Serialize;

use super::Output;
use crate::exit::Exit;
use crate::failure::{Failure, Result};

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a random key and nothing else, for a Secret or a password file
    Generate,
}

pub fn run(command: &KeyCommand, output: Output) -> Result<Exit> {
    let KeyCommand::Generate = command;
    let key = engine::Password::generate();
    let text = String::from_utf8_lossy(key.expose());
    match output {
        Output::Table => {
            let written = stdout().write_all(format!("{text}\n").as_bytes());
            written.map_err(|e| Failure::unexpected("can't print the key", &e))?;
        }
        Output::Json => {
            #[derive(Serialize)]
            struct Key<'a> {
                key: &'a str,
                fingerprint: String,
            }
            output.print(&Key { key: &text, fingerprint: key.fingerprint() }, &[]);
        }
    }
    Ok(Exit::Done)
}
