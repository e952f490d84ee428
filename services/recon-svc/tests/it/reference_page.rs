//! `docs/configuration.md` is what the defaults say. `UPDATE=1 cargo test -p recon-svc reference_page` writes it anew.

use eidos_settings::reference_page;
use recon_svc::ReconSettings;

#[test]
fn the_page_in_docs_is_the_one_the_defaults_make() {
    let file = eidos_sandbox::workspace_root()
        .unwrap()
        .join("docs/configuration.md");
    let page = reference_page::<ReconSettings>();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == page,
        "docs/configuration.md is out of date: run UPDATE=1 cargo test -p recon-svc reference_page"
    );
}
