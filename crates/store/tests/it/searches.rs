//! Lists and searches, page by page (PC-52).

use crate::world::{HOUR, NOW, World, event, scopes};
use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::grant::{Session, SessionOwner};
use portcullis_domain::id::{ServerId, SessionId, UserId};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{AuditFilter, AuditOrder, ClientSort, GrantFilter, SessionFilter};
use std::time::Duration;

async fn record(world: &World, at: Timestamp, event: Event) {
    let write = world.store.write(at, event, |event, tx| Box::pin(async move { tx.record(event, ()).await }));
    write.await.unwrap();
}

async fn found(world: &World, filter: &AuditFilter) -> Vec<Event> {
    let mut handle = world.read().await;
    let order = AuditOrder::Oldest { after: 0 };
    let page = handle.reader().audit_page(filter, order, 100).await.unwrap();
    page.into_iter().map(|(_, _, event)| event).collect()
}

#[tokio::test]
async fn pc_52_a_search_finds_by_each_filter_what_it_names_and_nothing_else() {
    let world = World::new().await;
    let refused = Outcome::Refused("x".to_owned());
    let mut one = Event::new(Kind::TokenDecided, refused, Actor::Client("cli_1".parse().unwrap()));
    one.user = Some(UserId::from_bytes([1; 16]));
    one.server = Some(ServerId::from_bytes([2; 16]));
    one.session = Some(SessionId::from_bytes([3; 16]));
    let mut other =
        Event::new(Kind::ConsentDecided, Outcome::Allowed, Actor::User(UserId::from_bytes([7; 16])));
    other.client = Some("cli_7".parse().unwrap());
    other.server = Some(ServerId::from_bytes([8; 16]));
    other.session = Some(SessionId::from_bytes([9; 16]));
    record(&world, NOW + HOUR, one.clone()).await;
    record(&world, NOW + 2 * HOUR, other.clone()).await;
    let filter = AuditFilter::default;
    for (filter, what) in [
        (AuditFilter { kind: Some(Kind::TokenDecided), ..filter() }, "kind"),
        (AuditFilter { allowed: Some(false), ..filter() }, "outcome"),
        (AuditFilter { actor: Some("cli_1".to_owned()), ..filter() }, "actor"),
        (
            AuditFilter { client: Some("cli_1".parse().unwrap()), ..filter() },
            "client, though it is the actor",
        ),
        (AuditFilter { user: Some(UserId::from_bytes([1; 16])), ..filter() }, "user"),
        (AuditFilter { server: Some(ServerId::from_bytes([2; 16])), ..filter() }, "server"),
        (AuditFilter { session: Some(SessionId::from_bytes([3; 16])), ..filter() }, "session"),
        (AuditFilter { since: Some(NOW + HOUR), until: Some(NOW + 2 * HOUR), ..filter() }, "time"),
    ] {
        assert_eq!(found(&world, &filter).await, [one.clone()], "{what}");
    }
    let by_actor = AuditFilter { user: Some(UserId::from_bytes([7; 16])), ..filter() };
    assert_eq!(found(&world, &by_actor).await, [other.clone()], "a user who did it");
    let neither = AuditFilter {
        client: Some("cli_1".parse().unwrap()),
        server: Some(ServerId::from_bytes([8; 16])),
        ..filter()
    };
    assert_eq!(found(&world, &neither).await, [], "all filters count");
}

