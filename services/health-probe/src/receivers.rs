//! [`of`]: the receivers of `notifications`.

use std::sync::Arc;

use anyhow::anyhow;
use eidos_alerting::{
    Alertmanager, AlertmanagerSettings, DeskPolicy, LogSink, PagerDuty, PagerDutySettings, Sink, Slack,
    SlackSettings, Webhook, WebhookSettings,
};

use crate::settings::Notifications;
use crate::workers::delivery::Delivery;

/// Who is told, and how often.
pub(crate) struct Receiver {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) policy: DeskPolicy,
}

/// Makes them; nothing is connected.
pub(crate) fn of(notifications: &Notifications, now_ms: i64) -> anyhow::Result<Vec<Receiver>> {
    let policy = DeskPolicy {
        repeat_after: notifications.repeat_after,
        give_up_after: notifications.give_up_after,
        ..Delivery::POLICY
    };
    let mut receivers = Vec::new();
    let mut add = |sink: Arc<dyn Sink>, policy| receivers.push(Receiver { sink, policy });
    if notifications.log {
        add(Arc::new(LogSink), policy);
    }
    for (name, section) in &notifications.webhooks {
        let settings = WebhookSettings {
            name: format!("webhook-{name}"),
            url: section.url.clone(),
            secret: section.secret.clone(),
            timeout: section.timeout,
            watchdog: section.watchdog,
        };
        let made = Webhook::new(settings);
        add(Arc::new(made.map_err(refused("webhooks", name))?), policy);
    }
    for (name, section) in &notifications.alertmanagers {
        let settings = AlertmanagerSettings {
            name: format!("alertmanager-{name}"),
            url: section.url.clone(),
            ends_after: section.ends_after,
            group_wait: section.group_wait,
            timeout: section.timeout,
        };
        let made = Alertmanager::new(settings, now_ms).map_err(refused("alertmanagers", name))?;
        // It is told each round (ruling 44).
        let policy = DeskPolicy {
            repeat_after: section.every,
            ..policy
        };
        add(Arc::new(made), policy);
    }
    for (name, section) in &notifications.pager_duty {
        let settings = PagerDutySettings {
            name: format!("pagerduty-{name}"),
            url: section.url.clone(),
            routing_key: section.routing_key.clone(),
            timeout: section.timeout,
        };
        let made = PagerDuty::new(settings);
        add(Arc::new(made.map_err(refused("pager_duty", name))?), policy);
    }
    for (name, section) in &notifications.slack {
        let settings = SlackSettings {
            name: format!("slack-{name}"),
            url: section.url.clone(),
            timeout: section.timeout,
        };
        let made = Slack::new(settings);
        add(Arc::new(made.map_err(refused("slack", name))?), policy);
    }
    Ok(receivers)
}

fn refused(section: &'static str, name: &str) -> impl FnOnce(String) -> anyhow::Error + use<> {
    let key = format!("notifications.{section}.{name}.url");
    move |reason| anyhow!("{key} {reason}")
}
