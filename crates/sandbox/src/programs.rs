//! Where the binaries are. Every miss names the program, the package that brings it and the places searched.

use std::path::{Path, PathBuf};

use crate::error::SandboxError;

/// The first executable called `program` on `PATH`; `package` goes into the error.
pub fn find_program(program: &'static str, package: &'static str) -> Result<PathBuf, SandboxError> {
    on_path(program).ok_or_else(|| SandboxError::MissingProgram {
        program,
        package,
        looked_in: "PATH".to_owned(),
    })
}

/// The first executable called `program` on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The directory with this workspace's `Cargo.lock`: searched from the current directory upwards, then from where
/// this crate was built. `None` when a binary was carried to another machine.
#[must_use]
pub fn workspace_root() -> Option<PathBuf> {
    search_roots()
        .into_iter()
        .find(|dir| dir.join("Cargo.lock").is_file() && dir.join("crates").is_dir())
}

/// The directories in which `.sandbox/tools` is looked for: the current one and the one this crate was built in,
/// each with all its ancestors.
pub(crate) fn search_roots() -> Vec<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    let current = std::env::current_dir().ok();
    let mut roots: Vec<PathBuf> = Vec::new();
    for start in current.iter().map(PathBuf::as_path).chain([built_in]) {
        for dir in start.ancestors() {
            if !roots.iter().any(|known| known == dir) {
                roots.push(dir.to_owned());
            }
        }
    }
    roots
}
