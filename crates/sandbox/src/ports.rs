//! [`PortLease`]: a loopback port that stays ours while its server is down.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::error::SandboxError;
use crate::scratch;

/// Lowest and highest port handed out. The kernel's ephemeral range begins at 32768 on Linux; staying below it
/// matters in outage tests: an outgoing connection never takes the port of a server that is down for a moment, and
/// a client that hammers a dead port never connects to itself.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=32_000;

/// A port on 127.0.0.1 that no other sandbox of this user takes while the lease lives.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// Held for its lock, which the kernel drops with the process, however that ends.
    _lock: File,
}

impl PortLease {
    /// Leases a port on which nothing listens now.
    ///
    /// # Errors
    /// [`SandboxError::NoFreePort`] when all are taken; file errors of the lock directory.
    pub fn take() -> Result<Self, SandboxError> {
        let dir = lock_directory()?;
        let (low, high) = (*PORTS.start(), *PORTS.end());
        let span = high - low;
        // Processes that start together begin at different places, so that they rarely meet.
        let start = u16::try_from(std::process::id() * 17 % u32::from(span)).unwrap_or(0);
        for step in 0..span {
            let port = low + (start + step) % span;
            if let Some(lease) = Self::try_take(&dir, port)? {
                return Ok(lease);
            }
        }
        Err(SandboxError::NoFreePort { low, high })
    }

    /// Leases the port that a person asked for, whatever its number.
    ///
    /// # Errors
    /// [`SandboxError::PortTaken`]; file errors of the lock directory.
    pub(crate) fn take_this(port: u16) -> Result<Self, SandboxError> {
        let dir = lock_directory()?;
        Self::try_take(&dir, port)?.ok_or(SandboxError::PortTaken { port })
    }

    /// `None`: it is leased, or something listens there.
    fn try_take(dir: &Path, port: u16) -> Result<Option<Self>, SandboxError> {
        let path = dir.join(port.to_string());
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(SandboxError::file("open", &path))?;
        let free = lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        Ok(free.then_some(Self { port, _lock: lock }))
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

fn lock_directory() -> Result<PathBuf, SandboxError> {
    let dir = scratch::root()?.join("ports");
    std::fs::create_dir_all(&dir).map_err(SandboxError::file("create", &dir))?;
    Ok(dir)
}
