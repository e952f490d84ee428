//! [`of`]: the receivers of `notifications`; [`silences_of`] and [`heartbeats_of`]: what belongs to them.

use std::sync::Arc;

use anyhow::anyhow;
use eidos_alerting::{
    Alertmanager, AlertmanagerSettings, DeskPolicy, Email, EmailSettings, Heartbeat, HeartbeatSettings,
    LogSink, PagerDuty, PagerDutySettings, SilencesOf, Sink, Slack, SlackSettings, Webhook, WebhookSettings,
};

use crate::settings::{AlertmanagerSection, EmailSection, Notifications};
use crate::workers::delivery::Delivery;

/// Who is told, and how often.
pub(crate) struct Receiver {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) policy: DeskPolicy,
    /// Whether replicas share it as one memory, and silences hold back what it is told: not the log, which is each replica's own,
    /// and not an Alertmanager, which must be fed (ruling 44) and silences by itself.
    pub(crate) is_shared: bool,
}

/// Makes them; nothing is connected.
pub(crate) fn of(notifications: &Notifications, now_ms: i64) -> anyhow::Result<Vec<Receiver>> {
    let policy = DeskPolicy {
        repeat_after: notifications.repeat_after,
        give_up_after: notifications.give_up_after,
        ..Delivery::POLICY
    };
    let mut receivers = Vec::new();
    let mut add = |sink: Arc<dyn Sink>, policy, is_shared| {
        receivers.push(Receiver {
            sink,
            policy,
            is_shared,
        });
    };
    if notifications.log {
        add(Arc::new(LogSink), policy, false);
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
        add(Arc::new(made.map_err(refused("webhooks", name))?), policy, true);
    }
    for (name, section) in &notifications.alertmanagers {
        let made =
            Alertmanager::new(alertmanager(name, section), now_ms).map_err(refused("alertmanagers", name))?;
        // It is told each round (ruling 44).
        let policy = DeskPolicy {
            repeat_after: section.every,
            ..policy
        };
        add(Arc::new(made), policy, false);
    }
    for (name, section) in &notifications.pager_duty {
        let settings = PagerDutySettings {
            name: format!("pagerduty-{name}"),
            url: section.url.clone(),
            routing_key: section.routing_key.clone(),
            timeout: section.timeout,
        };
        let made = PagerDuty::new(settings);
        add(Arc::new(made.map_err(refused("pager_duty", name))?), policy, true);
    }
    for (name, section) in &notifications.slack {
        let settings = SlackSettings {
            name: format!("slack-{name}"),
            url: section.url.clone(),
            timeout: section.timeout,
        };
        let made = Slack::new(settings);
        add(Arc::new(made.map_err(refused("slack", name))?), policy, true);
    }
    for (name, section) in &notifications.emails {
        let made = Email::new(email(name, section)?);
        let made = made.map_err(|reason| anyhow!("notifications.emails.{name}.{reason}"))?;
        add(Arc::new(made), policy, true);
    }
    Ok(receivers)
}

fn email(name: &str, section: &EmailSection) -> anyhow::Result<EmailSettings> {
    let read = |path: &String| {
        std::fs::read(path)
            .map_err(|error| anyhow!("notifications.emails.{name}.ca_cert: {path} cannot be read: {error}"))
    };
    Ok(EmailSettings {
        name: format!("email-{name}"),
        host: section.host.clone(),
        port: section.port,
        encryption: section.encryption,
        login: section.username.clone().zip(section.password.clone()),
        authority: section.ca_cert.as_ref().map(read).transpose()?,
        from: section.from.clone(),
        to: section.to.clone(),
        timeout: section.timeout,
    })
}

/// The Alertmanagers whose silences hold notices back.
pub(crate) fn silences_of(notifications: &Notifications) -> anyhow::Result<Vec<SilencesOf>> {
    let servers = notifications.alertmanagers.iter();
    let servers = servers.filter(|_| notifications.silences);
    let servers = servers.map(|(name, section)| {
        SilencesOf::new(&alertmanager(name, section)).map_err(refused("alertmanagers", name))
    });
    servers.collect()
}

/// Addresses that notice when they are no longer asked, each with its name and in how many rounds it is asked once.
pub(crate) fn heartbeats_of(notifications: &Notifications) -> anyhow::Result<Vec<(String, Heartbeat, u32)>> {
    let heartbeats = notifications.heartbeats.iter().map(|(name, section)| {
        let settings = HeartbeatSettings {
            url: section.url.clone(),
            timeout: section.timeout,
        };
        let made = Heartbeat::new(&settings).map_err(refused("heartbeats", name))?;
        Ok((name.clone(), made, section.every_rounds))
    });
    heartbeats.collect()
}

fn alertmanager(name: &str, section: &AlertmanagerSection) -> AlertmanagerSettings {
    AlertmanagerSettings {
        name: format!("alertmanager-{name}"),
        url: section.url.clone(),
        ends_after: section.ends_after,
        group_wait: section.group_wait,
        timeout: section.timeout,
    }
}

fn refused(section: &'static str, name: &str) -> impl FnOnce(String) -> anyhow::Error + use<> {
    let key = format!("notifications.{section}.{name}.url");
    move |reason| anyhow!("{key} {reason}")
}
