//! Several questions in one HTTP request, in as many batches as the node demands.
//!
//! A batch that is refused as a whole is halved, or cut to the number the node names; what was accepted after a
//! refusal is remembered. Of a batch that was answered in part, only the refused calls are asked again.

use alloy_json_rpc::{Id, Request};
use serde::de::DeserializeOwned;

use super::pace::Retry;
use super::{
    Answer, NodeError, NodeErrorKind, Patience, Question, RpcClient, RpcError, hints, unserializable,
};

/// The answers so far, and the questions that have none.
struct Progress<T> {
    answers: Vec<Option<Answer<T>>>,
    /// Positions in the order of the questions.
    open: Vec<usize>,
}

impl RpcClient {
    /// Several questions in one HTTP request, or in several where the node takes no batch of this size; answers in
    /// the order of the questions.
    ///
    /// # Errors
    /// The node's refusal if it takes no batches at all: the calls can still be made one by one.
    pub(crate) async fn batch<T: DeserializeOwned>(
        &self,
        patience: Patience,
        questions: &[Question],
    ) -> Result<Vec<Answer<T>>, RpcError> {
        let mut progress = Progress {
            answers: std::iter::repeat_with(|| None).take(questions.len()).collect(),
            open: (0..questions.len()).collect(),
        };
        let mut most = self.batch_calls().min(questions.len());
        let mut retry = self.retry(patience);
        let (mut was_refused, mut waited) = (false, false);
        while !progress.open.is_empty() {
            let open = progress.open.len();
            let part: Vec<usize> = progress.open.iter().copied().take(most).collect();
            let refusal = match self.ask_part(questions, &part, &mut retry).await {
                Ok(answers) => progress.take(&part, answers).map(RpcError::Node),
                Err(error) => Some(error),
            };
            let progressed = progress.open.len() < open;
            if progressed {
                retry.progressed();
            }
            let Some(refusal) = refusal else {
                if was_refused && part.len() == most {
                    self.batch_was_accepted(most);
                    was_refused = false;
                }
                continue;
            };
            let is_limit = refusal.is_rate_limit() || is_kind(&refusal, NodeErrorKind::LimitExceeded);
            let smaller = smaller_batch(&refusal, part.len());
            if let Some(smaller) = smaller.filter(|_| !is_limit) {
                tracing::debug!(calls = part.len(), smaller, error = %refusal, "the node refuses a batch");
                was_refused |= refusal.is_about_batches();
                most = smaller;
                continue;
            }
            if !retry.again(&refusal).await {
                return Err(refusal);
            }
            self.count_retry();
            // A batch that costs more than the node grants in one period is never served as a whole.
            if is_limit && !progressed && waited {
                most = (part.len() / 2).max(1);
            }
            waited = is_limit && !progressed;
        }
        let missing = || RpcError::Malformed("a question without an answer".to_owned());
        progress
            .answers
            .into_iter()
            .map(|answer| answer.ok_or_else(missing))
            .collect()
    }

    async fn ask_part<T: DeserializeOwned>(
        &self,
        questions: &[Question],
        part: &[usize],
        retry: &mut Retry<'_>,
    ) -> Result<Vec<Answer<T>>, RpcError> {
        let first_id = self.ids(part.len());
        let requests: Vec<_> = part
            .iter()
            .zip(first_id..)
            .map(|(&position, id)| {
                let question = &questions[position];
                Request::new(question.method, Id::Number(id), &question.params)
            })
            .collect();
        let body = serde_json::to_vec(&requests).map_err(unserializable)?;
        let method = part.first().map_or("", |&position| questions[position].method);
        self.once(method, body.into(), first_id, part.len(), retry).await
    }
}

impl<T> Progress<T> {
    /// Keeps what was answered; what the node refuses for now stays open, and the refusal is returned.
    fn take(&mut self, part: &[usize], answers: Vec<Answer<T>>) -> Option<NodeError> {
        let too_large = answers.iter().filter(|answer| is_too_large(answer)).count();
        let mut refusal = None;
        let mut still_open = Vec::new();
        for (&position, answer) in part.iter().zip(answers) {
            match answer {
                Err(error) if is_for_now(&error, part.len(), too_large) => {
                    still_open.push(position);
                    refusal = Some(error);
                }
                other => self.answers[position] = Some(other),
            }
        }
        still_open.extend(self.open.drain(..).skip(part.len()));
        self.open = still_open;
        refusal
    }
}

/// Whether a call of a batch of `calls` may be answered when it is asked again.
fn is_for_now(error: &NodeError, calls: usize, too_large: usize) -> bool {
    match error.kind {
        kind if kind.passes_by_itself() => true,
        NodeErrorKind::BatchTooLarge => calls > 1,
        // go-ethereum answers so each call for which the batch left no room or no time.
        NodeErrorKind::TooLarge => too_large > 1,
        _ => false,
    }
}

fn is_kind(error: &RpcError, kind: NodeErrorKind) -> bool {
    matches!(error, RpcError::Node(node) if node.kind == kind)
}

fn is_too_large<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Err(error) if error.kind == NodeErrorKind::TooLarge)
}

/// The size to try after a batch of `calls` was refused; `None` if a smaller batch cannot help: the refusal is about
/// something else, or a batch of one is all that is left.
fn smaller_batch(refusal: &RpcError, calls: usize) -> Option<usize> {
    let is_about_the_size = refusal.is_refusal() || matches!(refusal, RpcError::AnswerTooLong(_));
    if !is_about_the_size {
        return None;
    }
    let named = match refusal {
        RpcError::Node(error) if error.kind == NodeErrorKind::BatchTooLarge => {
            let asked = u64::try_from(calls).unwrap_or(u64::MAX);
            hints::limit_below(&error.message.to_lowercase(), asked, &[])
        }
        _ => None,
    };
    let named = named.and_then(|named| usize::try_from(named).ok());
    Some(named.unwrap_or(calls / 2)).filter(|smaller| *smaller > 1)
}
