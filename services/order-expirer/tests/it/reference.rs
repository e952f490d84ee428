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
        "expiry_profile.table",
        "expiry_profile.wallet",
        "expiry_profile.codes.expired",
    ] {
        assert!(error.contains(key), "{key} in {error}");
    }
}

#[test]
fn the_defaults_are_the_documents() {
    let settings = load::<ExpirerSettings>(&Input::default())
        .unwrap_err()
        .to_string();
    assert!(settings.contains("databases.trading"), "{settings}");
}
