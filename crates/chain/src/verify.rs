//! What is verified when a reader connects: each refusal names the setting, its value and the fix.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U64};
use alloy_sol_types::SolCall;
use eidos_types::{Address, Hash32};

use crate::balances::profile_views;
use crate::contracts::{self, ISettlement, IToken, evm};
use crate::layout::TOTALS;
use crate::reader::code_hash;
use crate::rpc::{NodeErrorKind, RpcError};
use crate::settings::AbiProfile;
use crate::start::Start;
use crate::{Addressing, BlockRef, ChainError, ChainReader, Rung};

impl ChainReader {
    /// Checks that the node is on the configured chain: what is behind an address may be replaced while a process runs.
    ///
    /// # Errors
    /// [`ChainError::Refused`] if it is on another one; as any read.
    pub async fn verify_chain_id(&self) -> Result<(), ChainError> {
        let found: u64 = self.query::<U64>("eth_chainId", ()).await?.to();
        if found == self.settings.chain_id {
            return Ok(());
        }
        Err(ChainError::refused(
            "chain_id",
            self.settings.chain_id,
            format!("the node at {} is on chain {found}", self.rpc.endpoint()),
            "correct chain_id or rpc_url",
        ))
    }

    /// Checks whether the node takes a block hash (EIP-1898), and really looks at it: one that ignores it would answer
    /// for the head where it should answer for the pinned block.
    ///
    /// # Errors
    /// Any answer that says neither, such as a pruned state or an internal error: the caller asks again.
    pub(crate) async fn probe_addressing(&self, known: &BlockRef) -> Result<Addressing, ChainError> {
        let nowhere = BlockRef {
            hash: Hash32::new([0x5a; 32]),
            ..*known
        };
        match self.code_by(Addressing::Hash, known).await {
            Ok(_code) => {}
            Err(RpcError::Node(error)) if error.kind == NodeErrorKind::Unsupported => {
                return Ok(self.by_number(&error.to_string()));
            }
            Err(error) => return self.hashes_refused(known, error).await,
        }
        match self.code_by(Addressing::Hash, &nowhere).await {
            Ok(_code) => Ok(self.by_number("it answers for a block that does not exist")),
            Err(RpcError::Node(error)) if !error.kind.passes_by_itself() => Ok(Addressing::Hash),
            Err(error) => Err(self.rpc.error("eth_getCode", error)),
        }
    }

    /// Takes an error whose meaning is not known for a refusal of hashes only if the same question by number is
    /// answered, and by hash still is not.
    async fn hashes_refused(&self, known: &BlockRef, first: RpcError) -> Result<Addressing, ChainError> {
        let RpcError::Node(error) = &first else {
            return Err(self.rpc.error("eth_getCode", first));
        };
        if error.kind == NodeErrorKind::Other {
            let by_number = self.code_by(Addressing::Number, known).await;
            let again = self.code_by(Addressing::Hash, known).await;
            if by_number.is_ok() && matches!(&again, Err(RpcError::Node(second)) if second == error) {
                return Ok(self.by_number(&error.to_string()));
            }
        }
        Err(self.explain(known, self.rpc.error("eth_getCode", first)).await)
    }

    async fn code_by(&self, addressing: Addressing, block: &BlockRef) -> Result<Bytes, RpcError> {
        let params = (evm(&self.settings.vault), addressing.of(block));
        self.rpc.call("eth_getCode", params).await
    }

    #[expect(clippy::unused_self, reason = "reads as a step of probe_addressing()")]
    fn by_number(&self, reason: &str) -> Addressing {
        tracing::warn!(
            reason,
            "the node does not take block hashes (EIP-1898): blocks are addressed by number"
        );
        Addressing::Number
    }

