//! The committed artifacts are what the committed sources compile to.

use std::process::Command;

fn check(extra_source: Option<&str>) -> std::process::Output {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let Some(source) = extra_source else {
        return Command::new(format!("{root}/scripts/compile-contracts"))
            .arg("--check")
            .output()
            .unwrap();
    };
    // A copy in which one source differs: the check must see it.
    let copy = eidos_sandbox::ScratchDir::create("contracts").unwrap();
    let contracts = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(contracts)
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let dir = copy.path().join("contracts");
    let vault = std::fs::read_to_string(dir.join("Vault.sol")).unwrap();
    std::fs::write(dir.join("Vault.sol"), vault.replace("// ---- views", source)).unwrap();
    let tools = std::env::var("EIDOS_TOOLS").unwrap_or_else(|_| format!("{root}/.sandbox/tools"));
    Command::new("node")
        .arg(dir.join("compile.js"))
        .arg(format!("{tools}/node_modules/solc"))
        .arg("--check")
        .output()
        .unwrap()
}

#[test]
fn artifacts_are_what_the_sources_compile_to() {
    let output = check(None);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_source_that_changed_is_noticed() {
    let output = check(Some(
        "function added() external pure returns (uint256) { return 1; }",
    ));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("Vault.json"),
        "{words}"
    );
}
