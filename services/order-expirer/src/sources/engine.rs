//! The matching engine over gRPC: one stream of batches and verdicts (`proto/eidos/matching/v1`).

use std::time::Duration;

use anyhow::Context as _;
use eidos_proto::matching::v1::matching_service_client::MatchingServiceClient;
use eidos_proto::matching::v1::{
    ExpireOrder, ExpireOrderVerdict, ExpireOrdersRequest, ExpireOrdersResponse, Outcome, RemovalReason,
};
use eidos_settings::SecuritySection;
use eidos_telemetry::trace_context;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request as GrpcRequest, Response, Status, Streaming};

use super::printable;
use crate::domain::life::{Reason, Verdict};
use crate::settings::MatchingSection;
use crate::store::requests::Request;

/// Messages that may wait for the network; beyond, the caller reads answers first.
const QUEUE: usize = 64;
/// Verdicts that are taken together, so that they are committed together.
const GATHERED: usize = 1_000;

/// How to reach the engine. Nothing is connected before [`Engine::open`].
#[derive(Debug, Clone)]
pub struct Engine {
    endpoint: Endpoint,
    token: Option<SecretString>,
    connect_timeout: Duration,
    answer_timeout: Duration,
}

/// Why a stream cannot be used any more. Nothing is known about orders without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No connection.
    #[error("no connection to the matching engine (matching.url): {0}")]
    Connect(#[source] tonic::transport::Error),
    /// The engine ended the stream.
    #[error("the matching engine ended the stream: {code:?}: {message}", code = .0.code(), message = .0.message())]
    Status(#[source] Box<Status>),
    /// The stream ended while orders had no verdict.
    #[error("the matching engine ended the stream without an answer for every order")]
    Ended,
    /// No answer in time.
    #[error("the matching engine did not answer within {0:?}")]
    TimedOut(Duration),
}

impl EngineError {
    /// Whether asking again cannot help before an operator has acted: the engine refuses this caller or its messages.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        use tonic::Code;
        matches!(self, Self::Status(status) if matches!(status.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented))
    }
}

/// Verdicts, and how many orders may be without one from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// For each order: id, verdict, reason, shortest pause.
    pub verdicts: Vec<OrderVerdict>,
    /// The newest window. `None`: who answers names none.
    pub window: Option<u32>,
}

/// The verdict for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderVerdict {
    /// The id of the attempt.
    pub idempotency_id: String,
    /// What the engine says.
    pub verdict: Verdict,
    /// For people; may be empty.
    pub reason: String,
    /// The shortest pause before the next request, milliseconds.
    pub retry_after_ms: i64,
}

type Opening = BoxFuture<'static, Result<Response<Streaming<ExpireOrdersResponse>>, Status>>;

enum Reading {
    /// The engine may answer the call itself only after it has read the first batch.
    Opening(Opening),
    Open(Box<Streaming<ExpireOrdersResponse>>),
}

/// One stream.
pub struct ExpireStream {
    sending: mpsc::Sender<ExpireOrdersRequest>,
    reading: Reading,
    answer_timeout: Duration,
    /// Why the stream ended, where that came behind the last answers.
    failed: Option<EngineError>,
}

impl Engine {
    /// Prepares the connection.
    ///
    /// # Errors
    /// If the URL or a certificate cannot be used.
    pub fn new(settings: &MatchingSection, security: &SecuritySection) -> anyhow::Result<Self> {
        let encrypted = security.grpc_tls() || settings.url.starts_with("https://");
        let url = match settings.url.strip_prefix("http://") {
            Some(rest) if encrypted => format!("https://{rest}"),
            _ => settings.url.clone(),
        };
        let mut endpoint = Endpoint::from_shared(url)
            .context("matching.url")?
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(Some(settings.keep_alive))
            .http2_keep_alive_interval(settings.keep_alive)
            .keep_alive_timeout(settings.answer_timeout)
            .keep_alive_while_idle(true);
        if encrypted {
            endpoint = endpoint.tls_config(tls(security)?).context("security.grpc")?;
        }
        Ok(Self {
            endpoint,
            token: settings.token.clone(),
            connect_timeout: settings.connect_timeout,
            answer_timeout: settings.answer_timeout,
        })
    }

    /// Opens a stream. Returns once the connection is there, before the engine has said anything.
    ///
    /// # Errors
    /// [`EngineError::Connect`], [`EngineError::TimedOut`].
    pub async fn open(&self) -> Result<ExpireStream, EngineError> {
        let channel = self.connect().await?;
        let (sending, batches) = mpsc::channel(QUEUE);
        let mut request = GrpcRequest::new(ReceiverStream::new(batches));
        self.fill(request.metadata_mut());
        let mut client = MatchingServiceClient::new(channel);
        let opening = async move { client.expire_orders(request).await }.boxed();
        Ok(ExpireStream {
            sending,
            reading: Reading::Opening(opening),
            answer_timeout: self.answer_timeout,
            failed: None,
        })
    }

