//! PC-33: pins and sightings, on the engine that this run is about.

use crate::world::{World, event, race, server};
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{Definition, Pin, SeenTool};
use portcullis_store::ChangeKind;

fn seen(name: &str, says: &str, approval: u64) -> SeenTool {
    let text = format!(r#"{{"name":"{name}","description":"{says}"}}"#);
    SeenTool { name: name.to_owned(), definition: Definition::read(&text).unwrap(), approval }
}

async fn pin_first(world: &World, tools: Vec<SeenTool>) -> bool {
    let write = world.store.write(crate::world::NOW, (world.server, tools), |(server, tools), tx| {
        Box::pin(async move {
            let pinned = tx.pin_first(*server, tools).await?;
            tx.record(&event(), pinned).await
        })
    });
    write.await.unwrap()
}

async fn sight(world: &World, tools: Vec<SeenTool>) -> Vec<String> {
    let write = world.store.write(crate::world::NOW, (world.server, tools), |(server, tools), tx| {
        Box::pin(async move {
            let news = tx.sight(*server, tools).await?;
            tx.record(&event(), news).await
        })
    });
    write.await.unwrap()
}

async fn approve(world: &World, tool: SeenTool) {
    let write = world.store.write(crate::world::NOW, (world.server, tool), |(server, tool), tx| {
        Box::pin(async move {
            assert!(tx.take_server(*server).await?);
            tx.approve_tool(*server, (&tool.name, &tool.definition), "somebody").await?;
            tx.record(&event(), ()).await
        })
    });
    write.await.unwrap();
}

async fn pin(world: &World, tool: &str) -> Option<Pin> {
    let all = world.read().await.reader().pins().await.unwrap();
    all.get(&world.server).and_then(|pins| pins.get(tool)).copied()
}

async fn registry_changes(world: &World) -> usize {
    let changes = world.read().await.reader().changes_after(0).await.unwrap();
    changes.iter().filter(|change| change.kind == ChangeKind::Registry).count()
}

#[tokio::test]
async fn pc_33_the_first_sight_is_pinned_once_whoever_saw_it() {
    let world = World::new().await;
    assert!(!pin_first(&world, vec![]).await, "of nothing there is nothing to pin");
    let racers = race(6, |n| {
        let world = world.clone();
        async move {
            pin_first(&world, vec![seen("a", &n.to_string(), 0), seen(&format!("of {n}"), "x", 0)]).await
        }
    });
    assert_eq!(racers.await.into_iter().filter(|won| *won).count(), 1);
    let pinned = world.read().await.reader().pinned_tools(world.server).await.unwrap();
    assert_eq!(pinned.len(), 2, "one list, not two put together: {pinned:?}");
    assert!(pinned.iter().all(|pinned| pinned.approved_by == "first sight" && pinned.approval == 1));
}

#[tokio::test]
async fn pc_33_what_differs_is_held_until_an_approval_and_told_once() {
    let world = World::new().await;
    pin_first(&world, vec![seen("a", "good", 0), seen("b", "good", 0)]).await;
    let before = registry_changes(&world).await;
    assert!(sight(&world, vec![seen("a", "good", 1)]).await.is_empty(), "as it is pinned");
    assert_eq!(registry_changes(&world).await, before);

    assert_eq!(sight(&world, vec![seen("a", "evil", 1), seen("c", "new", 0)]).await, ["a", "c"]);
    assert!(sight(&world, vec![seen("a", "evil", 1)]).await.is_empty(), "it is known");
    assert!(pin(&world, "a").await.unwrap().held && !pin(&world, "b").await.unwrap().held);
    assert_eq!(pin(&world, "c").await, None);
    assert_eq!(
        registry_changes(&world).await,
        before + 1,
        "gateways need to know of what is held, not of what is new"
    );
    assert_eq!(sight(&world, vec![seen("a", "worse", 1)]).await, ["a"], "the newest is what is looked at");
    let sighted = world.read().await.reader().sighted_tools(world.server).await.unwrap();
    assert_eq!(sighted[0].definition, seen("a", "worse", 1).definition);

    // The operator stays with what was approved, again.
    approve(&world, seen("a", "good", 0)).await;
    let again = pin(&world, "a").await.unwrap();
    assert!(!again.held && again.approval == 2);
    assert!(sight(&world, vec![seen("a", "evil", 1)]).await.is_empty(), "seen before the approval");
    assert_eq!(sight(&world, vec![seen("a", "evil", 2)]).await, ["a"]);
    approve(&world, seen("c", "new", 0)).await;
    assert_eq!(pin(&world, "c").await.map(|pin| (pin.approval, pin.held)), Some((1, false)));
}

#[tokio::test]
async fn pc_33_an_upstream_cannot_fill_the_store_with_names() {
    let world = World::new().await;
    pin_first(&world, vec![seen("a", "good", 0)]).await;
    for round in 0..3 {
        let names = (0..500).map(|n| seen(&format!("new {round} {n}"), "x", 0)).collect();
        sight(&world, names).await;
    }
    assert_eq!(world.read().await.reader().sighted_tools(world.server).await.unwrap().len(), 1000);
    assert_eq!(sight(&world, vec![seen("a", "evil", 1)]).await, ["a"], "what is pinned is held all the same");
}

#[tokio::test]
async fn pc_33_pins_go_with_their_server() {
    let world = World::new().await;
    pin_first(&world, vec![seen("a", "good", 0)]).await;
    sight(&world, vec![seen("a", "evil", 1)]).await;
    let change = world.store.write(crate::world::NOW, world.server, |id, tx| {
        Box::pin(async move {
            let renamed = server(*id, "renamed");
            tx.put_server(&renamed).await?;
            tx.record(&event(), ()).await
        })
    });
    change.await.unwrap();
    assert!(pin(&world, "a").await.unwrap().held, "another name or address changes nothing");
    let removal = world.store.write(crate::world::NOW, world.server, |id, tx| {
        Box::pin(async move {
            tx.remove_server(*id, crate::world::NOW).await?;
            let gone = tx.pin_first(*id, &[seen("a", "x", 0)]).await?;
            tx.record(&event(), gone).await
        })
    });
    assert!(!removal.await.unwrap(), "a server that is gone gets no pins");
    assert!(world.read().await.reader().pins().await.unwrap().is_empty());
    let other = ServerId::from_bytes([9; 16]);
    assert!(world.read().await.reader().sighted_tools(other).await.unwrap().is_empty());
}
