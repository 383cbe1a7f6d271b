//! Who issues and who takes away at the same moment: what is issued by what was true before is committed before, and covered.
//!
//! The clock of whoever issues is ahead, as another node's may be: a revocation that only covered what was made until its own
//! moment would miss the token.

use crate::world::{NOW, World, event};
use portcullis_domain::principal::RevokedTarget;
use portcullis_domain::registry::{Members, Role};
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Recorded, Tx, UserChange};
use sqlx::{Connection as _, PgConnection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

const UNTIL: Timestamp = Timestamp::from_seconds(1_800_000_900);
const AHEAD: Duration = Duration::from_secs(5);

/// How many transactions wait for a lock in this database.
const WAITING: &str = "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND pid IN
    (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";

/// What a token is issued by.
#[derive(Clone, Copy, Debug)]
enum By {
    Groups,
    Registry,
}

/// Somebody who looked at what is true, and has not committed yet.
fn issue(world: &World, by: By, number: u64, (looked, go): (Arc<Notify>, Arc<Notify>)) -> JoinHandle<bool> {
    let world = world.clone();
    tokio::spawn(async move {
        let input = (world.user, by, number, looked, go);
        let write = world.store.write(NOW + AHEAD, input, |(user, by, number, looked, go), tx| {
            Box::pin(async move {
                let is_todays = match by {
                    By::Groups => tx.hold_user(*user).await.map(|()| true)?,
                    By::Registry => tx.holds_registry(*number).await?,
                };
                looked.notify_one();
                go.notified().await;
                tx.record(&event(), is_todays).await
            })
        });
        write.await.unwrap()
    })
}

fn take(world: &World, by: By) -> JoinHandle<()> {
    let world = world.clone();
    tokio::spawn(async move {
        let write = world.store.write(NOW, (world.user, by), |input, tx| Box::pin(write_taking(input, tx)));
        write.await.unwrap();
    })
}

async fn write_taking(
    (user, by): &(portcullis_domain::id::UserId, By),
    tx: &mut Tx,
) -> Result<Recorded<()>, Error> {
    match by {
        By::Groups => {
            let change = UserChange { groups: Some(vec![]), ..UserChange::default() };
            tx.change_user(*user, &change).await?;
        }
        By::Registry => {
            tx.take_registry().await?;
            let role = Role {
                name: "engineers".parse().unwrap(),
                members: Members::default(),
                access: BTreeMap::new(),
            };
            tx.put_role(&role).await?;
        }
    }
    tx.revoke_tokens_of_user(*user, UNTIL).await?;
    tx.record(&event(), ()).await
}

/// Until it waits for whoever issues; on SQLite it does not even begin. If it has ended instead, that shows later.
async fn until_waiting(world: &World, taking: &JoinHandle<()>) {
    if !world.database.is_postgres() {
        return;
    }
    let mut connection = PgConnection::connect(world.database.url()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !taking.is_finished() {
        assert!(tokio::time::Instant::now() < deadline, "it neither waits nor ends");
        let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut connection).await.unwrap();
        if waiting > 0 {
            break;
        }
    }
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pc_45_what_is_being_issued_is_covered_by_what_takes_it_away() {
    for by in [By::Groups, By::Registry] {
        let world = World::new().await;
        let number = world.read().await.reader().latest_change().await.unwrap();
        let (looked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let issuing = issue(&world, by, number, (looked.clone(), go.clone()));
        looked.notified().await;
        let taking = take(&world, by);
        until_waiting(&world, &taking).await;
        go.notify_one();
        assert!(issuing.await.unwrap(), "{by:?}: it was true when it was looked at");
        taking.await.unwrap();
        let revocations = world.read().await.reader().revocations(NOW).await.unwrap();
        let of_user = |target: &RevokedTarget| *target == RevokedTarget::User(world.user);
        let covered = revocations.iter().find(|revocation| of_user(&revocation.target)).unwrap().at;
        assert!(covered >= NOW + AHEAD, "{by:?}: a token of {:?} is not covered by {covered:?}", NOW + AHEAD);

        // From then on nothing is issued by what was true before.
        let (looked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        go.notify_one();
        let late = issue(&world, by, number, (looked, go)).await.unwrap();
        assert_eq!(late, matches!(by, By::Groups), "{by:?}: groups are read after they are held");
    }
}