#[tokio::test]
async fn pc_52_pages_go_through_the_record_in_both_directions() {
    let world = World::new().await;
    for _ in 0..10 {
        record(&world, NOW, event()).await;
    }
    let mut handle = world.read().await;
    let all: Vec<u64> = handle.reader().audit_after(0, 100).await.unwrap().iter().map(|r| r.0).collect();
    assert!(all.len() >= 10);
    let (mut oldest, mut newest) = (Vec::new(), Vec::new());
    let (mut after, mut before) = (0, None);
    loop {
        let order = AuditOrder::Oldest { after };
        let page = handle.reader().audit_page(&AuditFilter::default(), order, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.0;
        oldest.extend(page.iter().map(|record| record.0));
    }
    loop {
        let order = AuditOrder::Newest { before };
        let page = handle.reader().audit_page(&AuditFilter::default(), order, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.0);
        newest.extend(page.iter().map(|record| record.0));
    }
    newest.reverse();
    assert_eq!((&oldest, &newest), (&all, &all));
}

#[tokio::test]
async fn pc_52_sessions_are_found_by_client_person_server_and_whether_they_live() {
    let world = World::new().await;
    let (of_person, _) = world.begin().await;
    let of_agent = Session {
        client_id: world.agent.clone(),
        owner: SessionOwner::Agent,
        ends_at: NOW + 2 * HOUR,
        ..world.session(world.session_id())
    };
    let write = world.store.write(NOW, of_agent.clone(), |session, tx| {
        Box::pin(async move {
            tx.insert_session(session).await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
    let mut handle = world.read().await;
    let mut ids = async |filter: SessionFilter, before| {
        let page = handle.reader().sessions_page(&filter, before, 10).await.unwrap();
        page.into_iter()
            .map(|listed| (listed.session.id, listed.username.or(listed.agent.map(|name| name.to_string()))))
            .collect::<Vec<_>>()
    };
    let person = (of_person.id, Some("alice".to_owned()));
    let agent = (of_agent.id, Some("ci-bot".to_owned()));
    let filter = SessionFilter::default;
    let both = [agent.clone(), person.clone()];
    assert_eq!(ids(filter(), None).await, both);
    assert_eq!(ids(filter(), Some(of_agent.id)).await, std::slice::from_ref(&person));
    let on_server = SessionFilter { server: Some(world.server), ..filter() };
    assert_eq!(ids(on_server, None).await, both);
    let elsewhere = SessionFilter { server: Some(ServerId::from_bytes([9; 16])), ..filter() };
    assert_eq!(ids(elsewhere, None).await, []);
    let of_agent = SessionFilter { client: Some(world.agent.clone()), ..filter() };
    assert_eq!(ids(of_agent, None).await, std::slice::from_ref(&agent));
    let of_user = SessionFilter { user: Some(world.user), ..filter() };
    assert_eq!(ids(of_user, None).await, [person]);
    let alive = SessionFilter { alive_at: Some(NOW + HOUR), ..filter() };
    assert_eq!(ids(alive, None).await, [agent]);
}

#[tokio::test]
async fn pc_52_grants_and_clients_are_listed() {
    let world = World::new().await;
    let mut handle = world.read().await;
    let filter = GrantFilter::default;
    for (filter, count) in [
        (filter(), 1),
        (GrantFilter { user: Some(world.user), ..filter() }, 1),
        (GrantFilter { client: Some(world.client.clone()), ..filter() }, 1),
        (GrantFilter { server: Some(world.server), ..filter() }, 1),
        (GrantFilter { user: Some(UserId::from_bytes([9; 16])), ..filter() }, 0),
        (GrantFilter { client: Some(world.agent.clone()), ..filter() }, 0),
        (GrantFilter { server: Some(ServerId::from_bytes([9; 16])), ..filter() }, 0),
    ] {
        let page = handle.reader().grants_page(&filter, None, 10).await.unwrap();
        assert_eq!(page.len(), count, "{filter:?}");
    }
    let listed = handle.reader().listed_grant(world.grant).await.unwrap().unwrap();
    assert_eq!((listed.username.as_str(), &listed.scopes), ("alice", &scopes("notes:read")));
    let page = handle.reader().grants_page(&filter(), Some(world.grant), 10).await.unwrap();
    assert_eq!(page, []);
    for (sort, ids) in [
        (None, &["cli_agent", "cli_1"][..]),
        (Some(ClientSort::Agent), &["cli_agent"]),
        (Some(ClientSort::SelfRegistered), &["cli_1"]),
        (Some(ClientSort::Registered), &[]),
    ] {
        let page = handle.reader().clients_page(sort, None, 10).await.unwrap();
        let found: Vec<_> = page.iter().map(|listed| listed.client.client_id.to_string()).collect();
        assert_eq!(found, ids, "{sort:?}");
    }
    let after = "cli_agent".parse().unwrap();
    let page = handle.reader().clients_page(None, Some(&after), 10).await.unwrap();
    assert_eq!(page.len(), 1);
    let used = handle.reader().client_used_at(&world.client).await.unwrap();
    assert_eq!(used, Some(NOW));
    assert_eq!(used.map(|used| used + Duration::ZERO), page[0].used_at);
}
