//! [`ConsumerLoop`]: reads topics for a service until it is told to stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eidos_settings::KafkaSection;
use eidos_telemetry::metric;
use futures::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::attempts::{Attempts, Verdict};
use crate::consumer::{Client, MemberOptions, join};
use crate::membership::Snapshot;
use crate::producer::Producer;
use crate::restart::restart;
use crate::{BusError, Handler, LoopOptions, Received, Topic, Turn, dead_letter, topics};

/// The time between two turns; one that handles a message can be longer.
const TURN: Duration = Duration::from_millis(250);
/// How often what is done is committed while messages come without a pause.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often the existence of the topics is checked.
const TOPICS_EVERY: Duration = Duration::from_mins(1);
/// How long the last commit may take at the end.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// Reads topics and hands each message to a [`Handler`].
#[derive(Debug)]
pub struct ConsumerLoop {
    settings: KafkaSection,
    options: LoopOptions,
    dead_letters: Vec<Topic>,
}

impl ConsumerLoop {
    /// Checks the settings; [`Self::run`] connects.
    pub fn new(settings: &KafkaSection, options: LoopOptions) -> Result<Self, BusError> {
        let dead_letters = options
            .topics
            .iter()
            .map(|topic| dead_letter::dead_letter_topic(settings, topic))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            settings: settings.clone(),
            options,
            dead_letters,
        })
    }

    /// Reads until `stop` is ready, then commits what is done and leaves the group.
    ///
    /// `watch` is called in every turn, four times a second, and between the attempts of a message, with the state of the
    /// loop: a worker beats there while [`Turn::is_alive`]. A message that is being handled is finished before the end.
    ///
    /// # Errors
    /// The loop ends with an error where it would stand still otherwise: a topic or a dead-letter topic is missing, the
    /// group is not joined or not committed for `kafka.join_timeout`, no offset can be used and `kafka.offset_reset` is
    /// `fail`, a dead letter is not written, or the handler is unavailable. What was handled and not committed is read
    /// again by the next run.
    pub async fn run<H: Handler>(
        &self,
        handler: &H,
        watch: impl Fn(&Turn) + Send + Sync,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), BusError> {
        for topic in &self.options.topics {
            metric::bus_consumer_from_zero(&self.options.group, topic.as_str(), Verdict::WORDS);
        }
        let producer = Producer::connect(&self.settings)?;
        let member = MemberOptions {
            group: &self.options.group,
            reset: "error",
            poll_interval: self.options.longest() + TOPICS_EVERY,
        };
        let client = Arc::new(join(&self.settings, member, &self.options.topics)?);
        let mut running = Running {
            of: self,
            client: Arc::clone(&client),
            producer,
            committed: Instant::now(),
            checked: Instant::now(),
            turned: Instant::now(),
            lost: 0,
        };
        let outcome = running.read(handler, &watch, stop).await;
        let last = running.finish().await;
        drop(running);
        leave(client, &self.options.group).await;
        outcome.and(last)
    }
}

/// A loop that is connected.
struct Running<'a> {
    of: &'a ConsumerLoop,
    client: Arc<Client>,
    producer: Producer,
    /// When the last commit was asked for.
    committed: Instant,
    /// When the topics were last checked.
    checked: Instant,
    /// When the last turn ended.
    turned: Instant,
    /// As [`Turn::lost`].
    lost: u64,
}

