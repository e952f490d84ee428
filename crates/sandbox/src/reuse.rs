//! [`Sandbox`]: the long-lived form, for the quickstart and for bench runs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::anvil::{Anvil, AnvilOptions};
use crate::error::SandboxError;
use crate::postgres::{Postgres, PostgresOptions};
use crate::redis::{AppendOnly, Redis, RedisOptions};
use crate::scratch::open_lock;

/// A directory with private servers whose data stays for the next time.
///
/// The directory is locked while the value lives, so two runs never work on the same data. The servers run as long
/// as the values returned here; what is fast the second time is PostgreSQL's `initdb`, which is skipped.
///
/// ```no_run
/// # async fn quickstart() -> Result<(), eidos_sandbox::SandboxError> {
/// let sandbox = eidos_sandbox::Sandbox::open(".sandbox/quickstart")?;
/// let postgres = sandbox.postgres().await?;
/// postgres.fresh_database("eidos_jobs").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sandbox {
    dir: PathBuf,
    password: SecretString,
    _lock: File,
}

impl Sandbox {
    /// Takes the directory, which is created when missing.
    ///
    /// # Errors
    /// [`SandboxError::InUse`] when another process has it; file errors.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, SandboxError> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(SandboxError::file("create", dir))?;
        let dir = dir.canonicalize().map_err(SandboxError::file("resolve", dir))?;
        let lock = open_lock(&dir.join("lock"))?;
        if lock.try_lock().is_err() {
            return Err(SandboxError::InUse { dir });
        }
        let password = stored_password(&dir.join("password"))?.into();
        Ok(Self {
            dir,
            password,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// PostgreSQL on the data of the last time. Asks for a password: a sandbox may run for days.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub async fn postgres(&self) -> Result<Postgres, SandboxError> {
        let options = PostgresOptions {
            password: Some(self.password.clone()),
            ..PostgresOptions::default()
        };
        Postgres::open(&self.dir.join("postgres"), options).await
    }

    /// Redis with an append-only file on the data of the last time, with a password.
    ///
    /// # Errors
    /// As [`Redis::open`].
    pub async fn redis(&self) -> Result<Redis, SandboxError> {
        let options = RedisOptions {
            append_only: AppendOnly::Always,
            password: Some(self.password.clone()),
            ..RedisOptions::default()
        };
        Redis::open(&self.dir.join("redis"), options).await
    }

    /// An EVM node; it begins anew each time unless `options.state` names a file, for which [`Self::dir`] is the place.
    ///
    /// # Errors
    /// As [`Anvil::start`].
    pub async fn anvil(&self, options: AnvilOptions) -> Result<Anvil, SandboxError> {
        Anvil::start(options).await
    }
}

/// Made once and kept beside the data it protects, readable for its owner only.
fn stored_password(path: &Path) -> Result<String, SandboxError> {
    match std::fs::read_to_string(path) {
        Ok(known) if !known.trim().is_empty() => return Ok(known.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(SandboxError::file("read", path)(error));
        }
        _ => {}
    }
    let make = || -> std::io::Result<String> {
        let mut bytes = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let password = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{password}")?;
        Ok(password)
    };
    make().map_err(SandboxError::file("write", path))
}
