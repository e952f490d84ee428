//! What the quickstart prints, and the files it writes.

use std::path::Path;

use anyhow::Context;

/// Files here hold passwords of private servers.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[expect(
    clippy::print_stdout,
    reason = "the quickstart talks to the person who started it"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
