//! Plain reads at a pinned block: blocks, code, views, receipts.

use alloy_primitives::{Address as EvmAddress, B256, Bytes, U64, U256};
use alloy_sol_types::SolCall;
use eidos_types::{Address, BaseUnits, Hash32};
use serde::Deserialize;
use serde_json::json;

use crate::balances::{CallRequest, word};
use crate::block::Header;
use crate::contracts::{ISettlement, IToken, IVault, evm};
use crate::reader::code_hash;
use crate::rpc::{NodeErrorKind, Patience, Question, RpcError};
use crate::{BlockRef, ChainError, ChainReader, Finality};

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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptWire {
    transaction_hash: B256,
    block_number: Option<U64>,
    block_hash: Option<B256>,
    status: Option<U64>,
}

impl ChainReader {
    /// The newest block that is final by the configured policy.
    ///
    /// # Errors
    /// [`ChainError::Refused`] if the node does not know finality; the fix is a depth.
    pub async fn finalized(&self) -> Result<BlockRef, ChainError> {
        let tag = match self.settings.finality {
            Finality::Finalized => "finalized",
            Finality::Safe => "safe",
            Finality::Depth(depth) => {
                let head = self.head().await?;
                let number = head.number.saturating_sub(depth);
                return self.block(number).await?.ok_or_else(|| {
                    self.malformed(
                        "eth_getBlockByNumber",
                        format!("no block {number}, yet the head is {head}"),
                    )
                });
            }
        };
        let unknown = || ChainError::Refused {
            setting: "finality".to_owned(),
            value: tag.to_owned(),
            reason: format!("the node at {} has no {tag} block", self.rpc.endpoint()),
            fix: "use finality: {depth: N} for a chain without finality".to_owned(),
        };
        match self.header(json!(tag)).await {
            Ok(header) => header.and_then(|header| header.block()).ok_or_else(unknown),
            Err(RpcError::Node(error))
                if matches!(
                    error.kind,
                    NodeErrorKind::Unsupported | NodeErrorKind::StateUnavailable
                ) =>
            {
                Err(unknown())
            }
            Err(error) => Err(self.rpc.error("eth_getBlockByNumber", error)),
        }
    }

