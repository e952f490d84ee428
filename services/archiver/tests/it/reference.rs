//! The defaults, and what is refused at start.

use archiver::ArchiverSettings;
use eidos_settings::{Input, load};

#[test]
fn the_defaults_are_the_requirement_s() {
    let settings = load::<ArchiverSettings>(&Input::default()).unwrap();
    let options = &settings.options.archive_data;
    assert_eq!(
        (
            options.retention_days,
            options.batch_rows,
            options.sleep_ms,
            options.archive_retention_months
        ),
        (30, 1000, 100, 24)
    );
    assert_eq!(settings.service.archive_profile.orders.finished, [3, 4, 5, 6]);
    assert_eq!(settings.service.archive_profile.trades.finished, [3, 5]);
}

#[test]
fn every_mistake_is_reported_with_its_key() {
    let env = [
        ("EIDOS__JOBS__ARCHIVE-DATA__BATCH_ROWS", "0"),
        ("EIDOS__ARCHIVE_PROFILE__ORDERS__TABLE", "a b"),
        ("EIDOS__DISPOSAL__LOCK_TIMEOUT", "10s"),
    ];
    let env = env
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    let error = load::<ArchiverSettings>(&Input { file: None, env })
        .unwrap_err()
        .to_string();
    for key in [
        "jobs.archive-data.batch_rows",
        "archive_profile.orders.table",
        "disposal.lock_timeout",
    ] {
        assert!(error.contains(key), "{key} in {error}");
    }
}
