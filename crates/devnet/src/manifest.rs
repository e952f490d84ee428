//! [`Manifest`]: what was planted, what a reconciler must find of it, and what it must not report.

use eidos_types::{Address, Amount};
use serde::{Deserialize, Serialize};

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A deposit on chain that the books lost.
    MissingCredit,
    /// One deposit, credited twice.
    DoubleCredit,
    /// A deposit credited with other digits.
    WrongAmount,
    /// A deposit credited with the decimals of another token: off by a power of ten.
    DecimalsSlip,
    /// A deposit credited to another wallet: two entries.
    WrongWallet,
    /// A withdrawal that left the Vault and not the books.
    MissingWithdrawalDebit,
    /// A wallet with a Vault balance that the books do not know.
    MissingInBooks,
    /// A row of the books that the chain never saw.
    MissingOnChain,
    /// A difference too small to report, which must be added up all the same.
    Dust,
    /// A Vault balance that DECIMAL(36,18) cannot hold.
    BeyondDecimal,
    /// Tokens taken out of the Vault without touching any wallet's balance.
    EmergencyWithdrawal,
    /// A balance edited by hand: no log, no movement.
    ManualEdit,
}

impl Fault {
    /// Every class.
    pub const ALL: [Self; 12] = [
        Self::MissingCredit,
        Self::DoubleCredit,
        Self::WrongAmount,
        Self::DecimalsSlip,
        Self::WrongWallet,
        Self::MissingWithdrawalDebit,
        Self::MissingInBooks,
        Self::MissingOnChain,
        Self::Dust,
        Self::BeyondDecimal,
        Self::EmergencyWithdrawal,
        Self::ManualEdit,
    ];

    /// Its name in the manifest and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingCredit => "missing_credit",
            Self::DoubleCredit => "double_credit",
            Self::WrongAmount => "wrong_amount",
            Self::DecimalsSlip => "decimals_slip",
            Self::WrongWallet => "wrong_wallet",
            Self::MissingWithdrawalDebit => "missing_withdrawal_debit",
            Self::MissingInBooks => "missing_in_books",
            Self::MissingOnChain => "missing_on_chain",
            Self::Dust => "dust",
            Self::BeyondDecimal => "beyond_decimal",
            Self::EmergencyWithdrawal => "emergency_withdrawal",
            Self::ManualEdit => "manual_edit",
        }
    }
}

/// A situation that looks like a fault and is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// Debited in the books, its transaction not mined.
    InFlightWithdrawal,
    /// Mined, and the books have not noticed yet.
    WithdrawalNotConfirmed,
    /// A batch settled on chain whose confirmation the books have not booked.
    BatchNotBooked,
    /// A batch submitted and not settled.
    BatchNotSettled,
    /// Funds moved to a sub-account: gone from the wallet's row, still owed to it.
    SubAccountTransfer,
    /// Equal values of different display scale (1.5 and 1.500).
    DisplayScale,
    /// A wallet the books write with capital letters.
    MixedCaseWallet,
    /// A deposit the books have seen and not credited.
    DepositNotCredited,
    /// A withdrawal that failed and was given back.
    RefundedWithdrawal,
    /// A deposit the books credited from a block above the indexer's checkpoint.
    CreditAboveCut,
    /// Deposits above the indexer's checkpoint that the books cannot know.
    LaggingIndexer,
    /// Rows written before the run and committed after it.
    LateCommit,
}

impl Trap {
    /// Every trap; the last three belong above the cut or after it, so their order matters.
    pub const ALL: [Self; 12] = [
        Self::InFlightWithdrawal,
        Self::WithdrawalNotConfirmed,
        Self::BatchNotBooked,
        Self::BatchNotSettled,
        Self::SubAccountTransfer,
        Self::DisplayScale,
        Self::MixedCaseWallet,
        Self::DepositNotCredited,
        Self::RefundedWithdrawal,
        Self::CreditAboveCut,
        Self::LaggingIndexer,
        Self::LateCommit,
    ];