    /// The newest block, final or not.
    ///
    /// # Errors
    /// As any read.
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        self.header(json!("latest"))
            .await
            .map_err(|error| self.rpc.error("eth_getBlockByNumber", error))?
            .and_then(|header| header.block())
            .ok_or_else(|| self.malformed("eth_getBlockByNumber", "no latest block".to_owned()))
    }

    /// The canonical block of this number; `None` if the chain (as this node sees it) is shorter.
    ///
    /// # Errors
    /// As any read; an answer for another number is [`ChainError::Malformed`].
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ChainError> {
        Ok(self
            .header_by_number(number)
            .await?
            .and_then(|header| header.block()))
    }

    /// The block of this hash, canonical or not; `None` if the node does not know it.
    ///
    /// # Errors
    /// As any read; an answer with another hash is [`ChainError::Malformed`].
    pub async fn header_by_hash(&self, hash: Hash32) -> Result<Option<BlockRef>, ChainError> {
        let method = "eth_getBlockByHash";
        let header: Option<Header> = self
            .rpc
            .call(method, (hash, false))
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        let Some(block) = header.and_then(|header| header.block()) else {
            return Ok(None);
        };
        if block.hash != hash {
            return Err(self.malformed(method, format!("asked for {hash}, got block {block}")));
        }
        Ok(Some(block))
    }

    pub(crate) async fn header_by_number(&self, number: u64) -> Result<Option<Header>, ChainError> {
        let method = "eth_getBlockByNumber";
        let header = self
            .header(json!(U64::from(number)))
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        match header.as_ref().and_then(Header::block) {
            Some(block) if block.number != number => {
                Err(self.malformed(method, format!("asked for block {number}, got block {block}")))
            }
            _ => Ok(header),
        }
    }

    async fn header(&self, which: serde_json::Value) -> Result<Option<Header>, RpcError> {
        self.rpc.call("eth_getBlockByNumber", (which, false)).await
    }

    /// Makes sure that `at` is on the chain this node calls canonical.
    ///
    /// # Errors
    /// [`ChainError::Reorged`] if it is not.
    pub async fn verify_canonical(&self, at: &BlockRef) -> Result<(), ChainError> {
        let found = self.block(at.number).await?.map(|block| block.hash);
        if found == Some(at.hash) {
            return Ok(());
        }
        Err(ChainError::Reorged {
            number: at.number,
            expected: at.hash,
            found,
        })
    }

    /// Replaces "the node cannot" by "the block is gone" where that is the reason.
    pub(crate) async fn explain(&self, at: &BlockRef, error: ChainError) -> ChainError {
        let unavailable = match &error {
            ChainError::Node { code, message, .. } => {
                crate::rpc::NodeError::new(*code, message).kind == NodeErrorKind::StateUnavailable
            }
            _ => false,
        };
        if !unavailable {
            return error;
        }
        match self.verify_canonical(at).await {
            Err(reorged @ ChainError::Reorged { .. }) => reorged,
            _ => ChainError::StateUnavailable {
                number: at.number,
                hash: at.hash,
                detail: error.to_string(),
            },
        }
    }

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

    /// The Keccak hash of the code of `address` at `at`: a Vault whose code changed is a Vault to look at.
    ///
    /// # Errors
    /// As any read at a block.
    pub async fn code_hash(&self, at: &BlockRef, address: &Address) -> Result<Hash32, ChainError> {
        Ok(code_hash(&self.code(at, address).await?))
    }

    /// What the Vault itself holds of each token at `at`, in base units and in the order of `tokens`: the
    /// token's `balanceOf(vault)`, or the native balance for the zero address.
    ///
    /// # Errors
    /// As any read at a block.
    pub async fn token_held(&self, at: &BlockRef, tokens: &[Address]) -> Result<Vec<BaseUnits>, ChainError> {
        let vault = evm(&self.settings.vault);
        let question = |token: &Address| {
            if *token == Address::ZERO {
                return Question {
                    method: "eth_getBalance",
                    params: json!((vault, self.addressing.of(at))),
                };
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

    /// The locked part of each wallet's total at `at` (interface A only), in base units.
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

    /// Which batches the Settlement contract calls settled at `at`, in the order asked.
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

    /// Which trades the Settlement contract calls settled at `at`, in the order asked.
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

    /// Fees ever collected in each token at `at`, in base units.
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
        self.settings.settlement.ok_or_else(|| ChainError::Refused {
            setting: "settlement".to_owned(),
            value: "(not set)".to_owned(),
            reason: "batches, trades and fees are read from the Settlement contract".to_owned(),
            fix: "set the Settlement contract's address".to_owned(),
        })
    }

    /// The receipt of each transaction, in the order asked; `None` for one that is not mined (or not known).
    ///
    /// # Errors
    /// As any read; a receipt of another transaction is [`ChainError::Malformed`].
    pub async fn receipts(&self, tx_hashes: &[Hash32]) -> Result<Vec<Option<Receipt>>, ChainError> {
        let method = "eth_getTransactionReceipt";
        let questions: Vec<Question> = tx_hashes
            .iter()
            .map(|hash| Question {
                method,
                params: json!([hash]),
            })
            .collect();
        let answers: Vec<Option<ReceiptWire>> = self
            .ask_all(&questions)
            .await
            .map_err(|error| self.rpc.error(method, error))?;
        tx_hashes
            .iter()
            .zip(answers)
            .map(|(asked, answer)| {
                self.receipt(*asked, answer)
                    .map_err(|detail| self.malformed(method, detail))
            })
            .collect()
    }

    #[expect(clippy::unused_self, reason = "reads as a step of receipts()")]
    fn receipt(&self, asked: Hash32, answer: Option<ReceiptWire>) -> Result<Option<Receipt>, String> {
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

    /// One view call at `at`.
    pub(crate) async fn read(&self, at: &BlockRef, to: EvmAddress, data: Bytes) -> Result<Bytes, ChainError> {
        let mut answers = self.plain_reads(at, vec![(to, data)]).await?;
        answers
            .pop()
            .ok_or_else(|| self.malformed("eth_call", "no answer".to_owned()))
    }

    /// One view call at `at`; `None` if the contract reverts.
    pub(crate) async fn try_read(
        &self,
        at: &BlockRef,
        to: EvmAddress,
        data: Bytes,
    ) -> Result<Option<Bytes>, ChainError> {
        match self.read(at, to, data).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ChainError::Node { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Plain view calls at `at`, batched where the node allows it.
    pub(crate) async fn plain_reads(
        &self,
        at: &BlockRef,
        calls: Vec<(EvmAddress, Bytes)>,
    ) -> Result<Vec<Bytes>, ChainError> {
        let questions: Vec<Question> = calls
            .into_iter()
            .map(|(to, data)| self.call_question(at, to, data))
            .collect();
        self.ask_all_at(at, &questions).await
    }

    /// Plain view calls in one batch, or one request each. For the ladder, which wants to know what fails.
    pub(crate) async fn plain_calls(
        &self,
        at: &BlockRef,
        calls: Vec<(EvmAddress, Bytes)>,
        batched: bool,
    ) -> Result<Vec<Bytes>, RpcError> {
        let questions: Vec<Question> = calls
            .into_iter()
            .map(|(to, data)| self.call_question(at, to, data))
            .collect();
        if batched {
            let answers = self.rpc.batch(Patience::NoRepeatOnTimeout, &questions).await?;
            return answers
                .into_iter()
                .map(|answer| answer.map_err(RpcError::Node))
                .collect();
        }
        self.one_by_one(&questions).await
    }

    fn call_question(&self, at: &BlockRef, to: EvmAddress, data: Bytes) -> Question {
        let request = CallRequest { to, data, gas: None };
        Question {
            method: "eth_call",
            params: json!((request, self.addressing.of(at))),
        }
    }

    async fn ask_all_at<T: serde::de::DeserializeOwned>(
        &self,
        at: &BlockRef,
        questions: &[Question],
    ) -> Result<Vec<T>, ChainError> {
        match self.ask_all(questions).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                let method = questions.first().map_or("eth_call", |question| question.method);
                Err(self.explain(at, self.rpc.error(method, error)).await)
            }
        }
    }

    /// Every question, in batches; one by one where the node refuses batches. The first refusal ends it.
    pub(crate) async fn ask_all<T: serde::de::DeserializeOwned>(
        &self,
        questions: &[Question],
    ) -> Result<Vec<T>, RpcError> {
        let mut answers = Vec::with_capacity(questions.len());
        for part in questions.chunks(self.settings.rpc.batch_calls) {
            if part.len() == 1 {
                answers.extend(self.one_by_one(part).await?);
                continue;
            }
            match self.rpc.batch::<T>(Patience::Full, part).await {
                Ok(batch) => {
                    for answer in batch {
                        answers.push(answer?);
                    }
                }
                Err(error) if error.is_outage() => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the node refuses a batch; the calls are made one by one");
                    answers.extend(self.one_by_one(part).await?);
                }
            }
        }
        Ok(answers)
    }

    async fn one_by_one<T: serde::de::DeserializeOwned>(
        &self,
        questions: &[Question],
    ) -> Result<Vec<T>, RpcError> {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(self.rpc.call(question.method, &question.params).await?);
        }
        Ok(answers)
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
