//! Connections to third parties: begun and taken once, renewed by one, ended with what they hang from.

use crate::world::{HOUR, NOW, World, event, race};
use portcullis_domain::id::ConnectionId;
use portcullis_domain::principal::RevokedTarget;
use portcullis_domain::secret::Hashed;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{
    ChangeKind, ConnectionFilter, ConnectionState, Error, NewConnecting, NewConnection, Renewal,
};
use std::time::Duration;

const UNTIL: Timestamp = Timestamp::from_seconds(1_800_003_600);
const SECOND: Duration = Duration::from_secs(1);

fn id(n: u8) -> ConnectionId {
    ConnectionId::from_bytes([n; 16])
}

/// Runs statements on a transaction of the world at a moment.
macro_rules! write {
    ($world:expr, $now:expr, $input:expr, |$name:pat_param, $tx:ident| $body:expr) => {
        $world
            .store
            .write($now, $input, |$name, $tx| {
                Box::pin(async move {
                    let value = $body;
                    $tx.record(&event(), value).await
                })
            })
            .await
    };
}

async fn connect(world: &World, n: u8) -> Result<(), Error> {
    let new = NewConnection {
        id: id(n),
        server: world.server,
        user: world.user,
        issuer: "https://as.example".into(),
        scopes: "a b".into(),
        sealed: vec![n],
    };
    write!(world, NOW, new, |new, tx| tx.connect(new, UNTIL).await?)
}

fn renewal(n: u8, version: u64, lease: &str) -> Renewal {
    Renewal { id: id(n), version, lease: lease.to_owned() }
}

async fn begin(world: &World, state: &str, session: &str) {
    let new = NewConnecting {
        hash: Hashed::of(state),
        server: world.server,
        user: world.user,
        session: Hashed::of(session),
        sealed: state.as_bytes().to_vec(),
        expires_at: NOW + HOUR,
    };
    write!(world, NOW, new, |new, tx| tx.begin_connecting(new).await?).unwrap();
}

async fn take(world: &World, state: &str, session: &str, now: Timestamp) -> Option<Vec<u8>> {
    let input = (Hashed::of(state), world.user, Hashed::of(session));
    write!(world, now, input, |(state, user, session), tx| {
        tx.take_connecting(state, *user, session).await?.map(|taken| taken.sealed)
    })
    .unwrap()
}

/// The connections whose copies were ended, in order.
async fn ended_copies(world: &World) -> Vec<ConnectionId> {
    let changes = world.read().await.reader().changes_after(0).await.unwrap();
    let ended = changes.into_iter().filter_map(|change| match change.kind {
        ChangeKind::Revoked(revocation) => Some(revocation.target),
        ChangeKind::Agents(_) | ChangeKind::Keys | ChangeKind::Registry => None,
    });
    let connection = |target| if let RevokedTarget::Connection(id) = target { Some(id) } else { None };
    ended.filter_map(connection).collect()
}

#[tokio::test]
async fn ups_06_a_sign_in_counts_once_in_its_browser_and_in_time() {
    let world = World::new().await;
    begin(&world, "one", "browser").await;
    assert_eq!(take(&world, "one", "another browser", NOW).await, None);
    assert_eq!(take(&world, "another", "browser", NOW).await, None);
    assert_eq!(take(&world, "one", "browser", NOW + HOUR).await, None, "too late");
    assert_eq!(take(&world, "one", "browser", NOW).await, Some(b"one".to_vec()));
    assert_eq!(take(&world, "one", "browser", NOW).await, None, "once");
    begin(&world, "first", "browser").await;
    begin(&world, "second", "browser").await;
    assert_eq!(take(&world, "first", "browser", NOW).await, None, "the later one counts");
    assert!(
        world.read().await.reader().is_connecting(world.server, &Hashed::of("browser"), NOW).await.unwrap()
    );
    assert!(take(&world, "second", "browser", NOW).await.is_some());
}

