//! Alerts as episodes, and the sinks that hear of them.
//!
//! ```text
//! raise, resolve ──▶ Desk ──due──▶ Notice ──▶ Sink::send ──sent, failed──▶ Desk
//! ```
//!
//! An episode begins when something is first wrong and ends when it has recovered. The [`Desk`] keeps, for each episode and
//! sink, what the sink was last told. What a sink must be told next follows from the difference: there is no queue that
//! grows while a sink does not answer, a warning that became critical meanwhile is told as critical, and a problem that
//! came and went before it could be told is not told at all. The desk is plain data: whoever stores it forgets nothing at a
//! restart and repeats nothing.
//!
//! Delivery is at least once. A process that dies between the answer of a sink and the next save tells it again, under the
//! same episode and number.
//!
//! Several senders may share a receiver. What it heard from any of them is a [`Heard`], wherever they keep it; what one of them
//! does with a notice of its own follows from that. A [`Silence`] of an Alertmanager holds notices back, and no episode.

mod alert;
mod cool_down;
mod desk;
mod sink;

pub use alert::{Alert, EpisodeId, Fingerprint, Severity};
pub use cool_down::{Heard, Told, Turn};
pub use desk::{Desk, DeskPolicy, Notice, NoticeKind};
pub use sink::{
    Alertmanager, AlertmanagerSettings, Email, EmailSettings, Encryption, Heartbeat, HeartbeatSettings,
    LogSink, PagerDuty, PagerDutySettings, SendError, Silence, SilencesOf, Sink, Slack, SlackSettings,
    Webhook, WebhookSettings, signature,
};
