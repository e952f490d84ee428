use eidos_devnet::{Fault, Severity};

use crate::{clean, found, oracle, planted};

/// Every class changes exactly what its entry says: the independent audit finds its differences and no other, and the
/// oracle agrees wherever it can express them.
#[tokio::test]
async fn each_class_changes_exactly_what_the_manifest_says() {
    let mut fixture = clean(3).await;
    for class in Fault::ALL {
        let entries = fixture.devnet.plant(class).await.unwrap();
        let expected = if class == Fault::WrongWallet { 2 } else { 1 };
        assert_eq!(entries.len(), expected, "{class:?}");
        assert_eq!(
            found(&fixture.devnet.audit().await.unwrap()),
            planted(&fixture.devnet),
            "after {class:?}"
        );
        let known: Vec<_> = planted(&fixture.devnet)
            .into_iter()
            .filter(|(wallet, token, _)| !wallet.is_empty() && token != "HUGE")
            .collect();
        assert_eq!(oracle(&fixture.devnet), known, "the oracle after {class:?}");
    }
}

#[tokio::test]
async fn kinds_and_severities_follow_ruling_25() {
    let mut fixture = clean(4).await;
    for (class, kind, severity) in [
        (Fault::MissingCredit, "surplus", Severity::Critical),
        (Fault::DoubleCredit, "shortfall", Severity::Critical),
        (Fault::WrongAmount, "surplus", Severity::Warning),
        (Fault::MissingOnChain, "missing_on_chain", Severity::Warning),
        (Fault::Dust, "dust", Severity::Ignored),
        (Fault::EmergencyWithdrawal, "insolvent", Severity::Critical),
        (Fault::BeyondDecimal, "beyond_decimal", Severity::Critical),
    ] {
        let entry = fixture.devnet.plant(class).await.unwrap().remove(0);
        assert_eq!(
            (entry.kind.as_str(), entry.severity),
            (kind, severity),
            "{class:?}"
        );
    }
}
