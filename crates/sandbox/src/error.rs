//! [`SandboxError`]: what kept a server from starting, and what to do about it.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why a private server could not be started, reached or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A binary is not on this machine.
    #[error(
        "cannot find the program `{program}` (looked in {looked_in}); it comes with {package}: run scripts/install, \
         or install it by hand"
    )]
    MissingProgram {
        /// Name of the binary.
        program: &'static str,
        /// The package that brings it, with the kind of package.
        package: &'static str,
        /// Every place that was searched.
        looked_in: String,
    },
    /// PostgreSQL refuses to run as root, and there is no other user to run it as.
    #[error(
        "PostgreSQL does not run as root and this machine has no user `{user}`; the Debian package postgresql creates \
         it: run scripts/install, or run as an ordinary user"
    )]
    NoServerUser {
        /// The user that was looked up.
        user: &'static str,
    },
    /// A file or directory operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The operating system refused to start or signal a process.
    #[error("cannot {action} {name}: {source}")]
    Process {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The name given to the process.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process ended although it was expected to stay.
    #[error("{name} ended with {status}; the end of {}:\n{log_tail}", log.display())]
    Exited {
        /// The name given to the process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// The process lives but did not do what was waited for.
    #[error("{name} did not {what} within {waited:?}; the end of {}:\n{log_tail}", log.display())]
    Late {
        /// The name given to the process.
        name: String,
        /// What was waited for, as a verb phrase.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        log_tail: String,
    },
    /// The server was asked for while it is stopped.
    #[error("{name} is not running: call start() first")]
    NotRunning {
        /// The name given to the process.
        name: String,
    },
    /// A helper program such as `initdb` failed.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
    /// No port was free.
    #[error("no free loopback port between {low} and {high}: are many sandboxes running?")]
    NoFreePort {
        /// Lowest port tried.
        low: u16,
        /// Highest port tried.
        high: u16,
    },
    /// The port that was asked for is in use.
    #[error("port {port} on 127.0.0.1 is in use: choose another one")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// Another process holds the directory of a reusable sandbox.
    #[error(
        "the sandbox in {} is in use by another process: stop that one, or choose another directory", dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory that should be ours belongs to somebody else.
    #[error("{} belongs to uid {owner}, not to uid {expected}: remove it or set TMPDIR to a directory of your own", dir.display())]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who should.
        expected: u32,
    },
    /// A data directory was made by another major version of PostgreSQL.
    #[error(
        "{} was made by PostgreSQL {found} and this machine has {installed}: remove that directory, a sandbox can be \
         rebuilt", dir.display()
    )]
    DataVersion {
        /// The data directory.
        dir: PathBuf,
        /// Its version.
        found: String,
        /// The version of the binaries.
        installed: String,
    },
    /// A database name that would need quoting.
    #[error("`{name}` is not a usable database name: 1 to 63 of a-z, 0-9 and _, beginning with a letter")]
    DatabaseName {
        /// The refused name.
        name: String,
    },
    /// Redis answered with an error.
    #[error("redis on port {port}: {source}")]
    Redis {
        /// Port of the server.
        port: u16,
        /// What the client said.
        source: Box<redis::RedisError>,
    },
    /// The Kafka broker refused.
    #[error("kafka broker: cannot {action}: {reason}")]
    Kafka {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the library said.
        reason: String,
    },
}

impl SandboxError {
    /// A closure for `map_err` around file operations.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// A closure for `map_err` around process operations.
    pub(crate) fn process(action: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> Self {
        let name = name.to_owned();
        move |source| Self::Process { action, name, source }
    }
}
