//! The defaults, and what is refused at start.

use eidos_settings::{Input, load};
use order_expirer::ExpirerSettings;

#[test]
fn every_mistake_is_reported_with_its_key() {
    let env = [
        ("EIDOS__DATABASES__TRADING__URL", "postgres://h/trading"),
        ("EIDOS__MATCHING__URL", "ftp://engine"),
        ("EIDOS__MATCHING__BATCH_ORDERS", "501"),
        ("EIDOS__EXPIRY__MAX_EPOCHS", "0"),
        ("EIDOS__EXPIRY__RESEND_AT_MOST", "10s"),
        ("EIDOS__EXPIRY__CACHE__KEYS", "[\"eidos:trading:all\"]"),
        ("EIDOS__EXPIRY__CACHE__REDIS_URL", "http://cache"),
        ("EIDOS__EXPIRY__TRANSPORT", "kafka"),
        ("EIDOS__EXPIRY__KAFKA__WINDOW", "0"),
        ("EIDOS__EXPIRY__KAFKA__ORDER_CANCELLED", "a topic"),
        ("EIDOS__EXPIRY__KAFKA__ORDER_UPDATES", "cancel-requests"),
        ("EIDOS__EXPIRY__KAFKA__GROUP", ""),
        ("EIDOS__EXPIRY_PROFILE__TABLE", "a b"),
        ("EIDOS__EXPIRY_PROFILE__WALLET", "a.b"),
        ("EIDOS__EXPIRY_PROFILE__CODES__EXPIRED", "4"),
    ];
    let env = env
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let error = load::<ExpirerSettings>(&Input { file: None, env })
        .unwrap_err()
        .to_string();
    for key in [
        "matching.url",
        "matching.batch_orders",
        "expiry.max_epochs",
        "expiry.resend_at_most",
        "expiry.cache.keys",
        "expiry.cache.redis_url",
        "expiry.transport: is kafka, and there are no brokers",
        "expiry.kafka.window",
        "expiry.kafka.order_cancelled",
        "expiry.kafka.order_updates: 'cancel-requests' is the topic of expiry.kafka.cancel_requests too",
        "expiry.kafka.group",
        "expiry_profile.table",
        "expiry_profile.wallet",
        "expiry_profile.codes.expired",
    ] {
        assert!(error.contains(key), "{key} in {error}");
    }
}

#[test]
fn the_defaults_are_the_documents() {
    let settings = load::<ExpirerSettings>(&Input::default()).unwrap();
    let (expiry, profile) = (&settings.service.expiry, &settings.service.expiry_profile);
    assert_eq!(
        (expiry.grace.as_secs(), expiry.cache.after.as_secs()),
        (60, 24 * 3_600)
    );
    let codes = profile.codes;
    assert_eq!(
        (codes.pending, codes.open, codes.partial, codes.cancelling),
        (0, 1, 2, 7)
    );
    assert_eq!(
        (codes.filled, codes.cancelled, codes.expired, codes.rejected),
        (3, 4, 5, 6)
    );
    let section = &settings.suite.jobs[&"cleanup-orders".parse().unwrap()];
    assert_eq!((section.timeout.as_secs(), section.lock.ttl.as_secs()), (60, 60));
}
