//! The chain's defaults stand in two places: in the crate, for tests and tools, and in the file that a person reads.

use eidos_chain::{ChainSettings, Rung};
use eidos_settings::{Input, load};
use eidos_types::Address;
use recon_svc::ReconSettings;

fn chain_of(file: &str) -> ChainSettings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    std::fs::write(&path, file).unwrap();
    let input = Input {
        file: Some(&path),
        env: Vec::new(),
    };
    load::<ReconSettings>(&input).unwrap().service.chain
}

const DEV: &str = "service: { env: dev }\n";

#[test]
fn the_file_of_defaults_and_the_crate_agree() {
    let own = ChainSettings::new("http://127.0.0.1:8545", 31_337, Address::ZERO);
    let ours = |chain: &ChainSettings| serde_json::to_value((&chain.rpc, &chain.bulk, &chain.logs)).unwrap();
    assert_eq!(ours(&chain_of(DEV)), ours(&own));
}

#[test]
fn a_list_of_ways_replaces_the_default_one() {
    let chain = chain_of(&format!("{DEV}chain: {{ bulk: {{ rungs: [batch, single] }} }}\n"));
    assert_eq!(chain.bulk.rungs, [Rung::Batch, Rung::Single]);
}
