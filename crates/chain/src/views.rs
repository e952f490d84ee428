//! Named reads at a pinned block: code, holdings, settlements, receipts.

use alloy_primitives::{Address as EvmAddress, B256, Bytes, U64, U256};
use alloy_sol_types::SolCall;
use eidos_types::{Address, BaseUnits, Hash32};
use serde::Deserialize;
use serde_json::json;

use crate::balances::word;
use crate::contracts::{ISettlement, IToken, IVault, evm};
use crate::reader::code_hash;
use crate::rpc::Question;
use crate::{BlockRef, ChainError, ChainReader};

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub tx_hash: Hash32,
    /// The number of the block it is in.
    pub block_number: u64,
    /// The hash of the block it is in.
    pub block_hash: Hash32,
    /// False if it was reverted.
    pub success: bool,
}

/// Receipts, and how much their absence proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// In the order asked. `None`: the node knows no such transaction in a block up to `head`.
    pub receipts: Vec<Option<Receipt>>,
    /// The newest block of the node that answered; the lowest, where several batches were needed. `u64::MAX` if
    /// nothing was asked.
    pub head: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptWire {
    transaction_hash: B256,
    block_number: Option<U64>,
    block_hash: Option<B256>,
    status: Option<U64>,
}

impl ChainReader {
    /// The code of `address` at `at`.
    pub(crate) async fn code(&self, at: &BlockRef, address: &Address) -> Result<Bytes, ChainError> {
        let method = "eth_getCode";
        match self
            .rpc
            .call(method, (evm(address), self.addressing.of(at)))
            .await
        {
            Ok(code) => Ok(code),
            Err(error) => Err(self.explain(at, self.rpc.error(method, error)).await),
        }
    }

    /// Returns the Keccak hash of the code of `address` at `at`: a Vault whose code changed is a Vault to look at.
    ///
    /// # Errors
    /// As any read at a block.
    pub async fn code_hash(&self, at: &BlockRef, address: &Address) -> Result<Hash32, ChainError> {
        Ok(code_hash(&self.code(at, address).await?))
    }

    /// Returns what the Vault itself holds of each token at `at`, in base units and in the order of `tokens`: the
    /// token's `balanceOf(vault)`, or the native balance for the zero address.
    ///
    /// # Errors
    /// As any read at a block.
    pub async fn token_held(&self, at: &BlockRef, tokens: &[Address]) -> Result<Vec<BaseUnits>, ChainError> {
        let vault = evm(&self.settings.vault);
        let question = |token: &Address| {
            if *token == Address::ZERO {
                return Question::new("eth_getBalance", json!((vault, self.addressing.of(at))));
            }
            let data = IToken::balanceOfCall { owner: vault }.abi_encode().into();
            self.call_question(at, evm(token), data)
        };
        let questions: Vec<Question> = tokens.iter().map(question).collect();
        let answers: Vec<String> = self.ask_all_at(at, &questions).await?;
        tokens
            .iter()
            .zip(answers)
            .map(|(token, answer)| {
                held(*token, &answer)
                    .map_err(|detail| self.malformed("eth_call", format!("token {token}: {detail}")))
            })
            .collect()
    }

    /// Returns the locked part of each wallet's total at `at` (interface A only), in base units.
    ///
    /// # Errors
    /// As any read at a block.
    pub async fn vault_locked(
        &self,
        at: &BlockRef,
        pairs: &[(Address, Address)],
    ) -> Result<Vec<BaseUnits>, ChainError> {
        let calls = pairs
            .iter()
            .map(|(wallet, token)| {
                let call = IVault::getLockedBalanceCall {
                    user: evm(wallet),
                    token: evm(token),
                };
                (evm(&self.settings.vault), call.abi_encode().into())
            })
            .collect();
        self.words(at, calls).await
    }

    /// Returns which batches the Settlement contract calls settled at `at`, in the order asked.
    ///
    /// # Errors
    /// [`ChainError::Refused`] without a configured Settlement contract.
    pub async fn batches_settled(
        &self,
        at: &BlockRef,
        batch_ids: &[Hash32],
    ) -> Result<Vec<bool>, ChainError> {
        let call = |id: &Hash32| {
            ISettlement::isBatchSettledCall {
                batchId: B256::new(*id.as_bytes()),
            }
            .abi_encode()
        };
        self.settlement_flags(at, batch_ids.iter().map(call)).await
    }

    /// Returns which trades the Settlement contract calls settled at `at`, in the order asked.
    ///
    /// # Errors
    /// [`ChainError::Refused`] without a configured Settlement contract.
    pub async fn trades_settled(&self, at: &BlockRef, trade_ids: &[Hash32]) -> Result<Vec<bool>, ChainError> {
        let call = |id: &Hash32| {
            ISettlement::isTradeSettledCall {
                tradeId: B256::new(*id.as_bytes()),
            }
            .abi_encode()
        };
        self.settlement_flags(at, trade_ids.iter().map(call)).await
    }

