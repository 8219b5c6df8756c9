//! A disk with bad blocks: a directory shown through FUSE, where reads of chosen bytes are answered with EIO, as those of a failing
//! disk are. What it shows can only be read; the directory behind it is never written to.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyStatfs,
    Request, SessionACL,
};

/// Nothing changes below, so what the kernel knows stays true.
const TTL: Duration = Duration::from_secs(60);

/// What of a disk can't be read.
#[derive(Debug, Clone)]
pub enum Bad {
    /// These bytes of a file: its path below the directory, where they begin, and how many they are.
    Bytes(PathBuf, u64, u64),
    /// What a directory holds.
    Directory(PathBuf),
}

/// A mounted disk. Gone when dropped.
#[derive(Debug)]
pub struct BrokenDisk {
    at: PathBuf,
    /// Answers for as long as it lives.
    _session: BackgroundSession,
}

impl BrokenDisk {
    /// Shows `behind` at `at`, which may be the same directory: then that is what everybody sees who opens it from now on.
    ///
    /// # Errors
    /// When it can't be mounted: it takes root and `/dev/fuse`.
    pub fn mount(behind: &Path, at: &Path, bad: Vec<Bad>) -> io::Result<Self> {
        // Opened before it is covered, and reached through the descriptor.
        let root = File::open(behind)?;
        let inodes =
            Mutex::new(Inodes { paths: vec![PathBuf::new()], numbers: HashMap::from([(PathBuf::new(), 1)]) });
        let mut options = Config::default();
        options.mount_options = vec![
            MountOption::FSName("broken-disk".to_owned()),
            MountOption::RO,
            MountOption::DefaultPermissions,
        ];
        options.acl = SessionACL::All;
        let session = fuser::spawn_mount(Disk { root, bad, inodes }, at, &options)?;
        Ok(Self { at: at.to_owned(), _session: session })
    }
}

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        // Pods may still have it: it goes from here, and for them when they do.
        match Command::new("umount").arg("--lazy").arg(&self.at).status() {
            Ok(done) if done.success() => {}
            failed => eprintln!("the broken disk at {} can't be unmounted: {failed:?}", self.at.display()),
        }
    }
}

struct Inodes {
    paths: Vec<PathBuf>,
    numbers: HashMap<PathBuf, u64>,
}

struct Disk {
    root: File,
    bad: Vec<Bad>,
    inodes: Mutex<Inodes>,
}

impl Disk {
    fn number(&self, path: &Path) -> INodeNo {
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        let next = inodes.paths.len() as u64 + 1;
        let number = *inodes.numbers.entry(path.to_owned()).or_insert(next);
        if number == next {
            inodes.paths.push(path.to_owned());
        }
        INodeNo(number)
    }

    fn path(&self, number: INodeNo) -> io::Result<PathBuf> {
        let inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(number.0).unwrap_or(0).wrapping_sub(1);
        inodes.paths.get(place).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn behind(&self, path: &Path) -> PathBuf {
        use std::os::fd::AsRawFd;
        Path::new(&format!("/proc/self/fd/{}", self.root.as_raw_fd())).join(path)
    }

    fn attributes(&self, path: &Path) -> io::Result<FileAttr> {
        let behind = match path.as_os_str().is_empty() {
            true => self.behind(Path::new(".")),
            false => self.behind(path),
        };
        let meta = fs::symlink_metadata(behind)?;
        let at = |seconds: i64, nanos: i64| -> SystemTime {
            UNIX_EPOCH + Duration::new(seconds.max(0).unsigned_abs(), u32::try_from(nanos).unwrap_or(0))
        };
        Ok(FileAttr {
            ino: self.number(path),
            size: meta.len(),
            blocks: meta.blocks(),
            atime: at(meta.atime(), meta.atime_nsec()),
            mtime: at(meta.mtime(), meta.mtime_nsec()),
            ctime: at(meta.ctime(), meta.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: FileType::from_std(meta.file_type()).unwrap_or(FileType::RegularFile),
            perm: (meta.permissions().mode() & 0o7777) as u16,
            nlink: u32::try_from(meta.nlink()).unwrap_or(1),
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn bytes(&self, number: INodeNo, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let path = self.path(number)?;
        let file = File::open(self.behind(&path))?;
        let end = file.metadata()?.len().min(offset + u64::from(size));
        let is_bad = |bad: &Bad| match bad {
            Bad::Bytes(file, from, count) => *file == path && offset < from + count && *from < end,
            Bad::Directory(_) => false,
        };
        if self.bad.iter().any(is_bad) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        let mut buffer = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap_or(0)];
        file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    fn names(&self, number: INodeNo) -> io::Result<Vec<(PathBuf, FileType)>> {
        let path = self.path(number)?;
        if self.bad.iter().any(|bad| matches!(bad, Bad::Directory(dir) if *dir == path)) {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(self.behind(&path))? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            found.push((path.join(entry.file_name()), kind));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.path(parent).and_then(|parent| self.attributes(&parent.join(name))) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(e) => reply.error(Errno::from(e)),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(number).and_then(|path| self.attributes(&path)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(e) => reply.error(Errno::from(e)),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        use std::os::unix::ffi::OsStrExt;
        match self.path(number).and_then(|path| fs::read_link(self.behind(&path))) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(e) => reply.error(Errno::from(e)),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.bytes(number, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(Errno::from(e)),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.names(number) {
            Ok(names) => names,
            Err(e) => return reply.error(Errno::from(e)),
        };
        for (place, (path, kind)) in names.iter().enumerate().skip(usize::try_from(offset).unwrap_or(0)) {
            let name = path.file_name().unwrap_or_default();
            if reply.add(self.number(path), place as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::fstatvfs(&self.root) {
            Ok(s) => reply.statfs(s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree, 4096, 255, 4096),
            Err(e) => reply.error(Errno::from(io::Error::from(e))),
        }
    }
}