    pub(crate) async fn verify_vault(&mut self, start: &Start, at: &BlockRef) -> Result<(), ChainError> {
        let vault = self.settings.vault;
        let code = start.ask(|| self.code(at, &vault)).await?;
        if code.is_empty() {
            return Err(self.no_vault(start, at).await?);
        }
        self.vault_code_hash = code_hash(&code);
        self.verify_profile(start, at).await?;
        if self.balances_slot.is_none() && self.settings.profile == AbiProfile::EidosVault {
            let ours = contracts::vault_artifact()
                .ok()
                .filter(|artifact| artifact.deployed_bytecode == code)
                .and_then(|artifact| artifact.slot_of(TOTALS));
            self.balances_slot = ours;
        }
        Ok(())
    }

    /// Returns the refusal of a Vault that has no code at the final block: it is newer than that, or it is elsewhere.
    async fn no_vault(&self, start: &Start, at: &BlockRef) -> Result<ChainError, ChainError> {
        let vault = self.settings.vault;
        let head = start.ask(|| self.head()).await?;
        if head.number <= at.number || start.ask(|| self.code(&head, &vault)).await?.is_empty() {
            return Ok(ChainError::refused(
                "vault",
                vault,
                "there is no contract at this address",
                "set the Vault's address",
            ));
        }
        let reason = format!(
            "the newest final block is {}, and the Vault was deployed after it (it is there at the head, {})",
            at.number, head.number
        );
        Ok(ChainError::refused(
            "finality",
            self.settings.finality,
            reason,
            "start again when the deployment is final; a chain whose final block stays at 0 needs finality: {depth: N}",
        ))
    }

    /// Checks that every view of the profile answers one word.
    async fn verify_profile(&self, start: &Start, at: &BlockRef) -> Result<(), ChainError> {
        let vault = evm(&self.settings.vault);
        let (name, views) = profile_views(self.settings.profile);
        for (view, data) in views {
            if !self.answers_one_word(start, at, vault, data).await? {
                return Err(ChainError::refused(
                    "profile",
                    name,
                    format!("the contract at vault {} has no view {view}", self.settings.vault),
                    "choose the profile the contract implements (eidos-vault, seed), or correct vault",
                ));
            }
        }
        Ok(())
    }

    pub(crate) async fn verify_settlement(&mut self, start: &Start, at: &BlockRef) -> Result<(), ChainError> {
        let Some(settlement) = self.settings.settlement else {
            return Ok(());
        };
        let probe = ISettlement::isBatchSettledCall {
            batchId: alloy_primitives::B256::ZERO,
        }
        .abi_encode();
        if !self
            .answers_one_word(start, at, evm(&settlement), probe.into())
            .await?
        {
            let reason = "the contract there has no view isBatchSettled";
            return Err(ChainError::refused(
                "settlement",
                settlement,
                reason,
                "set the Settlement contract's address",
            ));
        }
        let question = Bytes::from(ISettlement::feeRecipientCall {}.abi_encode());
        let answer = start
            .ask(|| self.read(at, evm(&settlement), question.clone()))
            .await?;
        let found = ISettlement::feeRecipientCall::abi_decode_returns(&answer)
            .map_err(|error| self.malformed("eth_call", format!("feeRecipient: {error}")))?;
        let found = Address::new(found.into_array());
        match self.settings.fee_recipient {
            Some(expected) if expected != found => Err(ChainError::refused(
                "fee_recipient",
                expected,
                format!("the Settlement contract pays fees to {found}"),
                "correct fee_recipient, or leave it out to take the contract's",
            )),
            _ => {
                self.fee_recipient = Some(found);
                Ok(())
            }
        }
    }

    /// Compares the decimals with the contracts': a slip is a factor of 10^n in every balance of the token.
    pub(crate) async fn verify_tokens(
        &self,
        start: &Start,
        at: &BlockRef,
    ) -> Result<BTreeMap<Address, u8>, ChainError> {
        let mut decimals = BTreeMap::new();
        for (index, token) in self.settings.tokens.iter().enumerate() {
            if token.address != Address::ZERO {
                let found = self.decimals_on_chain(start, at, index, token).await?;
                if found != token.decimals {
                    return Err(ChainError::refused(
                        format!("tokens.{index}.decimals"),
                        token.decimals,
                        format!(
                            "the contract of {} at {} has {found}",
                            token.symbol, token.address
                        ),
                        "set the contract's decimals",
                    ));
                }
            }
            decimals.insert(token.address, token.decimals);
        }
        Ok(decimals)
    }