    async fn settlement_flags(
        &self,
        at: &BlockRef,
        calls: impl Iterator<Item = Vec<u8>> + Send,
    ) -> Result<Vec<bool>, ChainError> {
        let settlement = evm(&self.settlement()?);
        let calls = calls.map(|data| (settlement, data.into())).collect();
        let words = self.words(at, calls).await?;
        words
            .into_iter()
            .map(|word| match word {
                BaseUnits::ZERO => Ok(false),
                one if one == BaseUnits::from(1) => Ok(true),
                other => Err(self.malformed("eth_call", format!("{other} where true or false was expected"))),
            })
            .collect()
    }

    /// Returns the fees ever collected in each token at `at`, in base units.
    ///
    /// # Errors
    /// [`ChainError::Refused`] without a configured Settlement contract.
    pub async fn fees_collected(
        &self,
        at: &BlockRef,
        tokens: &[Address],
    ) -> Result<Vec<BaseUnits>, ChainError> {
        let settlement = evm(&self.settlement()?);
        let call = |token: &Address| ISettlement::totalFeesCollectedCall { token: evm(token) }.abi_encode();
        self.words(
            at,
            tokens
                .iter()
                .map(|token| (settlement, call(token).into()))
                .collect(),
        )
        .await
    }

    fn settlement(&self) -> Result<Address, ChainError> {
        let reason = "batches, trades and fees are read from the Settlement contract";
        self.settings
            .settlement
            .ok_or_else(|| ChainError::no_settlement(reason))
    }

    /// Returns the receipt of each transaction, in the order asked, with the head of the node that answered: an absent
    /// receipt proves nothing about blocks above that head. The head is asked in the same batch as the receipts and
    /// before them, so that behind a balancer the same backend answers for both.
    ///
    /// # Errors
    /// As any read; a receipt of another transaction is [`ChainError::Malformed`].
    pub async fn receipts(&self, tx_hashes: &[Hash32]) -> Result<Receipts, ChainError> {
        let method = "eth_getTransactionReceipt";
        let mut found = Receipts {
            receipts: Vec::with_capacity(tx_hashes.len()),
            head: u64::MAX,
        };
        let per_batch = self.settings.rpc.batch_calls.saturating_sub(1).max(1);
        for part in tx_hashes.chunks(per_batch) {
            let mut questions = vec![Question::new("eth_blockNumber", json!([]))];
            questions.extend(part.iter().map(|hash| Question::new(method, json!([hash]))));
            let answers: Vec<serde_json::Value> = self
                .ask_all(&questions)
                .await
                .map_err(|error| self.rpc.error(method, error))?;
            let mut answers = answers.into_iter();
            let head: U64 = self.typed_answer("eth_blockNumber", answers.next().unwrap_or_default())?;
            found.head = found.head.min(head.to());
            for (asked, answer) in part.iter().zip(answers) {
                let wire = self.typed_answer(method, answer)?;
                let receipt = self
                    .receipt(*asked, wire)
                    .map_err(|detail| self.malformed(method, detail))?;
                found.receipts.push(receipt);
            }
        }
        Ok(found)
    }

    pub(crate) fn typed_answer<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        answer: serde_json::Value,
    ) -> Result<T, ChainError> {
        serde_json::from_value(answer).map_err(|error| self.malformed(method, error.to_string()))
    }

    #[expect(clippy::unused_self, reason = "reads as a step of receipts()")]
    pub(crate) fn receipt(
        &self,
        asked: Hash32,
        answer: Option<ReceiptWire>,
    ) -> Result<Option<Receipt>, String> {
        let Some(wire) = answer else { return Ok(None) };
        let tx_hash = Hash32::new(wire.transaction_hash.0);
        if tx_hash != asked {
            return Err(format!("asked for {asked}, got the receipt of {tx_hash}"));
        }
        let (Some(number), Some(hash)) = (wire.block_number, wire.block_hash) else {
            return Ok(None);
        };
        let status = wire
            .status
            .ok_or_else(|| format!("the receipt of {tx_hash} has no status"))?;
        Ok(Some(Receipt {
            tx_hash,
            block_number: number.to(),
            block_hash: Hash32::new(hash.0),
            success: status == U64::from(1),
        }))
    }

    async fn words(
        &self,
        at: &BlockRef,
        calls: Vec<(EvmAddress, Bytes)>,
    ) -> Result<Vec<BaseUnits>, ChainError> {
        self.plain_reads(at, calls)
            .await?
            .iter()
            .map(|answer| word(answer).map_err(|detail| self.malformed("eth_call", detail)))
            .collect()
    }
}

/// `eth_getBalance` answers a quantity, `balanceOf` a word; an empty answer is neither.
fn held(token: Address, answer: &str) -> Result<BaseUnits, String> {
    if token == Address::ZERO {
        let digits = answer.strip_prefix("0x").filter(|digits| !digits.is_empty());
        let digits = digits.ok_or_else(|| format!("'{answer}' is not a quantity"))?;
        let wei = U256::from_str_radix(digits, 16).map_err(|error| format!("'{answer}': {error}"))?;
        return Ok(BaseUnits::from_be_bytes(wei.to_be_bytes()));
    }
    word(&answer.parse::<Bytes>().map_err(|error| error.to_string())?)
}
