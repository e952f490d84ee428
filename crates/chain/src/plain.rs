//! Plain questions, batched where the node allows it: what the named reads and the cross-check are made of.

use alloy_json_rpc::RpcSend;
use alloy_primitives::{Address as EvmAddress, Bytes};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::balances::CallRequest;
use crate::rpc::{NodeError, NodeErrorKind, Patience, Question, RpcError};
use crate::{BlockRef, ChainError, ChainReader};

impl ChainReader {
    /// Makes one call; its error names the method.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: impl RpcSend,
    ) -> Result<T, ChainError> {
        let answer = self.rpc.call(method, params).await;
        answer.map_err(|error| self.rpc.error(method, error))
    }

    /// Makes one view call at `at`.
    pub(crate) async fn read(&self, at: &BlockRef, to: EvmAddress, data: Bytes) -> Result<Bytes, ChainError> {
        let mut answers = self.plain_reads(at, vec![(to, data)]).await?;
        answers
            .pop()
            .ok_or_else(|| self.malformed("eth_call", "no answer".to_owned()))
    }

    /// One view call at `at`; `None` if the contract reverts. Any other error says nothing about the contract.
    pub(crate) async fn try_read(
        &self,
        at: &BlockRef,
        to: EvmAddress,
        data: Bytes,
    ) -> Result<Option<Bytes>, ChainError> {
        match self.read(at, to, data).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ChainError::Node { code, message, .. })
                if NodeError::new(code, &message).kind == NodeErrorKind::Reverted =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Plain view calls at `at`, batched where the node allows it.
    pub(crate) async fn plain_reads(
        &self,
        at: &BlockRef,
        calls: Vec<(EvmAddress, Bytes)>,
    ) -> Result<Vec<Bytes>, ChainError> {
        self.ask_all_at(at, &self.call_questions(at, calls)).await
    }

    /// Plain view calls in one batch, or one request each. For the ladder, which wants to know what fails.
    pub(crate) async fn plain_calls(
        &self,
        at: &BlockRef,
        calls: Vec<(EvmAddress, Bytes)>,
        batched: bool,
    ) -> Result<Vec<Bytes>, RpcError> {
        let questions = self.call_questions(at, calls);
        if batched {
            if self.rpc.batch_calls() == 1 {
                return Err(RpcError::Malformed("the node takes no batches".to_owned()));
            }
            let answers = self.rpc.batch(Patience::NoRepeatOnTimeout, &questions).await?;
            return answers
                .into_iter()
                .map(|answer| answer.map_err(RpcError::Node))
                .collect();
        }
        self.one_by_one(&questions).await
    }

    fn call_questions(&self, at: &BlockRef, calls: Vec<(EvmAddress, Bytes)>) -> Vec<Question> {
        let question = |(to, data)| self.call_question(at, to, data);
        calls.into_iter().map(question).collect()
    }

    pub(crate) fn call_question(&self, at: &BlockRef, to: EvmAddress, data: Bytes) -> Question {
        let request = CallRequest { to, data, gas: None };
        Question::new("eth_call", json!((request, self.addressing.of(at))))
    }

    pub(crate) async fn ask_all_at<T: DeserializeOwned>(
        &self,
        at: &BlockRef,
        questions: &[Question],
    ) -> Result<Vec<T>, ChainError> {
        self.verify_state(at).await?;
        match self.ask_all(questions).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                let method = questions.first().map_or("eth_call", |question| question.method);
                Err(self.explain(at, self.rpc.error(method, error)).await)
            }
        }
    }

    /// Every question, in batches; one by one where the node refuses batches. The first refusal ends it.
    pub(crate) async fn ask_all<T: DeserializeOwned>(
        &self,
        questions: &[Question],
    ) -> Result<Vec<T>, RpcError> {
        let mut answers = Vec::with_capacity(questions.len());
        for part in questions.chunks(self.settings.rpc.batch_calls) {
            if part.len() == 1 || self.rpc.batch_calls() == 1 {
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
                    if error.is_about_batches() {
                        self.rpc.batch_was_accepted(1);
                    }
                }
            }
        }
        Ok(answers)
    }

    async fn one_by_one<T: DeserializeOwned>(&self, questions: &[Question]) -> Result<Vec<T>, RpcError> {
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            answers.push(self.rpc.call(question.method, &question.params).await?);
        }
        Ok(answers)
    }
}
