//! Directories that are gone afterwards.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;

/// Names that are tried before giving up on a new temporary directory.
const NAMES_TRIED_MAX: u32 = 1000;

/// A directory that is removed, with all that is in it, when this is dropped, if it was made here.
#[derive(Debug)]
pub(super) struct Dir {
    path: PathBuf,
    origin: Origin,
}

/// What existed before is not ours to remove.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    MadeHere,
    Existed,
}

impl Dir {
    /// A new one below the system's directory for temporary files, for this user only.
    pub(super) fn temporary() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        for _ in 0..NAMES_TRIED_MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("slotway-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let origin = Origin::MadeHere;
                    return Ok(Self { path, origin });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(format!("making {}", path.display()), error)),
            }
        }
        Err(Error::io(
            format!("a new directory in {}", parent.display()),
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// This one, which must not exist yet.
    pub(super) fn create(path: PathBuf) -> Result<Self, Error> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self {
                path,
                origin: Origin::MadeHere,
            }),
            Err(error) => Err(Error::io(format!("making {}", path.display()), error)),
        }
    }

    /// This one, made if it does not exist.
    pub(super) fn use_or_create(path: &Path) -> Result<Self, Error> {
        // Servers are started in it, so a relative path would soon mean another place.
        let path = std::path::absolute(path)
            .map_err(|error| Error::io(format!("finding {}", path.display()), error))?;
        if path.is_dir() {
            return Ok(Self {
                path,
                origin: Origin::Existed,
            });
        }
        Self::create(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.origin == Origin::MadeHere {
            // Nobody is left to tell; what could not be removed stays.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
