//! An object that is not what it was stops every act that depends on it.

use std::path::{Path, PathBuf};

use eidos_disposal::export::{Content, verified};
use eidos_disposal::unit::UnitState;

use crate::fixture::{Fixture, JANUARY, MONTHS, TABLE, approval, refusal};

const FEBRUARY: &str = "eidos_risk_audit_logs_2024_02";

fn part_of(objects: &[PathBuf], unit: &str) -> PathBuf {
    let found = objects.iter().find(|path| {
        let text = path.display().to_string();
        text.contains(unit) && text.contains("part-")
    });
    found.unwrap().clone()
}

/// The objects of an export, and a part of another one.
struct Files {
    part: PathBuf,
    manifest: PathBuf,
    other: PathBuf,
}

type Damage = fn(&Files);

const DAMAGES: [(&str, Damage); 6] = [
    ("a byte in the middle", |files| {
        change(&files.part, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }),
    ("cut off", |files| {
        change(&files.part, |bytes| bytes.truncate(bytes.len() - 1));
    }),
    ("missing", |files| std::fs::remove_file(&files.part).unwrap()),
    ("another unit's", |files| {
        std::fs::copy(&files.other, &files.part).unwrap();
    }),
    ("the manifest edited", |files| {
        change(&files.manifest, |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replacen("400", "399", 1).into_bytes();
        });
    }),
    ("the manifest missing", |files| {
        std::fs::remove_file(&files.manifest).unwrap();
    }),
];

