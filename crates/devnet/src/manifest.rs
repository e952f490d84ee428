//! [`Manifest`]: what was planted, what a reconciler must find of it, and what it must not report.

use eidos_types::{Address, Amount};
use serde::{Deserialize, Serialize};

/// An enum whose variants have one name each, in the manifest as in reports.
macro_rules! named {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Returns its name in the manifest and in reports.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

named! {
    /// A class of faults.
    pub enum Fault {
        /// A deposit on chain that the books lost.
        MissingCredit = "missing_credit",
        /// One deposit, credited twice.
        DoubleCredit = "double_credit",
        /// A deposit credited with other digits.
        WrongAmount = "wrong_amount",
        /// A deposit credited with the decimals of another token: off by a power of ten.
        DecimalsSlip = "decimals_slip",
        /// A deposit credited to another wallet: two entries.
        WrongWallet = "wrong_wallet",
        /// A withdrawal that left the Vault and not the books.
        MissingWithdrawalDebit = "missing_withdrawal_debit",
        /// A wallet with a Vault balance that the books do not know.
        MissingInBooks = "missing_in_books",
        /// A row of the books that the chain never saw.
        MissingOnChain = "missing_on_chain",
        /// A difference too small to report, which must be added up all the same.
        Dust = "dust",
        /// A Vault balance that DECIMAL(36,18) cannot hold.
        BeyondDecimal = "beyond_decimal",
        /// Tokens taken out of the Vault without touching any wallet's balance.
        EmergencyWithdrawal = "emergency_withdrawal",
        /// A balance edited by hand: no log, no movement.
        ManualEdit = "manual_edit",
        /// A settled batch whose fees never reached the platform's fee account.
        FeeNotBooked = "fee_not_booked",
    }
}

named! {
    /// A class of faults in the record of single movements. Balances are right, so nothing but a comparison one by one sees
    /// them.
    pub enum MovementFault {
        /// A deposit with two credited rows; the hash of the second one is written with capital letters.
        TwoRows = "two_rows",
        /// A credited row whose transaction the chain does not know.
        NoEvent = "no_event",
        /// A credited row whose block, as the chain service saw it, was removed by a reorganisation.
        OrphanedRow = "orphaned_row",
        /// A row with another token than its event.
        OtherToken = "other_token",
        /// A deposit that was credited by hand, without a row.
        NoRow = "no_row",
        /// A row without a readable transaction.
        NoTransaction = "no_transaction",
        /// A withdrawal that the books call failed and the Vault has paid.
        RefundedAndPaid = "refunded_and_paid",
        /// A withdrawal that the Vault has paid long ago and the books call submitted.
        PaidAndOpen = "paid_and_open",
        /// A withdrawal that was submitted long ago and is not mined.
        NeverPaid = "never_paid",
        /// A payment of the Vault that no row knows.
        PaidWithoutRow = "paid_without_row",
        /// A confirmed row whose transaction pays nobody.
        ConfirmedAndUnpaid = "confirmed_and_unpaid",
        /// A row with another amount than its event.
        PaidAnotherAmount = "paid_another_amount",
        /// A row of another wallet than its event.
        PaidAnotherWallet = "paid_another_wallet",
        /// A row with another token than its event.
        PaidAnotherToken = "paid_another_token",
        /// A trade that the books call settled, in a batch that the chain does not have.
        SettledInBooksOnly = "settled_in_books_only",
        /// A trade that was settled long ago and that the books call submitted.
        SettledOnChainOnly = "settled_on_chain_only",
        /// A trade that was settled and that the books rolled back.
        SettledAndRolledBack = "settled_and_rolled_back",
        /// A settled trade that no row knows.
        SettledWithoutRow = "settled_without_row",
        /// A trade that was left out when its batch was settled.
        LeftOutOfItsBatch = "left_out_of_its_batch",
        /// A trade that was submitted long ago and is not settled.
        NeverSettled = "never_settled",
        /// Two trades of the books whose ids begin with the same 32 characters.
        SameIdOnChain = "same_id_on_chain",
        /// A row with another quote amount than its event.
        SettledAnotherAmount = "settled_another_amount",
        /// A row with another base amount than its event.
        SettledAnotherBase = "settled_another_base",
        /// A row with another fee than was paid.
        SettledAnotherFee = "settled_another_fee",
        /// A row with another taker than its event.
        SettledAnotherWallet = "settled_another_wallet",
        /// A row that says that the maker bought where the taker did, or the other way round.
        SettledAnotherSide = "settled_another_side",
        /// A row of another market than its event.
        SettledAnotherMarket = "settled_another_market",
    }
}

named! {
    /// A situation that looks like a fault and is not one. The last three belong above the cut or after it, so their
    /// order matters.
    pub enum Trap {
        /// Debited in the books, its transaction not mined.
        InFlightWithdrawal = "in_flight_withdrawal",
        /// Mined, and the books have not noticed yet.
        WithdrawalNotConfirmed = "withdrawal_not_confirmed",
        /// A batch settled on chain whose confirmation the books have not booked.
        BatchNotBooked = "batch_not_booked",
        /// A batch submitted and not settled.
        BatchNotSettled = "batch_not_settled",
        /// Funds moved to a sub-account: gone from the wallet's row, still owed to it.
        SubAccountTransfer = "sub_account_transfer",
        /// Equal values of different display scale (1.5 and 1.500).
        DisplayScale = "display_scale",
        /// A wallet the books write with capital letters.
        MixedCaseWallet = "mixed_case_wallet",
        /// Two deposits of one wallet, with the same amount.
        SameAmountTwice = "same_amount_twice",
        /// Two deposits in one transaction, with the same amount.
        TwoInOneTransaction = "two_in_one_transaction",
        /// A deposit the books have seen and not credited.
        DepositNotCredited = "deposit_not_credited",
        /// A withdrawal that failed and was given back.
        RefundedWithdrawal = "refunded_withdrawal",
        /// A trade whose first batch failed and which was settled in another one.
        RetriedBatch = "retried_batch",
        /// A trade whose id is 64 hex digits: the chain has all of it.
        HexId = "hex_id",
        /// A deposit the books credited from a block above the indexer's checkpoint.
        CreditAboveCut = "credit_above_cut",
        /// Deposits above the indexer's checkpoint that the books cannot know.
        LaggingIndexer = "lagging_indexer",
        /// Rows written before the run and committed after it.
        LateCommit = "late_commit",
    }
}

/// Returns what an explanation must call a fault of this class, of [`Fault`] or [`MovementFault`]. `None`: it is not a break, so
/// there is nothing to explain.
///
/// A row that the chain never saw and that has no entry in the balance log is an edit by hand, too.
pub fn cause_of(class: &str) -> Option<&'static str> {
    Some(match class {
        "missing_credit"
        | "missing_withdrawal_debit"
        | "missing_in_books"
        | "beyond_decimal"
        | "no_event"
        | "no_row"
        | "paid_without_row"
        | "confirmed_and_unpaid"
        | "settled_in_books_only"
        | "settled_without_row"
        | "left_out_of_its_batch" => "missing",
        "double_credit" | "two_rows" | "same_id_on_chain" => "duplicate",
        "wrong_amount"
        | "paid_another_amount"
        | "settled_another_amount"
        | "settled_another_base"
        | "settled_another_fee" => "wrong_amount",
        "decimals_slip" => "decimals",
        "wrong_wallet" | "paid_another_wallet" | "settled_another_wallet" | "settled_another_side" => {
            "wrong_account"
        }
        "other_token" | "paid_another_token" | "settled_another_market" => "wrong_unit",
        "manual_edit" | "missing_on_chain" => "manual_edit",
        "fee_not_booked" | "fees_of_all_faults" => "fee_not_booked",
        "emergency_withdrawal" => "outflow",
        "orphaned_row" => "reorg",
        "no_transaction" => "unreadable",
        "refunded_and_paid" | "settled_and_rolled_back" => "refunded",
        "paid_and_open" | "never_paid" | "settled_on_chain_only" | "never_settled" => "late",
        _ => return None,
    })
}

