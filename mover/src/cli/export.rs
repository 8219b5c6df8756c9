//! `holdfast export`: a point as a tar archive (POSIX pax) on standard output, for any tar to read.

use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crds::job::FailureReason;
use engine::{Exported, ExportedContent};
use tar::{Builder, EntryType, Header};

use super::choose::{Choice, choose};
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::telling::{Telling, bytes};

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// latest, asof:2026-11-23T09:00:00Z, or a point id
    #[arg(long, value_name = "POINT")]
    point: Choice,
    /// Only points of this component, for latest and asof
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// Scratch space with room for the largest file
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

pub async fn run(
    args: ExportArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let begun = Instant::now();
    let invalid = |why: &str| Err(Failure::new(FailureReason::InvalidRequest, why));
    if stdout().is_terminal() {
        return invalid("the archive goes to standard output, which is a terminal: append > FILE.tar");
    }
    if output == Output::Json {
        return invalid(
            "standard output carries the archive, so no result can be printed there: leave --output out",
        );
    }
    let repository = args.repository.open(environment).await?;
    let point = choose(&repository, &args.point, args.component.as_deref()).await?;
    let scratch = scratch_space(args.scratch.as_deref())?;
    let mut archive = Builder::new(BufWriter::with_capacity(1 << 20, stdout()));
    let progress = telling.stage("export");
    let (entries, size) =
        engine::export(&repository, &point, scratch.path(), progress, |entry| append(&mut archive, entry))
            .await
            .map_err(|e| Failure::from(e).while_reading_a_point())?;
    let finished = archive.into_inner().and_then(|mut out| out.flush());
    finished.map_err(|e| Failure::unexpected("can't write the archive", &e))?;
    telling.end_stage();
    telling.clear();
    let took = begun.elapsed().as_secs_f64();
    eprintln!("point {}: {entries} entries, {} in {took:.1}s", point.id, bytes(size));
    Ok(Exit::Done)
}

/// A directory that goes when the command ends.
pub(super) fn scratch_space(dir: Option<&Path>) -> Result<tempfile::TempDir> {
    let made = dir.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    made.map_err(|e| {
        let why = format!("can't make scratch space: {e}; name a directory with --scratch");
        Failure::new(FailureReason::MoverFailed, why)
    })
}

fn append(archive: &mut Builder<impl Write>, entry: Exported) -> io::Result<()> {
    let (seconds, nanos) = entry.mtime;
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    if nanos > 0 || seconds < 0 {
        // What the old field can't say stands in a record before the entry.
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let (sign, most) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
        let time = format!("{sign}{}.{:09}", most / 1_000_000_000, most % 1_000_000_000);
        archive.append_pax_extensions([("mtime", time.as_bytes())])?;
    }
    match entry.content {
        ExportedContent::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            archive.append_data(&mut header, entry.path, io::empty())
        }
        ExportedContent::Symlink { to } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            // Letter by letter where it fits, as `append_link` does only where it doesn't.
            match header.set_link_name_literal(to.as_os_str().as_encoded_bytes()) {
                Ok(()) => archive.append_data(&mut header, entry.path, io::empty()),
                Err(_) => archive.append_link(&mut header, entry.path, to),
            }
        }
        ExportedContent::File { size, bytes } => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            archive.append_data(&mut header, entry.path, bytes)
        }
    }
}
