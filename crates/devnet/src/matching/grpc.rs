//! `eidos.matching.v1.MatchingService`: batches in, verdicts out, and a window between them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eidos_proto::matching::v1::matching_service_server::MatchingService;
use eidos_proto::matching::v1::{
    ExpireOrder, ExpireOrderVerdict, ExpireOrdersRequest, ExpireOrdersResponse, RemovalReason,
};
use futures::future::{Either, select};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::book::{Answer, Ask, Outgoing, Via};
use super::engine::Engine;

/// The contract's largest batch.
const LARGEST_BATCH: usize = 500;
/// The contract's longest id.
const LONGEST_ID: usize = 128;
/// Orders that a caller may send before it has heard a window: one batch.
const FIRST_WINDOW: u32 = 500;
/// Responses that wait for the network.
const RESPONSES: usize = 16;

/// Serves one life of the engine, until `stop`.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) engine: Arc<Engine>,
    pub(super) outbox: mpsc::Sender<Outgoing>,
    pub(super) stop: CancellationToken,
}

type Reply = Result<ExpireOrdersResponse, Status>;

#[tonic::async_trait]
impl MatchingService for Service {
    type ExpireOrdersStream = ReceiverStream<Reply>;

    async fn expire_orders(
        &self,
        request: Request<Streaming<ExpireOrdersRequest>>,
    ) -> Result<Response<Self::ExpireOrdersStream>, Status> {
        let (replies, stream) = mpsc::channel(RESPONSES);
        let conversation = Conversation {
            service: self.clone(),
            replies: replies.clone(),
            unanswered: AtomicU32::new(0),
            largest_window: AtomicU32::new(FIRST_WINDOW),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = stop.cancelled() => Err(Status::unavailable("the engine restarts")),
                ended = conversation.hold(request.into_inner()) => ended,
            };
            if let Err(status) = ended {
                // An error means that the caller is gone, which ends the conversation as well.
                let _ = replies.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// One stream.
struct Conversation {
    service: Service,
    replies: mpsc::Sender<Reply>,
    /// Orders that were received and have no verdict yet.
    unanswered: AtomicU32,
    /// The largest window that the caller was ever told on this stream: it may not have seen a smaller one yet.
    largest_window: AtomicU32,
}

impl Conversation {
    /// Reads batches and answers them, side by side, until the caller has no more.
    async fn hold(&self, requests: Streaming<ExpireOrdersRequest>) -> Result<(), Status> {
        self.reply(Vec::new(), self.window()).await?;
        let (queue, batches) = mpsc::unbounded_channel();
        let reading = pin!(self.read(requests, queue));
        let answering = pin!(self.answer_all(batches));
        match select(reading, answering).await {
            Either::Left((read, answering)) => {
                read?;
                answering.await
            }
            Either::Right((answered, _reading)) => answered,
        }
    }

    /// Queues what the caller sends. The window bounds the queue: who ignores it is refused.
    async fn read(
        &self,
        mut requests: Streaming<ExpireOrdersRequest>,
        queue: mpsc::UnboundedSender<Vec<ExpireOrder>>,
    ) -> Result<(), Status> {
        while let Some(ExpireOrdersRequest { orders }) = requests.message().await? {
            check(&orders)?;
            let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
            let unanswered = self.unanswered.fetch_add(count, Ordering::Relaxed) + count;
            let window = self.largest_window.load(Ordering::Relaxed);
            if unanswered > window {
                let text = format!("{unanswered} orders without a verdict, the window is {window}");
                return Err(Status::resource_exhausted(text));
            }
            if queue.send(orders).is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn answer_all(&self, mut batches: mpsc::UnboundedReceiver<Vec<ExpireOrder>>) -> Result<(), Status> {
        while let Some(orders) = batches.recv().await {
            let faults = self.service.engine.misbehaviour();
            if self.falls(faults.pause) {
                self.reply(Vec::new(), 0).await?;
                wait_ms(faults.pause_ms).await;
                self.reply(Vec::new(), self.window()).await?;
            }
            wait_ms(faults.slow_ms).await;
            self.answer(orders, faults.break_stream).await?;
        }
        Ok(())
    }

    async fn answer(&self, orders: Vec<ExpireOrder>, break_stream: u16) -> Result<(), Status> {
        let asks: Vec<Ask> = orders.into_iter().map(ask).collect();
        let answers = self.service.engine.ask(&asks, &self.service.outbox).await;
        let answers = answers.map_err(|error| Status::unavailable(format!("{error:#}")))?;
        if self.falls(break_stream) {
            return Err(Status::unavailable("the engine is no leader any more"));
        }
        let answered = asks.iter().zip(answers);
        let verdicts: Vec<_> = answered
            .filter_map(|(ask, answer)| answer.map(|answer| verdict(ask, answer)))
            .collect();
        let count = u32::try_from(verdicts.len()).unwrap_or(u32::MAX);
        self.unanswered.fetch_sub(count, Ordering::Relaxed);
        self.reply(verdicts, self.window()).await
    }

    fn falls(&self, per_mille: u16) -> bool {
        self.service.engine.books().falls(|_faults| per_mille)
    }

    fn window(&self) -> u32 {
        self.service.engine.books().misbehaviour.window
    }

    async fn reply(&self, verdicts: Vec<ExpireOrderVerdict>, window: u32) -> Result<(), Status> {
        self.largest_window.fetch_max(window, Ordering::Relaxed);
        let reply = Ok(ExpireOrdersResponse { verdicts, window });
        let sent = self.replies.send(reply).await;
        sent.map_err(|_gone| Status::cancelled("the caller is gone"))
    }
}

fn check(orders: &[ExpireOrder]) -> Result<(), Status> {
    if orders.is_empty() || orders.len() > LARGEST_BATCH {
        let text = format!("a batch has 1 to {LARGEST_BATCH} orders, not {}", orders.len());
        return Err(Status::invalid_argument(text));
    }
    match orders
        .iter()
        .find(|order| order.idempotency_id.is_empty() || order.idempotency_id.len() > LONGEST_ID)
    {
        Some(order) => Err(Status::invalid_argument(format!(
            "the idempotency id of {} has {} bytes; 1 to {LONGEST_ID} are allowed",
            order.order_id,
            order.idempotency_id.len()
        ))),
        None => Ok(()),
    }
}

fn ask(order: ExpireOrder) -> Ask {
    let reason = order.reason();
    Ask {
        idempotency_id: order.idempotency_id,
        order_id: order.order_id,
        market: order.market,
        wallet: order.wallet,
        attempt_epoch: order.attempt_epoch,
        reason: if reason == RemovalReason::Unspecified && order.expire_at > 0 {
            RemovalReason::Expired
        } else {
            reason
        },
        via: Via::Grpc,
    }
}

fn verdict(ask: &Ask, answer: Answer) -> ExpireOrderVerdict {
    ExpireOrderVerdict {
        idempotency_id: ask.idempotency_id.clone(),
        order_id: ask.order_id.clone(),
        outcome: answer.outcome.into(),
        reason: answer.reason,
        retry_after_ms: answer.retry_after_ms,
    }
}

async fn wait_ms(ms: u32) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(u64::from(ms))).await;
    }
}
