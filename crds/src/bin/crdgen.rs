//! Writes the CustomResourceDefinitions into each directory given as an argument.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    if directories.is_empty() {
        eprintln!("usage: crdgen DIRECTORY...");
        return ExitCode::from(2);
    }
    for directory in directories {
        if let Err(error) = write(Path::new(&directory)) {
            eprintln!("crdgen: {directory}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn write(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(directory)?;
    for (name, yaml) in crds::generate::definitions()? {
        std::fs::write(directory.join(name), yaml)?;
    }
    Ok(())
}
