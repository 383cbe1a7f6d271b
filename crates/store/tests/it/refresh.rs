//! Concurrent refresh: however many present a token at once, there is one distinct successor.

use crate::world::{HOUR, NOW, World, event, race};
use portcullis_domain::id::FamilyId;
use portcullis_domain::refresh::{Judgement, Reuse};
use portcullis_oauth::client::ClientId;
use portcullis_oauth::time::Timestamp;
use portcullis_store::{Error, Tx};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// A token of this generation was handed out.
    Successor(u32),
    Refused,
}

/// As the token endpoint does it: judge, and let the conditional statement decide.
async fn present(tx: &mut Tx, id: FamilyId, generation: u32, client: &ClientId) -> Result<Answer, Error> {
    let now = tx.now();
    loop {
        let (family, _) = tx.read().family(id).await?.unwrap();
        match family.judge(generation, client, now, GRACE) {
            Judgement::Advance if tx.advance_family(id, generation, now + HOUR).await? => {
                return Ok(Answer::Successor(generation + 1));
            }
            // Another was faster: judge what it left.
            Judgement::Advance => {}
            Judgement::Repeat => {
                tx.note_repeat(id).await?;
                return Ok(Answer::Successor(generation + 1));
            }
            Judgement::Revoke(Reuse::AheadOfRow | Reuse::Retired) => {
                tx.revoke_family(id).await?;
                return Ok(Answer::Refused);
            }
            Judgement::Refuse(_) => return Ok(Answer::Refused),
        }
    }
}

async fn refresh(world: &World, id: FamilyId, generation: u32, now: Timestamp) -> Answer {
    let input = (id, generation, world.client.clone());
    let write = world.store.write(now, input, |(id, generation, client), tx| {
        Box::pin(async move {
            let answer = present(tx, *id, *generation, client).await?;
            tx.record(&event(), answer).await
        })
    });
    write.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_rt_04_concurrent_refresh_gives_one_distinct_successor() {
    let world = World::new().await;
    let (_, family) = world.begin().await;
    for generation in 0..6 {
        let answers = race(10, |_| {
            let (world, id) = (world.clone(), family.id);
            async move { refresh(&world, id, generation, NOW).await }
        });
        let distinct: BTreeSet<_> = answers.await.into_iter().collect();
        assert_eq!(distinct, BTreeSet::from([Answer::Successor(generation + 1)]));
    }
    let (row, _) = world.read().await.reader().family(family.id).await.unwrap().unwrap();
    assert_eq!((row.generation, row.revoked), (6, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_rt_05_a_retired_generation_ends_the_family_for_all() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new().await;
        let (_, family) = world.begin().await;
        for generation in 0..3 {
            assert_eq!(refresh(&world, family.id, generation, NOW).await, Answer::Successor(generation + 1));
        }
        // Some present the current one, one presents the one before the last.
        let thief = random.random_range(0..10);
        let answers = race(10, |racer| {
            let (world, id) = (world.clone(), family.id);
            let generation = if racer == thief { 1 } else { 3 };
            async move { refresh(&world, id, generation, NOW).await }
        });
        let answers = answers.await;
        assert_eq!(answers[thief], Answer::Refused);
        let distinct: BTreeSet<_> = answers.into_iter().collect();
        assert!(distinct.is_subset(&BTreeSet::from([Answer::Successor(4), Answer::Refused])));
        let (row, _) = world.read().await.reader().family(family.id).await.unwrap().unwrap();
        assert!(row.revoked);
        assert_eq!(refresh(&world, family.id, row.generation, NOW).await, Answer::Refused);
    }
}