    /// Checks whether a connection can be made.
    ///
    /// # Errors
    /// [`EngineError::Connect`], [`EngineError::TimedOut`].
    pub async fn check(&self) -> Result<(), EngineError> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<Channel, EngineError> {
        // The endpoint's own limit does not cover the handshakes of TLS and HTTP/2.
        let limit = self.connect_timeout + self.answer_timeout;
        match tokio::time::timeout(limit, self.endpoint.connect()).await {
            Ok(connected) => connected.map_err(EngineError::Connect),
            Err(_elapsed) => Err(EngineError::TimedOut(limit)),
        }
    }

    /// Adds the token and the trace of the run.
    fn fill(&self, metadata: &mut MetadataMap) {
        let mut headers = http::HeaderMap::new();
        trace_context::inject(&tracing::Span::current(), &mut headers);
        *metadata = MetadataMap::from_headers(headers);
        if let Some(token) = &self.token
            && let Ok(mut value) = MetadataValue::try_from(format!("Bearer {}", token.expose_secret()))
        {
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
    }
}

fn tls(security: &SecuritySection) -> anyhow::Result<ClientTlsConfig> {
    let read =
        |key: &str, path: &str| std::fs::read(path).with_context(|| format!("security.grpc.{key}: {path}"));
    let grpc = &security.grpc;
    let mut config = ClientTlsConfig::new();
    match &grpc.ca_cert {
        Some(path) => config = config.ca_certificate(Certificate::from_pem(read("ca_cert", path)?)),
        None => anyhow::bail!(
            "security.grpc.ca_cert is not set: the certificate of the matching engine (matching.url) cannot be checked; \
             give the path of its authority's certificate (PEM)"
        ),
    }
    if let (Some(cert), Some(key)) = (&grpc.cert, &grpc.key) {
        config = config.identity(Identity::from_pem(read("cert", cert)?, read("key", key)?));
    }
    Ok(config)
}

impl ExpireStream {
    /// Whether a batch can be sent without waiting for the network.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.sending.capacity() > 0 && !self.sending.is_closed()
    }

    /// Sends a batch. Ask [`Self::has_room`] first.
    ///
    /// # Errors
    /// [`EngineError::Ended`]: nobody reads any more.
    pub fn send(&self, requests: &[Request]) -> Result<(), EngineError> {
        let orders = requests.iter().map(order).collect();
        self.sending
            .try_send(ExpireOrdersRequest { orders })
            .map_err(|_closed| EngineError::Ended)
    }

    /// Returns the next answers: waits for one message and takes those that are there already with it. `within`: how long
    /// it waits; `None`: the limit of the settings.
    ///
    /// # Errors
    /// [`EngineError`]: the stream cannot be used any more.
    pub async fn answers(&mut self, within: Option<Duration>) -> Result<Answers, EngineError> {
        let limit = within.unwrap_or(self.answer_timeout);
        let mut answers = match self.failed.take() {
            Some(error) => return Err(error),
            None => tokio::time::timeout(limit, self.next())
                .await
                .unwrap_or(Err(EngineError::TimedOut(limit)))?,
        };
        while answers.verdicts.len() < GATHERED {
            match self.next().now_or_never() {
                None => break,
                Some(Ok(further)) => {
                    answers.verdicts.extend(further.verdicts);
                    answers.window = further.window;
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(answers)
    }

    async fn next(&mut self) -> Result<Answers, EngineError> {
        loop {
            match &mut self.reading {
                Reading::Opening(opening) => {
                    let opened = opening
                        .await
                        .map_err(|status| EngineError::Status(Box::new(status)))?;
                    self.reading = Reading::Open(Box::new(opened.into_inner()));
                }
                Reading::Open(stream) => {
                    let message = stream
                        .message()
                        .await
                        .map_err(|status| EngineError::Status(Box::new(status)))?;
                    let response = message.ok_or(EngineError::Ended)?;
                    let verdicts = response.verdicts.into_iter().map(verdict).collect();
                    return Ok(Answers {
                        verdicts,
                        window: Some(response.window),
                    });
                }
            }
        }
    }
}

fn order(request: &Request) -> ExpireOrder {
    let reason = match request.reason {
        Reason::Expired => RemovalReason::Expired,
        Reason::ZeroQuantity => RemovalReason::ZeroQuantity,
    };
    ExpireOrder {
        idempotency_id: request.idempotency_id(),
        order_id: request.order_id.clone(),
        market: request.market.clone(),
        wallet: request.wallet.clone(),
        expire_at: request.expire_at,
        attempt_epoch: request.facts.epoch,
        reason: reason.into(),
    }
}

fn verdict(answer: ExpireOrderVerdict) -> OrderVerdict {
    let verdict = match answer.outcome() {
        Outcome::Removed => Verdict::Removed,
        Outcome::NotFound => Verdict::NotFound,
        Outcome::AlreadyTerminal => Verdict::AlreadyTerminal,
        Outcome::Refused => Verdict::Refused,
        Outcome::RetryLater => Verdict::RetryLater,
        // An outcome of a later version says nothing that this one understands.
        Outcome::Unspecified => Verdict::Unanswered,
    };
    OrderVerdict {
        idempotency_id: answer.idempotency_id,
        verdict,
        reason: printable(&answer.reason),
        retry_after_ms: answer.retry_after_ms.max(0),
    }
}