    /// Its name in the manifest and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlightWithdrawal => "in_flight_withdrawal",
            Self::WithdrawalNotConfirmed => "withdrawal_not_confirmed",
            Self::BatchNotBooked => "batch_not_booked",
            Self::BatchNotSettled => "batch_not_settled",
            Self::SubAccountTransfer => "sub_account_transfer",
            Self::DisplayScale => "display_scale",
            Self::MixedCaseWallet => "mixed_case_wallet",
            Self::DepositNotCredited => "deposit_not_credited",
            Self::RefundedWithdrawal => "refunded_withdrawal",
            Self::CreditAboveCut => "credit_above_cut",
            Self::LaggingIndexer => "lagging_indexer",
            Self::LateCommit => "late_commit",
        }
    }

    /// Why it is not a fault.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::InFlightWithdrawal => "debited and submitted, not mined: the Vault still holds it",
            Self::WithdrawalNotConfirmed => "debited and mined; only the status in the books lags",
            Self::BatchNotBooked => {
                "settled on chain, submitted in the books: each trade's deltas are in flight"
            }
            Self::BatchNotSettled => {
                "submitted in the books, not on chain: settled balances agree as they are"
            }
            Self::SubAccountTransfer => "the wallet's own row shrank, its sub-account's row holds the rest",
            Self::DisplayScale => "1.5 and 1.500 are one value",
            Self::MixedCaseWallet => "capital letters in an address are a checksum, not another wallet",
            Self::DepositNotCredited => "seen minutes ago, credited soon: within the age limit",
            Self::RefundedWithdrawal => "debited, failed, given back: both sides are where they were",
            Self::CreditAboveCut => {
                "credited from a block above the indexer's checkpoint: the books are ahead"
            }
            Self::LaggingIndexer => "above the indexer's checkpoint: the books cannot know it",
            Self::LateCommit => "committed after the run with older timestamps: the next run reads it",
        }
    }
}

/// How bad, after ruling 25.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Below 0.01 USDC: only added up.
    Ignored,
    /// Up to and including 100 USDC, or without a price.
    Warning,
    /// Above 100 USDC, or of unknown size.
    Critical,
}

/// What a reconciler must find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planted {
    /// The class.
    pub class: Fault,
    /// Whose account; `None` for the Vault as a whole.
    pub wallet: Option<Address>,
    /// Symbol of the token.
    pub token: String,
    /// `shortfall`, `surplus`, `missing_in_books`, `missing_on_chain`, `beyond_decimal`, `insolvent` or `dust`.
    pub kind: String,
    /// On-chain minus off-chain in whole tokens, every digit.
    pub difference: String,
    /// How bad.
    pub severity: Severity,
}

/// What a reconciler must not report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trapped {
    /// Which.
    pub trap: Trap,
    /// Whose account.
    pub wallet: Address,
    /// Symbol of the token.
    pub token: String,
    /// Why it is not a fault.
    pub reason: String,
}

/// Everything planted in one devnet. The same seed gives the same manifest, to the byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The seed.
    pub seed: u64,
    /// How many wallets.
    pub wallets: usize,
    /// The faults.
    pub faults: Vec<Planted>,
    /// The traps.
    pub traps: Vec<Trapped>,
}

/// Severity of a difference (ruling 25: both boundaries are warnings; without a price a shortfall is critical, a surplus a
/// warning).
pub(crate) fn severity_of(difference: Amount, price_usdc: Option<u32>) -> Severity {
    const CENT: i128 = 10_i128.pow(16);
    const HUNDRED: i128 = 10_i128.pow(20);
    let Some(price) = price_usdc else {
        return if difference.is_negative() {
            Severity::Critical
        } else {
            Severity::Warning
        };
    };
    // At most 10^36 times 2^32 could leave an i128; such a value is far above the limit anyway.
    let value = difference.abs().scaled().saturating_mul(i128::from(price));
    if value < CENT {
        Severity::Ignored
    } else if value <= HUNDRED {
        Severity::Warning
    } else {
        Severity::Critical
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruling_25_both_boundaries_are_warnings() {
        for (difference, price, expected) in [
            ("0.009999999999999999", Some(1), Severity::Ignored),
            ("0.01", Some(1), Severity::Warning),
            ("-100", Some(1), Severity::Warning),
            ("100.000001", Some(1), Severity::Critical),
            ("-0.0001", Some(60_000), Severity::Warning),
            ("999999999999999999", Some(60_000), Severity::Critical),
            ("0.000001", None, Severity::Warning),
            ("-0.000001", None, Severity::Critical),
        ] {
            assert_eq!(
                severity_of(difference.parse().unwrap(), price),
                expected,
                "{difference}"
            );
        }
    }

    #[test]
    fn names_are_the_serialised_names() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        for trap in Trap::ALL {
            assert_eq!(serde_json::to_value(trap).unwrap(), trap.as_str());
        }
    }
}