impl Running<'_> {
    async fn read<H: Handler>(
        &mut self,
        handler: &H,
        watch: &(impl Fn(&Turn) + Send + Sync),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), BusError> {
        let mut stop = std::pin::pin!(stop);
        self.require_topics().await?;
        loop {
            let next = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                next = tokio::time::timeout(TURN, self.client.recv()) => next,
            };
            match next {
                Ok(Ok(message)) => {
                    let first = Received::new(message.detach());
                    let (messages, interrupted) = self.gather(first);
                    if !self.handle_all(handler, &messages, watch, stop.as_mut()).await? {
                        return Ok(());
                    }
                    self.commit(COMMIT_EVERY)?;
                    if let Some(error) = interrupted {
                        self.react(error).await?;
                    }
                }
                Ok(Err(error)) => self.react(error).await?,
                Err(_idle) => self.commit(Duration::ZERO)?,
            }
            if self.turned.elapsed() >= TURN {
                self.turned = Instant::now();
                self.tell(watch);
                self.check_alive()?;
                self.check_topics().await?;
            }
        }
    }

    /// Adds the messages that have come already, and the error behind them, if one is there.
    fn gather(&self, first: Received) -> (Vec<Received>, Option<KafkaError>) {
        let mut messages = vec![first];
        while messages.len() < self.of.options.together {
            match self.client.recv().now_or_never() {
                None => break,
                Some(Ok(message)) => messages.push(Received::new(message.detach())),
                Some(Err(error)) => return (messages, Some(error)),
            }
        }
        (messages, None)
    }

    /// Handles messages to their end, together where the handler can. `false`: the loop was stopped before.
    async fn handle_all<H: Handler>(
        &self,
        handler: &H,
        messages: &[Received],
        watch: &(impl Fn(&Turn) + Send + Sync),
        mut stop: std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<bool, BusError> {
        let done = match messages {
            [_alone] => Vec::new(),
            _ => handler.handle_together(messages).await,
        };
        // In the order of the partitions: an offset says that everything before it is done.
        for (index, message) in messages.iter().enumerate() {
            if done.get(index).copied().unwrap_or(false) {
                metric::bus_message_handled(&self.of.options.group, message.topic(), Verdict::Done.as_str());
                self.done(message);
            } else if !self.handle(handler, message, watch, stop.as_mut()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn done(&self, message: &Received) {
        let place = (message.topic().to_owned(), message.partition());
        self.client
            .context()
            .done(place, message.offset().saturating_add(1));
    }

    /// Handles one message to its end. `false`: the loop was stopped before.
    async fn handle<H: Handler>(
        &self,
        handler: &H,
        message: &Received,
        watch: &(impl Fn(&Turn) + Send + Sync),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<bool, BusError> {
        let options = &self.of.options;
        let attempts = Attempts { options, message };
        let tried = attempts.all(handler, || self.tell(watch), stop).await?;
        let (attempts, reason) = match &tried {
            Verdict::Stopped => return Ok(false),
            Verdict::Done => (0, None),
            Verdict::Poison { attempts, reason } | Verdict::Exhausted { attempts, reason } => {
                (*attempts, Some(reason))
            }
        };
        if let Some(reason) = reason {
            self.bury(message, attempts, reason).await?;
        }
        metric::bus_message_handled(&options.group, message.topic(), tried.as_str());
        self.done(message);
        Ok(true)
    }

    /// Writes a dead letter. The message is done only when the brokers have it.
    async fn bury(&self, message: &Received, attempts: u32, reason: &str) -> Result<(), BusError> {
        let (of, group) = (self.of, &self.of.options.group);
        let topics = of.options.topics.iter().zip(&of.dead_letters);
        let to = topics
            .into_iter()
            .find(|(topic, _)| topic.as_str() == message.topic())
            .map(|(_, to)| to)
            .ok_or(BusError::Closed)?;
        let at = dead_letter::write(&self.producer, to, group, message, attempts, reason).await?;
        metric::bus_dead_letter(group, message.topic());
        tracing::error!(
            %group, topic = message.topic(), partition = message.partition(), offset = message.offset(), attempts, reason,
            dead_letter = %format!("{to}[{}]@{}", at.partition, at.offset), "a message could not be handled"
        );
        Ok(())
    }

    /// Decides what an error of the client means for the loop.
    async fn react(&mut self, error: KafkaError) -> Result<(), BusError> {
        let of = self.of;
        let group = &of.options.group;
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::NoOffset,
            ) => self.restart().await,
            Some(code) if BusError::is_refusal(code) => {
                topics::require(&self.client, &self.of.settings.brokers, &self.of.options.topics).await?;
                Err(self.refused(&error))
            }
            // These pass by themselves; the limits of `check_alive` hold meanwhile.
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::MessageTimedOut
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::PollExceeded,
            ) => {
                tracing::warn!(%group, %error, "reading is interrupted");
                Ok(())
            }
            _ => Err(self.refused(&error)),
        }
    }

    fn refused(&self, error: &KafkaError) -> BusError {
        BusError::Group {
            group: self.of.options.group.clone(),
            reason: error.to_string(),
        }
    }

    /// Starts partitions whose offset cannot be used, says so, and commits the decision.
    async fn restart(&mut self) -> Result<(), BusError> {
        let of = self.of;
        let group = &of.options.group;
        for started in restart(&self.client, group, self.of.settings.offset_reset).await? {
            let (topic, partition) = &started.place;
            metric::bus_offsets_lost(group, topic, started.lost);
            self.lost = self.lost.saturating_add(started.lost);
            if started.was_at.is_some() {
                tracing::error!(
                    %group, topic, partition, was_at = started.was_at, starts_at = started.starts_at, lost = started.lost,
                    "the log does not have the group's offset: messages were deleted before they were read, or the log \
                     was truncated"
                );
            } else {
                tracing::info!(%group, topic, partition, starts_at = started.starts_at, "the group has no offset yet");
            }
            self.client.context().done(started.place, started.starts_at);
        }
        Ok(())
    }

    /// Starts a commit of what is done, unless one was started within `pause`. Nobody waits for it: the client tells the
    /// outcome of a commit only to a caller that blocks, and the loop must go on polling meanwhile.
    fn commit(&mut self, pause: Duration) -> Result<(), BusError> {
        if self.committed.elapsed() < pause {
            return Ok(());
        }
        let due = self.client.context().begin_commit();
        let Some(offsets) = due.map_err(|error| self.refused(&error))? else {
            return Ok(());
        };
        self.committed = Instant::now();
        let client = Arc::clone(&self.client);
        tokio::task::spawn_blocking(move || {
            let result = client.commit(&offsets, CommitMode::Sync);
            client.context().end_commit(result, &offsets);
        });
        Ok(())
    }

    fn tell(&self, watch: &(impl Fn(&Turn) + Send + Sync)) {
        let of = self.of;
        let group = &of.options.group;
        let now = self.client.context().snapshot();
        for ((topic, partition), lag) in &now.lag {
            metric::bus_consumer_lag(group, topic, *partition, *lag);
        }
        metric::bus_consumer_answer_age(group, now.answered_ago.unwrap_or(now.for_long));
        watch(&Turn {
            answered_ago: now.answered_ago,
            joined: now.joining.is_none(),
            lag: now.lag.values().sum(),
            lost: self.lost,
        });
    }

    fn check_alive(&self) -> Result<(), BusError> {
        let limit = self.of.settings.join_timeout;
        let group = || self.of.options.group.clone();
        let Snapshot {
            joining,
            for_long,
            uncommitted_for,
            last_error,
            ..
        } = self.client.context().snapshot();
        let last_error = last_error.unwrap_or_else(|| "none".to_owned());
        match joining {
            Some(state) if for_long > limit => Err(BusError::NotJoined {
                group: group(),
                waited: for_long,
                state,
                last_error,
            }),
            _ if uncommitted_for > limit => Err(BusError::NotCommitted {
                group: group(),
                waited: uncommitted_for,
                last_error,
            }),
            _ => Ok(()),
        }
    }

    /// Checks now and then that the topics are still there. Brokers that do not answer are the matter of
    /// [`Self::check_alive`].
    async fn check_topics(&mut self) -> Result<(), BusError> {
        if self.checked.elapsed() < TOPICS_EVERY {
            return Ok(());
        }
        match self.require_topics().await {
            Err(BusError::Unreachable { reason, .. }) => {
                tracing::warn!(group = %self.of.options.group, reason, "the topics could not be checked");
                Ok(())
            }
            checked => checked,
        }
    }

    async fn require_topics(&mut self) -> Result<(), BusError> {
        self.checked = Instant::now();
        let mut all = self.of.options.topics.clone();
        all.extend(self.of.dead_letters.iter().cloned());
        topics::require(&self.client, &self.of.settings.brokers, &all).await
    }

    /// Commits what is done and waits for the answer; messages that come meanwhile are left for the next member.
    async fn finish(&mut self) -> Result<(), BusError> {
        let until = Instant::now() + LAST_COMMIT;
        while self.client.context().has_due() {
            if Instant::now() > until {
                return Err(BusError::NotCommitted {
                    group: self.of.options.group.clone(),
                    waited: LAST_COMMIT,
                    last_error: "the loop ended".to_owned(),
                });
            }
            self.commit(Duration::ZERO)?;
            // Polling goes on, so that a rebalance is not delayed.
            let _message_or_idle = tokio::time::timeout(TURN / 10, self.client.recv()).await;
        }
        Ok(())
    }
}

/// Closes the client outside the runtime: it waits for the brokers.
async fn leave(client: Arc<Client>, group: &str) {
    let closing = tokio::task::spawn_blocking(move || drop(client));
    if tokio::time::timeout(LEAVE, closing).await.is_err() {
        tracing::warn!(
            group,
            "the brokers did not confirm that this member left within {LEAVE:?}"
        );
    }
}
