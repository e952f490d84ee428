//! A loop in the background, and a handler that records.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eidos_bus::{
    BusError, ConsumerLoop, Handled, Handler, LoopOptions, Publisher, RawMessage, Received, Topic, Turn,
};
use eidos_settings::KafkaSection;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::broker::PATIENCE;

type Decide = Box<dyn Fn(&str, usize) -> Handled + Send + Sync>;

/// Notes the payload of each attempt and decides by it and its number, which starts at 1.
pub(crate) struct Recorder {
    decide: Decide,
    attempts: Mutex<Vec<String>>,
    handled: watch::Sender<Vec<String>>,
}

impl Recorder {
    pub(crate) fn new(decide: impl Fn(&str, usize) -> Handled + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            decide: Box::new(decide),
            attempts: Mutex::new(Vec::new()),
            handled: watch::channel(Vec::new()).0,
        })
    }

    pub(crate) fn all_done() -> Arc<Self> {
        Self::new(|_, _| Handled::Done)
    }

    /// The payloads that were done, in their order.
    pub(crate) fn done(&self) -> Vec<String> {
        self.handled.borrow().clone()
    }

    pub(crate) fn attempts_of(&self, text: &str) -> usize {
        let attempts = self.attempts.lock().unwrap();
        attempts.iter().filter(|seen| *seen == text).count()
    }

    /// Waits until `enough` of what was done.
    pub(crate) async fn until(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut handled = self.handled.subscribe();
        let waiting = handled.wait_for(|done| enough(done));
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        let done = came.unwrap_or_else(|_elapsed| {
            panic!("not enough within {PATIENCE:?}: {:?}", self.done());
        });
        done.unwrap().clone()
    }

    pub(crate) async fn until_count(&self, count: usize) -> Vec<String> {
        self.until(|done| done.len() >= count).await
    }
}

impl Handler for Recorder {
    async fn handle(&self, message: &Received) -> Handled {
        let text = String::from_utf8(message.payload().to_vec()).unwrap();
        self.attempts.lock().unwrap().push(text.clone());
        let handled = (self.decide)(&text, self.attempts_of(&text));
        if handled == Handled::Done {
            self.handled.send_modify(|done| done.push(text));
        }
        handled
    }
}

/// A loop that runs until it is stopped or fails.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), BusError>>,
    turns: watch::Receiver<Option<Turn>>,
}

impl Running {
    pub(crate) fn start(settings: &KafkaSection, topic: &Topic, recorder: &Arc<Recorder>) -> Self {
        Self::start_with(settings, options(topic), recorder)
    }

    pub(crate) fn start_with(
        settings: &KafkaSection,
        options: LoopOptions,
        recorder: &Arc<Recorder>,
    ) -> Self {
        let reading = ConsumerLoop::new(settings, options).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, turns) = watch::channel(None);
        let recorder = Arc::clone(recorder);
        let task = tokio::spawn(async move {
            let watch = |turn: &Turn| {
                told.send_replace(Some(*turn));
            };
            let stop = async {
                let _dropped_or_sent = stopped.await;
            };
            reading.run(&*recorder, watch, stop).await
        });
        Self { stop, task, turns }
    }

    /// Waits for a turn that `wanted` accepts.
    pub(crate) async fn until_turn(&mut self, wanted: impl Fn(&Turn) -> bool) {
        let waiting = self.turns.wait_for(|turn| turn.as_ref().is_some_and(&wanted));
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        let came = came.expect("the turn did not come").is_ok();
        assert!(came, "the loop ended: {:?}", (&mut self.task).await);
    }

    pub(crate) async fn until_joined(&mut self) {
        self.until_turn(|turn| turn.joined).await;
    }

    /// Stops it in its orderly way.
    pub(crate) async fn stop(self) {
        let _ended_before = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the loop does not end")
            .unwrap()
            .unwrap();
    }

    /// Waits until it fails.
    pub(crate) async fn error(self) -> BusError {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the loop does not fail")
            .unwrap()
            .unwrap_err()
    }
}

/// Three fast attempts, in a group of the topic's own.
pub(crate) fn options(topic: &Topic) -> LoopOptions {
    LoopOptions {
        attempts: 3,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(20),
        ..LoopOptions::new(format!("group-{topic}"), [topic.clone()])
    }
}

/// Writes `texts`, each with itself as its key, one after the other.
pub(crate) async fn write(settings: &KafkaSection, topic: &Topic, texts: &[&str]) {
    let publisher = Publisher::connect(settings).unwrap();
    for text in texts {
        let message = RawMessage {
            key: text,
            payload: text.as_bytes(),
            headers: &[("kind", "test")],
            traceparent: Some(TRACE),
        };
        publisher.publish_raw(topic, message).await.unwrap();
    }
}

pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
