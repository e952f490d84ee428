//! The audit trail is read from its beginning to its end and computed again ([`crate::audit`]). Pages follow a key, so that
//! memory does not grow with the trail.

use serde::Serialize;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::audit::{Anchor, FIELDS, Fields, Finding, LinkHash, link_hash};

const LINKS: &str = "SELECT c.seq, c.event_id, c.previous, c.hash, h.id::text AS f0, h.break_id::text AS f1, h.event::text AS f2, \
        (extract(epoch FROM h.at) * 1000000)::bigint::text AS f3, h.by AS f4, h.execution_id::text AS f5, \
        h.block_number::text AS f6, h.block_hash::text AS f7, h.details::text AS f8, h.version::text AS f9, \
        h.state::text AS f10 \
    FROM eidos_jobs_break_chain c LEFT JOIN eidos_jobs_break_history h ON h.id = c.event_id \
    WHERE c.seq > $1 ORDER BY c.seq LIMIT $2";

const EVENTS: &str = "SELECT h.id, h.break_id::text, h.event::text, c.seq IS NOT NULL \
    FROM eidos_jobs_break_history h LEFT JOIN eidos_jobs_break_chain c ON c.event_id = h.id \
    WHERE h.id > $1 ORDER BY h.id LIMIT $2";

const BREAKS: &str = "SELECT b.break_id, b.version, b.state::text, h.id, h.version, h.state::text \
    FROM eidos_jobs_breaks b LEFT JOIN LATERAL ( \
        SELECT id, version, state FROM eidos_jobs_break_history WHERE break_id = b.break_id ORDER BY id DESC LIMIT 1) h ON TRUE \
    WHERE b.break_id > $1 ORDER BY b.break_id LIMIT $2";

pub(super) const ALL: &[(&str, &str)] = &[
    ("audit::LINKS", LINKS),
    ("audit::EVENTS", EVENTS),
    ("audit::BREAKS", BREAKS),
];

/// Rows in memory at a time.
const PAGE: i64 = 2_000;
/// Findings that are named; all are counted.
const NAMED: usize = 100;

/// What a verification read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Links that were computed again.
    pub links: u64,
    /// Events that were looked for in the chain.
    pub events: u64,
    /// Breaks that were compared with their newest event.
    pub breaks: u64,
    /// The last link: noted outside of the database, it proves later that the chain up to it is still the same.
    pub head: Option<Anchor>,
    /// How many findings there are.
    pub found: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl Verified {
    fn find(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < NAMED {
            self.findings.push(finding);
        }
    }
}

/// Reads everything and computes every hash again. `anchor`: a link that was noted before.
pub async fn verify(conn: &mut PgConnection, anchor: Option<Anchor>) -> Result<Verified, sqlx::Error> {
    let mut verified = Verified::default();
    links(conn, anchor, &mut verified).await?;
    events(conn, &mut verified).await?;
    breaks(conn, &mut verified).await?;
    Ok(verified)
}

struct Link {
    seq: i64,
    event_id: i64,
    previous: Option<LinkHash>,
    hash: Option<LinkHash>,
    event: Fields,
}

impl FromRow<'_, PgRow> for Link {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        const NAMES: [&str; FIELDS] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10"];
        let mut event = Fields::default();
        for (field, name) in event.iter_mut().zip(NAMES) {
            *field = row.try_get(name)?;
        }
        let (previous, hash): (Vec<u8>, Vec<u8>) = (row.try_get("previous")?, row.try_get("hash")?);
        Ok(Self {
            seq: row.try_get("seq")?,
            event_id: row.try_get("event_id")?,
            previous: LinkHash::of_bytes(&previous),
            hash: LinkHash::of_bytes(&hash),
            event,
        })
    }
}

async fn links(
    conn: &mut PgConnection,
    anchor: Option<Anchor>,
    verified: &mut Verified,
) -> Result<(), sqlx::Error> {
    let (mut seq, mut before) = (0, Some(LinkHash::START));
    let mut anchored = None;
    loop {
        let page: Vec<Link> = sqlx::query_as(LINKS)
            .bind(seq)
            .bind(PAGE)
            .fetch_all(&mut *conn)
            .await?;
        for link in &page {
            if link.seq != seq + 1 {
                verified.find(Finding::LinksGone {
                    first: seq + 1,
                    last: link.seq - 1,
                });
                // What the missing one had is not known: the link is compared with what it says itself.
                before = link.previous;
            }
            judge(link, before, verified);
            (seq, before) = (link.seq, link.hash);
            verified.links += 1;
            if anchor.is_some_and(|anchor| anchor.seq == seq) {
                anchored = link.hash;
            }
        }
        if page.is_empty() {
            break;
        }
    }
    if let Some(noted) = anchor.filter(|noted| anchored != Some(noted.hash)) {
        verified.find(Finding::NotAnchored {
            noted,
            found: anchored,
        });
    }
    verified.head = before.filter(|_| seq > 0).map(|hash| Anchor { seq, hash });
    Ok(())
}

fn judge(link: &Link, before: Option<LinkHash>, verified: &mut Verified) {
    let (seq, event_id) = (link.seq, link.event_id);
    if link.previous != before {
        verified.find(Finding::NotLinked { seq, event_id });
    }
    let Some(break_id) = link.event[1].clone() else {
        verified.find(Finding::EventGone { seq, event_id });
        return;
    };
    let previous = link.previous.unwrap_or(LinkHash::START);
    if link.hash != Some(link_hash(seq, previous, &link.event)) {
        verified.find(Finding::Altered {
            seq,
            event_id,
            break_id,
        });
    }
}

async fn events(conn: &mut PgConnection, verified: &mut Verified) -> Result<(), sqlx::Error> {
    let mut after = i64::MIN;
    loop {
        let page: Vec<(i64, String, String, bool)> = sqlx::query_as(EVENTS)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *conn)
            .await?;
        for (event_id, break_id, event, is_linked) in &page {
            after = *event_id;
            verified.events += 1;
            if !is_linked {
                verified.find(Finding::NotInChain {
                    event_id: *event_id,
                    break_id: break_id.clone(),
                    event: event.clone(),
                });
            }
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// A break's version, its state, and its newest event with those after it.
type Told = (Uuid, i64, String, Option<i64>, Option<i64>, Option<String>);

async fn breaks(conn: &mut PgConnection, verified: &mut Verified) -> Result<(), sqlx::Error> {
    let mut after = Uuid::nil();
    loop {
        let page: Vec<Told> = sqlx::query_as(BREAKS)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut *conn)
            .await?;
        for (id, version, state, event, told_version, told_state) in &page {
            after = *id;
            verified.breaks += 1;
            let break_id = id.to_string();
            match (event, told_version, told_state) {
                (None, ..) => verified.find(Finding::WithoutEvents { break_id }),
                (Some(_), Some(told_version), Some(told_state))
                    if (told_version, told_state) != (version, state) =>
                {
                    verified.find(Finding::Unexplained {
                        break_id,
                        is: format!("{state} at version {version}"),
                        told: format!("{told_state} at version {told_version}"),
                    });
                }
                // Events of before the versions say nothing about them.
                _ => {}
            }
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}
