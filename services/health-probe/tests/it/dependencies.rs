//! A target that cannot work because another one is down.

use crate::fixture::{Fixture, becomes, rounds};
use crate::http::{OK, Server};

#[tokio::test]
async fn one_cause_is_told_once_and_what_stays_down_after_it_is_told_then() {
    let (database, service, page, receiver) = (
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
        Server::start(OK).await,
    );
    let fixture = Fixture::new(
        &format!(
            "  targets:\n    database: {{ url: \"{}\" }}\n    a-service: {{ url: \"{}\", depends_on: [database] }}\n    \
             a-page: {{ url: \"{}\", depends_on: [a-service] }}",
            database.url(),
            service.url(),
            page.url(),
        ),
        &format!("  webhooks: {{ pager: {{ url: \"{}\" }} }}", receiver.url()),
    );
    let child = fixture.serve();
    rounds(&child, 1).await;
    for server in [&database, &service, &page] {
        server.stop().await;
    }
    let mut told = vec!["open critical TargetUnhealthy database".to_owned()];
    becomes("the cause is told", &child, &told, || receiver.notices()).await;
    rounds(&child, 3).await;
    assert_eq!(receiver.notices(), told, "what follows from it is not");
    child.kill();
    let child = fixture.serve();
    rounds(&child, 3).await;
    assert_eq!(receiver.notices(), told, "nor after a restart");
    // The page recovers with the database, and nobody hears of it. The service does not.
    database.start_again().await;
    page.start_again().await;
    told.push("resolved critical TargetUnhealthy database".to_owned());
    told.push("open critical TargetUnhealthy a-service".to_owned());
    let sorted = |mut notices: Vec<String>| {
        notices.sort();
        notices
    };
    becomes("the service is told", &child, &sorted(told.clone()), || {
        sorted(receiver.notices())
    })
    .await;
    service.start_again().await;
    told.push("resolved critical TargetUnhealthy a-service".to_owned());
    becomes("and its end", &child, &sorted(told), || {
        sorted(receiver.notices())
    })
    .await;
}