    async fn decimals_on_chain(
        &self,
        start: &Start,
        at: &BlockRef,
        index: usize,
        token: &crate::TokenSettings,
    ) -> Result<u8, ChainError> {
        let not_a_token = |reason: &str| {
            let fix = "set the token contract's address";
            ChainError::refused(
                format!("tokens.{index}.address"),
                token.address,
                format!("{}: {reason}", token.symbol),
                fix,
            )
        };
        let question = Bytes::from(IToken::decimalsCall {}.abi_encode());
        let answer = start
            .ask(|| self.try_read(at, evm(&token.address), question.clone()))
            .await?;
        match answer {
            Some(answer) if answer.is_empty() => Err(not_a_token("there is no contract at this address")),
            Some(answer) => IToken::decimalsCall::abi_decode_returns_validate(&answer)
                .map_err(|error| not_a_token(&format!("decimals() answers no uint8: {error}"))),
            None => Err(not_a_token("the contract has no decimals()")),
        }
    }

    /// Finds out which rungs can work at all; the others show it when they are used. A list of which none works is
    /// refused.
    pub(crate) async fn probe_rungs(&self, start: &Start, at: &BlockRef) -> Result<(), ChainError> {
        let rungs = &self.settings.bulk.rungs;
        for rung in rungs.iter().copied() {
            if rung.needs_layout() && self.balances_slot.is_none() {
                let reason =
                    "the Vault's code is not that of this repository and bulk.balances_slot is not set";
                self.ladder.unavailable(rung, reason.to_owned());
            }
        }
        start.ask(|| self.probe_multicall(at)).await?;
        // Plain calls work wherever the views were just read.
        if rungs.contains(&Rung::Single) {
            return Ok(());
        }
        match start.ask(|| self.try_rungs(at)).await {
            Err(ChainError::LadderExhausted { reasons }) => Err(ChainError::refused(
                "bulk.rungs",
                rungs
                    .iter()
                    .map(|rung| rung.name())
                    .collect::<Vec<_>>()
                    .join(", "),
                format!("this node serves none of them: {}", reasons.join("; ")),
                "add single, which every node serves, or leave bulk.rungs out",
            )),
            other => other,
        }
    }

    /// Makes one small bulk read with the rungs that are listed.
    async fn try_rungs(&self, at: &BlockRef) -> Result<(), ChainError> {
        let token = self
            .settings
            .tokens
            .first()
            .map_or(Address::ZERO, |token| token.address);
        self.vault_totals(at, &[(self.settings.vault, token)])
            .await
            .map(drop)
    }

    /// Checks whether Multicall3 is where it should be, and is what it should be.
    pub(crate) async fn probe_multicall(&self, at: &BlockRef) -> Result<(), ChainError> {
        let bulk = &self.settings.bulk;
        if !bulk.rungs.contains(&Rung::Multicall3) {
            return Ok(());
        }
        let (address, code) = (bulk.multicall, self.code(at, &bulk.multicall).await?);
        if code.is_empty() {
            let reason = format!("there is no contract at {address}");
            self.ladder.unavailable(Rung::Multicall3, reason);
        } else if code_hash(&code) == bulk.multicall_code_hash {
            self.ladder.available(Rung::Multicall3);
        } else {
            let reason = format!("the code at {address} has the unknown hash {}", code_hash(&code));
            self.ladder.unavailable(Rung::Multicall3, reason);
        }
        Ok(())
    }

    async fn answers_one_word(
        &self,
        start: &Start,
        at: &BlockRef,
        to: alloy_primitives::Address,
        data: Bytes,
    ) -> Result<bool, ChainError> {
        Ok(start
            .ask(|| self.try_read(at, to, data.clone()))
            .await?
            .is_some_and(|answer| answer.len() == 32))
    }
}