#[tokio::test]
async fn ups_06_of_twenty_that_bring_one_state_one_wins() {
    let world = World::new().await;
    begin(&world, "one", "browser").await;
    let won = race(20, |_| {
        let world = world.clone();
        async move { take(&world, "one", "browser", NOW).await.is_some() }
    });
    assert_eq!(won.await.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_one_before() {
    let world = World::new().await;
    connect(&world, 1).await.unwrap();
    connect(&world, 2).await.unwrap();
    let mut handle = world.read().await;
    let found = handle.reader().connection_of(world.server, world.user).await.unwrap().unwrap();
    assert_eq!((found.id, found.state, found.version), (id(2), ConnectionState::Connected, 1));
    assert_eq!(handle.reader().upstream_connection(id(1)).await.unwrap(), None);
    let all = handle.reader().connections(ConnectionFilter::default(), 10).await.unwrap();
    assert_eq!(all, [found]);
    drop(handle);
    assert_eq!(ended_copies(&world).await, [id(1)], "UPS-06: it may be another account");
}

#[tokio::test]
async fn of_twenty_that_want_to_renew_one_gets_the_lease_and_what_it_brings_counts() {
    let world = World::new().await;
    connect(&world, 1).await.unwrap();
    let got = race(20, |n| {
        let world = world.clone();
        async move {
            let input = renewal(1, 1, &n.to_string());
            write!(world, NOW, input, |input, tx| tx.lease(input, NOW + HOUR).await?).unwrap().then_some(n)
        }
    });
    let got: Vec<usize> = got.await.into_iter().flatten().collect();
    assert_eq!(got.len(), 1);
    let (mine, other) = (renewal(1, 1, &got[0].to_string()), renewal(1, 1, "other"));
    let renewed = |renewal: Renewal| async {
        write!(world, NOW, renewal, |renewal, tx| tx.renewed(renewal, (b"new", "a")).await?).unwrap()
    };
    assert!(!renewed(other).await, "without the lease");
    assert!(renewed(mine.clone()).await);
    assert!(!renewed(mine).await, "once");
    let found = world.read().await.reader().connection_of(world.server, world.user).await.unwrap().unwrap();
    assert_eq!((found.sealed.as_slice(), found.version, found.scopes.as_str()), (b"new".as_slice(), 2, "a"));
}

#[tokio::test]
async fn a_lease_ends_and_can_be_given_back() {
    let world = World::new().await;
    connect(&world, 1).await.unwrap();
    let lease = |name: &'static str, now: Timestamp| {
        let world = world.clone();
        async move {
            let input = renewal(1, 1, name);
            write!(world, now, input, |input, tx| tx.lease(input, tx.now() + HOUR).await?).unwrap()
        }
    };
    assert!(lease("dead", NOW).await);
    assert!(!lease("other", NOW + HOUR - SECOND).await);
    assert!(lease("other", NOW + HOUR).await, "whoever had it died");
    write!(world, NOW, renewal(1, 1, "dead"), |renewal, tx| tx.give_back(renewal).await?).unwrap();
    assert!(!lease("third", NOW + HOUR).await, "it was not theirs any more");
    write!(world, NOW, renewal(1, 1, "other"), |renewal, tx| tx.give_back(renewal).await?).unwrap();
    assert!(lease("third", NOW + HOUR).await);
    let expired = write!(world, NOW, renewal(1, 1, "third"), |renewal, tx| tx.expire(renewal, UNTIL).await?);
    assert!(expired.unwrap());
    let found = world.read().await.reader().connection_of(world.server, world.user).await.unwrap().unwrap();
    assert_eq!(found.state, ConnectionState::Expired);
    assert!(!lease("fourth", NOW + 3 * HOUR).await, "that is final");
    assert_eq!(ended_copies(&world).await, [id(1)]);
}

#[tokio::test]
async fn pc_45_connections_end_with_what_they_hang_from_and_wait_for_their_issuer() {
    for what in ["user", "server", "everything of the user", "everything on the server", "itself"] {
        let world = World::new().await;
        connect(&world, 1).await.unwrap();
        begin(&world, "under way", "browser").await;
        let input = (world.clone(), what);
        write!(world, NOW, input, |(world, what), tx| {
            match *what {
                "user" => assert!(tx.disable_user(world.user, UNTIL).await?),
                "server" => assert!(tx.remove_server(world.server, UNTIL).await?),
                "everything of the user" => assert!(tx.end_all_of_user(world.user, UNTIL).await?.is_some()),
                "everything on the server" => {
                    assert!(tx.end_all_on_server(world.server, UNTIL).await?.is_some());
                }
                _ => assert!(tx.end_connection(id(1), UNTIL).await?),
            }
        })
        .unwrap();
        let mut handle = world.read().await;
        assert_eq!(handle.reader().connection_of(world.server, world.user).await.unwrap(), None, "{what}");
        let due = handle.reader().due_endings(NOW, 10).await.unwrap();
        assert_eq!(due.iter().map(|ending| ending.id).collect::<Vec<_>>(), [id(1)], "{what}");
        drop(handle);
        assert_eq!(ended_copies(&world).await, [id(1)], "{what}");
        let stays = what == "itself";
        assert_eq!(take(&world, "under way", "browser", NOW).await.is_some(), stays, "{what}");
    }
}

#[tokio::test]
async fn an_issuer_is_told_by_one_node_at_a_time_and_of_what_was_given_last() {
    let world = World::new().await;
    connect(&world, 1).await.unwrap();
    let mine = renewal(1, 1, "mine");
    assert!(write!(world, NOW, mine.clone(), |mine, tx| tx.lease(mine, UNTIL).await?).unwrap());
    write!(world, NOW, (), |(), tx| tx.end_connection(id(1), UNTIL).await?).unwrap();
    let kept = write!(world, NOW, mine, |mine, tx| tx.renewed(mine, (b"newest", "a")).await?);
    assert!(!kept.unwrap(), "it ended meanwhile");
    let due = world.read().await.reader().due_endings(NOW, 10).await.unwrap();
    assert_eq!(due[0].sealed, b"newest");
    let tried = race(5, |_| {
        let world = world.clone();
        async move { write!(world, NOW, (), |(), tx| tx.try_ending(id(1), 0, NOW + SECOND).await?).unwrap() }
    });
    assert_eq!(tried.await.into_iter().filter(|tried| *tried).count(), 1);
    let mut handle = world.read().await;
    assert!(handle.reader().due_endings(NOW, 10).await.unwrap().is_empty());
    assert_eq!(handle.reader().due_endings(NOW + SECOND, 10).await.unwrap()[0].attempts, 1);
    drop(handle);
    assert!(write!(world, NOW, (), |(), tx| tx.forget_connection(id(1)).await?).unwrap());
    assert!(world.read().await.reader().due_endings(UNTIL, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_connects_who_is_gone_or_where_nothing_is() {
    let world = World::new().await;
    let input = world.user;
    write!(world, NOW, input, |user, tx| tx.disable_user(*user, UNTIL).await?).unwrap();
    assert!(matches!(connect(&world, 1).await, Err(Error::Conflict("user_alive"))));
    let world = World::new().await;
    let input = world.server;
    write!(world, NOW, input, |server, tx| tx.remove_server(*server, UNTIL).await?).unwrap();
    assert!(matches!(connect(&world, 1).await, Err(Error::Conflict("server_alive"))));
}