impl Trap {
    /// Returns why it is not a fault.
    pub(crate) const fn reason(self) -> &'static str {
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
            Self::SameAmountTwice => "two deposits that look alike, each with its own event",
            Self::TwoInOneTransaction => {
                "one transaction, two events, two rows: the log index tells them apart"
            }
            Self::DepositNotCredited => "seen minutes ago, credited soon: within the age limit",
            Self::RefundedWithdrawal => "debited, failed, given back: both sides are where they were",
            Self::RetriedBatch => "the first batch failed and moved nothing; the second one has the trade",
            Self::HexId => "64 hex digits are 32 bytes: they are decoded, not cut",
            Self::CreditAboveCut => {
                "credited from a block above the indexer's checkpoint: the books are ahead"
            }
            Self::LaggingIndexer => "above the indexer's checkpoint: the books cannot know it",
            Self::LateCommit => "committed after the run with older timestamps: the next run reads it",
        }
    }
}

named! {
    /// How bad, after ruling 25.
    pub enum Severity {
        /// Below 0.01 USDC: only added up.
        Ignored = "ignored",
        /// Up to and including 100 USDC, or without a price.
        Warning = "warning",
        /// Above 100 USDC, or of unknown size.
        Critical = "critical",
    }
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

/// What a reconciler must find about a single movement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedMovement {
    /// The class, of [`Fault`] or [`MovementFault`].
    pub class: String,
    /// `deposit`, `withdrawal`, `settlement` or `fee_account`.
    pub dimension: String,
    /// Which movement: `tx_hash:log_index`, `row:id`, `trade:id on the chain` or `fees:token`.
    pub subject: String,
    /// Symbol of the token.
    pub token: String,
    /// Its kind.
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
    /// What is wrong with single movements, because of these faults or of [`MovementFault`]s.
    #[serde(default)]
    pub movements: Vec<PlantedMovement>,
    /// The traps.
    pub traps: Vec<Trapped>,
    /// Accounts that differ on purpose: a reconciler is told of them, and reports none.
    #[serde(default)]
    pub canaries: Vec<Canary>,
}

/// An account that differs on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Whose.
    pub wallet: Address,
    /// Token symbol.
    pub token: String,
    /// Chain − books.
    pub difference: Amount,
}

/// Returns the severity of a difference (ruling 25: both boundaries are warnings; without a price a shortfall is critical, a surplus a
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
    fn every_class_but_dust_has_a_cause() {
        let faults = Fault::ALL.map(Fault::as_str).into_iter();
        for class in faults.chain(MovementFault::ALL.map(MovementFault::as_str)) {
            assert_eq!(cause_of(class).is_none(), class == "dust", "{class}");
        }
    }

    #[test]
    fn names_are_the_serialised_names() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        for fault in MovementFault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        for trap in Trap::ALL {
            assert_eq!(serde_json::to_value(trap).unwrap(), trap.as_str());
        }
    }
}
