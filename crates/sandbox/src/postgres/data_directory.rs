//! The data directory: where it may live, who owns it, and its making.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use secrecy::{ExposeSecret, SecretString};

use super::SUPERUSER;
use super::programs::{Programs, Tool};
use crate::error::SandboxError;
use crate::process::RunAs;
use crate::scratch;

/// The user the Debian package creates; root becomes this one.
const SERVER_USER: &str = "postgres";

/// Where data goes that the server's user could not reach. Not `/tmp`: it outlives a reboot.
const FALLBACK: &str = "/var/tmp";

/// File in the sandbox directory that names a data directory elsewhere.
const POINTER: &str = "DATA_DIRECTORY";

/// An initialised data directory and the user it belongs to.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    run_as: Option<RunAs>,
}

impl DataDirectory {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn run_as(&self) -> Option<RunAs> {
        self.run_as
    }

    /// Finds or makes the data directory that belongs to `dir`.
    pub(super) async fn prepare(
        dir: &Path,
        programs: &Programs,
        password: Option<&SecretString>,
    ) -> Result<Self, SandboxError> {
        let run_as = server_user()?;
        let home = home_for(dir, run_as)?;
        let path = home.join("data");
        if path.join("PG_VERSION").exists() {
            check_version(&path, programs).await?;
        } else {
            initialise(&home, &path, programs, run_as, password).await?;
        }
        Ok(Self { path, run_as })
    }
}

/// Whom to run the server as: ourselves, unless we are root.
pub(crate) fn server_user() -> Result<Option<RunAs>, SandboxError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    match User::from_name(SERVER_USER) {
        Ok(Some(user)) => Ok(Some(RunAs {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })),
        _ => Err(SandboxError::NoServerUser { user: SERVER_USER }),
    }
}

/// `dir` itself, or a directory elsewhere when the server's user cannot get there.
fn home_for(dir: &Path, run_as: Option<RunAs>) -> Result<PathBuf, SandboxError> {
    let dir = dir.canonicalize().map_err(SandboxError::file("resolve", dir))?;
    let Some(user) = run_as.filter(|user| !can_traverse(&dir, *user)) else {
        return Ok(dir);
    };
    let name = format!("eidos-sandbox-{:016x}", fnv1a(dir.as_os_str().as_encoded_bytes()));
    let home = Path::new(FALLBACK).join(name);
    scratch::make_own_dir(&home, Uid::effective().as_raw())?;
    debug_assert!(can_traverse(&home, user), "the fallback has mode 0711");
    let pointer = dir.join(POINTER);
    std::fs::write(&pointer, format!("{}\n", home.display()))
        .map_err(SandboxError::file("write", &pointer))?;
    Ok(home)
}

/// Whether `user` may pass through `dir` and all directories above it.
fn can_traverse(dir: &Path, user: RunAs) -> bool {
    dir.ancestors().all(|part| {
        std::fs::metadata(part).is_ok_and(|meta| {
            let needed = match (meta.uid() == user.uid, meta.gid() == user.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            meta.permissions().mode() & needed != 0
        })
    })
}

/// A stable name for a path: the standard hasher may change between releases of Rust.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

async fn check_version(data: &Path, programs: &Programs) -> Result<(), SandboxError> {
    let file = data.join("PG_VERSION");
    let found = std::fs::read_to_string(&file)
        .map_err(SandboxError::file("read", &file))?
        .trim()
        .to_owned();
    let installed = programs.major_version().await?;
    if found == installed {
        Ok(())
    } else {
        Err(SandboxError::DataVersion {
            dir: data.to_owned(),
            found,
            installed,
        })
    }
}

/// Runs `initdb` beside the final place and renames: an interrupted one is not taken for a finished one.
async fn initialise(
    home: &Path,
    data: &Path,
    programs: &Programs,
    run_as: Option<RunAs>,
    password: Option<&SecretString>,
) -> Result<(), SandboxError> {
    let unfinished = home.join("data.unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(SandboxError::file("remove", &unfinished))?;
    }
    std::fs::create_dir(&unfinished).map_err(SandboxError::file("create", &unfinished))?;
    let password_file = home.join("initdb-password");
    let mut tool = Tool::new(programs.path("initdb")).run_as(run_as).args([
        "--locale=C",
        "--encoding=UTF8",
        "--no-sync",
        "--username",
        SUPERUSER,
    ]);
    if let Some(password) = password {
        write_secret(&password_file, password.expose_secret())?;
        own(&password_file, run_as)?;
        tool = tool.args([
            "--auth=scram-sha-256",
            "--pwfile",
            &password_file.to_string_lossy(),
        ]);
    } else {
        tool = tool.args(["--auth=trust"]);
    }
    own(&unfinished, run_as)?;
    let made = tool.args(["--pgdata", &unfinished.to_string_lossy()]).run().await;
    if password.is_some() {
        std::fs::remove_file(&password_file).map_err(SandboxError::file("remove", &password_file))?;
    }
    made?;
    std::fs::rename(&unfinished, data).map_err(SandboxError::file("rename", &unfinished))
}

fn write_secret(path: &Path, secret: &str) -> Result<(), SandboxError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{secret}")
    };
    write().map_err(SandboxError::file("write", path))
}

fn own(path: &Path, run_as: Option<RunAs>) -> Result<(), SandboxError> {
    match run_as {
        Some(RunAs { uid, gid }) => std::os::unix::fs::chown(path, Some(uid), Some(gid))
            .map_err(SandboxError::file("give away", path)),
        None => Ok(()),
    }
}