fn change(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(path).unwrap();
    edit(&mut content);
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn nothing_is_dropped_whose_export_is_not_sound_to_the_last_byte() {
    let fixture = Fixture::new().await;
    let january = fixture.quarantined().await;
    let run = fixture.run().await;
    let february = fixture.identity(&run, FEBRUARY).await;
    let february = run.disposal().advance(&february, &approval()).await.unwrap().unit;
    let objects = fixture.objects();
    let part = part_of(&objects, &january.unit_id.to_string());
    let files = Files {
        manifest: part.with_file_name("manifest.json"),
        other: part_of(&objects, &february.unit_id.to_string()),
        part,
    };
    let sound = [&files.part, &files.manifest].map(|path| std::fs::read(path).unwrap());
    let resting = january.quarantine_table.clone().unwrap();
    for (name, damage) in DAMAGES {
        damage(&files);
        let later = fixture.later_run().await;
        let outcome = later
            .disposal()
            .resume(stand_unit(&fixture, january.unit_id).await)
            .await;
        assert_eq!(refusal(outcome), "archive", "{name}");
        assert_eq!(
            fixture.count(&format!("SELECT count(*) FROM {resting}")).await,
            400,
            "{name}"
        );
        assert_eq!(
            stand_unit(&fixture, january.unit_id).await.state,
            UnitState::Quarantined,
            "{name}"
        );
        std::fs::write(&files.part, &sound[0]).unwrap();
        std::fs::write(&files.manifest, &sound[1]).unwrap();
    }
    let later = fixture.later_run().await;
    let done = later
        .disposal()
        .resume(stand_unit(&fixture, january.unit_id).await)
        .await
        .unwrap();
    assert_eq!(done.unit.state, UnitState::Dropped, "sound again");
}

#[tokio::test]
async fn nothing_is_detached_whose_manifest_is_gone_or_edited() {
    let fixture = Fixture::new().await;
    fixture.verified().await;
    let manifest = fixture.manifests().remove(0);
    let sound = std::fs::read(&manifest).unwrap();
    for edited in [
        None,
        Some(b"{}".to_vec()),
        Some([sound.as_slice(), b" "].concat()),
    ] {
        match edited {
            None => std::fs::remove_file(&manifest).unwrap(),
            Some(content) => std::fs::write(&manifest, content).unwrap(),
        }
        let run = fixture.run().await;
        assert_eq!(refusal(fixture.advance(&run).await), "archive");
        assert_eq!(
            (fixture.rows().await, fixture.states().await),
            (1200, vec!["verified".to_owned()])
        );
    }
    std::fs::write(&manifest, sound).unwrap();
    fixture.quarantined().await;
}

#[tokio::test]
async fn nothing_moves_on_while_a_check_has_found_rot() {
    let fixture = Fixture::new().await;
    let rot = "UPDATE eidos_jobs_disposal_units SET rot = 'part-00000 is missing'";
    fixture.verified().await;
    fixture.jobs_sql(rot).await;
    let run = fixture.run().await;
    assert_eq!(refusal(fixture.advance(&run).await), "evidence");
    fixture
        .jobs_sql("UPDATE eidos_jobs_disposal_units SET rot = NULL")
        .await;
    let unit = fixture.quarantined().await;
    fixture.jobs_sql(rot).await;
    let later = fixture.later_run().await;
    assert_eq!(
        refusal(
            later
                .disposal()
                .resume(stand_unit(&fixture, unit.unit_id).await)
                .await
        ),
        "evidence"
    );
}

async fn stand_unit(fixture: &Fixture, id: uuid::Uuid) -> eidos_disposal::unit::Unit {
    eidos_disposal::unit::by_id(fixture.jobs.pool(), id)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn an_export_that_does_not_hold_what_the_table_held_is_no_export() {
    let fixture = Fixture::new().await;
    let unit = fixture.verified().await;
    let run = fixture.run().await;
    let held = Content {
        rows: 400,
        digest: unit.content_digest.clone().unwrap().parse().unwrap(),
    };
    let manifest = unit.manifest().unwrap();
    verified(&run.ctx, &fixture.store, manifest.clone(), JANUARY, held)
        .await
        .unwrap();
    let mut more = held;
    more.rows += 1;
    let mut other = held;
    other.digest.add(b"one more row");
    for wrong in [more, other] {
        let outcome = verified(&run.ctx, &fixture.store, manifest.clone(), JANUARY, wrong).await;
        assert_eq!(refusal(outcome), "mismatch");
    }
}

/// A file system that is not mounted looks like an empty store.
#[tokio::test]
async fn nothing_is_exported_to_a_store_that_has_none_of_the_earlier_exports() {
    let fixture = Fixture::new().await;
    let (lower, upper) = (MONTHS[3], MONTHS[3] + 30 * 86_400_000);
    fixture
        .sql(&format!(
            "CREATE TABLE april PARTITION OF {TABLE} FOR VALUES FROM ({lower}) TO ({upper})"
        ))
        .await;
    let run = fixture.run().await;
    let february = fixture.identity(&run, FEBRUARY).await;
    run.disposal().advance(&february, &approval()).await.unwrap();
    let march = fixture.identity(&run, "eidos_risk_audit_logs_2024_03").await;
    fixture.frozen().await;
    let mount = fixture.unmounted();
    let run = fixture.run().await;
    for outcome in [
        fixture.advance(&run).await,
        run.disposal().advance(&march, &approval()).await,
    ] {
        let error = outcome.unwrap_err();
        assert!(error.is_about_the_store(), "{error}");
        for part in ["none of the 1 newest exports", "not mounted", "manifest.json"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    assert_eq!(fixture.states().await, ["quarantined", "frozen"]);
    assert_eq!(fixture.objects(), Vec::<PathBuf>::new());
    let frozen = fixture.shape().await.partitioning.unwrap().partitions;
    assert_eq!(frozen.iter().filter(|partition| partition.frozen).count(), 1);

    mount.restore();
    fixture.advance(&run).await.unwrap();
    // One of two that is lost is rot, not another store.
    std::fs::remove_file(fixture.manifests().remove(0)).unwrap();
    run.disposal().advance(&march, &approval()).await.unwrap();
    assert_eq!(fixture.states().await, ["quarantined"; 3]);
}
