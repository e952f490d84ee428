//! What is verified when a reader connects: each refusal names the setting, its value and the fix.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, U64};
use alloy_sol_types::SolCall;
use eidos_types::{Address, Hash32};

use crate::balances::profile_views;
use crate::contracts::{self, ISettlement, IToken, evm};
use crate::layout::TOTALS;
use crate::reader::code_hash;
use crate::rpc::RpcError;
use crate::settings::AbiProfile;
use crate::{Addressing, BlockRef, ChainError, ChainReader, Rung};

fn refused(setting: &str, value: impl std::fmt::Display, reason: impl Into<String>, fix: &str) -> ChainError {
    ChainError::Refused {
        setting: setting.to_owned(),
        value: value.to_string(),
        reason: reason.into(),
        fix: fix.to_owned(),
    }
}

impl ChainReader {
    pub(crate) async fn verify_chain_id(&self) -> Result<(), ChainError> {
        let found: U64 = self
            .rpc
            .call("eth_chainId", ())
            .await
            .map_err(|error| self.rpc.error("eth_chainId", error))?;
        let found: u64 = found.to();
        if found == self.settings.chain_id {
            return Ok(());
        }
        Err(refused(
            "chain_id",
            self.settings.chain_id,
            format!("the node at {} is on chain {found}", self.rpc.endpoint()),
            "correct chain_id or rpc_url",
        ))
    }

    /// Whether the node takes a block hash (EIP-1898), and really looks at it: one that ignores it would answer
    /// for the head where it should answer for the pinned block.
    pub(crate) async fn probe_addressing(&self, known: &BlockRef) -> Result<Addressing, ChainError> {
        let nowhere = BlockRef {
            hash: Hash32::new([0x5a; 32]),
            ..*known
        };
        let vault = evm(&self.settings.vault);
        let ask = |block| {
            let params = (vault, Addressing::Hash.of(block));
            async move { self.rpc.call::<Bytes>("eth_getCode", params).await }
        };
        let known = ask(known).await;
        let unknown = ask(&nowhere).await;
        match (known, unknown) {
            (Ok(_), Err(RpcError::Node(_))) => Ok(Addressing::Hash),
            (Err(error), _) | (_, Err(error)) if error.is_outage() => {
                Err(self.rpc.error("eth_getCode", error))
            }
            _ => {
                tracing::warn!(
                    "the node does not take block hashes (EIP-1898): blocks are addressed by number"
                );
                Ok(Addressing::Number)
            }
        }
    }

    pub(crate) async fn verify_vault(&mut self, head: &BlockRef) -> Result<(), ChainError> {
        let vault = self.settings.vault;
        let code = self.code(head, &vault).await?;
        if code.is_empty() {
            return Err(refused(
                "vault",
                vault,
                "there is no contract at this address",
                "set the Vault's address",
            ));
        }
        self.vault_code_hash = code_hash(&code);
        self.verify_profile(head).await?;
        if self.balances_slot.is_none() && self.settings.profile == AbiProfile::EidosVault {
            let ours = contracts::vault_artifact()
                .ok()
                .filter(|artifact| artifact.deployed_bytecode == code)
                .and_then(|artifact| artifact.slot_of(TOTALS));
            self.balances_slot = ours;
        }
        Ok(())
    }

    /// Every view of the profile must answer one word.
    async fn verify_profile(&self, head: &BlockRef) -> Result<(), ChainError> {
        let vault = evm(&self.settings.vault);
        let (name, views) = profile_views(self.settings.profile);
        for (view, data) in views {
            if !self.answers_one_word(head, vault, data).await? {
                return Err(refused(
                    "profile",
                    name,
                    format!("the contract at vault {} has no view {view}", self.settings.vault),
                    "choose the profile the contract implements (eidos-vault, seed), or correct vault",
                ));
            }
        }
        Ok(())
    }

    pub(crate) async fn verify_settlement(&mut self, head: &BlockRef) -> Result<(), ChainError> {
        let Some(settlement) = self.settings.settlement else {
            return Ok(());
        };
        let probe = ISettlement::isBatchSettledCall {
            batchId: alloy_primitives::B256::ZERO,
        }
        .abi_encode();
        if !self
            .answers_one_word(head, evm(&settlement), probe.into())
            .await?
        {
            let reason = "the contract there has no view isBatchSettled";
            return Err(refused(
                "settlement",
                settlement,
                reason,
                "set the Settlement contract's address",
            ));
        }
        let question = ISettlement::feeRecipientCall {}.abi_encode().into();
        let answer = self.read(head, evm(&settlement), question).await?;
        let found = ISettlement::feeRecipientCall::abi_decode_returns(&answer)
            .map_err(|error| self.malformed("eth_call", format!("feeRecipient: {error}")))?;
        let found = Address::new(found.into_array());
        match self.settings.fee_recipient {
            Some(expected) if expected != found => Err(refused(
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

    /// Decimals are never assumed: a slip is a factor of 10^n in every balance of the token.
    pub(crate) async fn verify_tokens(&self, head: &BlockRef) -> Result<BTreeMap<Address, u8>, ChainError> {
        let mut decimals = BTreeMap::new();
        for (index, token) in self.settings.tokens.iter().enumerate() {
            if token.address != Address::ZERO {
                let found = self.decimals_on_chain(head, index, token).await?;
                if found != token.decimals {
                    return Err(refused(
                        &format!("tokens.{index}.decimals"),
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
        head: &BlockRef,
        index: usize,
        token: &crate::TokenSettings,
    ) -> Result<u8, ChainError> {
        let not_a_token = |reason: &str| {
            let fix = "set the token contract's address";
            refused(
                &format!("tokens.{index}.address"),
                token.address,
                format!("{}: {reason}", token.symbol),
                fix,
            )
        };
        let question = IToken::decimalsCall {}.abi_encode().into();
        match self.try_read(head, evm(&token.address), question).await? {
            Some(answer) if answer.is_empty() => Err(not_a_token("there is no contract at this address")),
            Some(answer) => IToken::decimalsCall::abi_decode_returns_validate(&answer)
                .map_err(|error| not_a_token(&format!("decimals() answers no uint8: {error}"))),
            None => Err(not_a_token("the contract has no decimals()")),
        }
    }

    /// Which rungs can work at all; the others are found out by using them.
    pub(crate) async fn probe_rungs(&self, head: &BlockRef) -> Result<(), ChainError> {
        for rung in self.settings.bulk.rungs.iter().copied() {
            if rung.needs_layout() && self.balances_slot.is_none() {
                let reason =
                    "the Vault's code is not that of this repository and bulk.balances_slot is not set";
                self.ladder.unavailable(rung, reason.to_owned());
            }
            if rung == Rung::Multicall3 {
                let address = self.settings.bulk.multicall;
                let code = self.code(head, &address).await?;
                if code.is_empty() {
                    self.ladder
                        .unavailable(rung, format!("there is no contract at {address}"));
                } else if code_hash(&code) != self.settings.bulk.multicall_code_hash {
                    let found = code_hash(&code);
                    self.ladder.unavailable(
                        rung,
                        format!("the code at {address} has the unknown hash {found}"),
                    );
                }
            }
        }
        Ok(())
    }

    async fn answers_one_word(
        &self,
        head: &BlockRef,
        to: alloy_primitives::Address,
        data: Bytes,
    ) -> Result<bool, ChainError> {
        Ok(self
            .try_read(head, to, data)
            .await?
            .is_some_and(|answer| answer.len() == 32))
    }
}
