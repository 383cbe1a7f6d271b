//! PostgreSQL: the answer to COMMIT is lost, or COMMIT itself. The write happens once, and says so once.

use crate::world::{NOW, World, event};
use portcullis_store::Store;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the wire does to the next COMMIT.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mischief {
    /// It arrives; its answer does not.
    AnswerLost,
    /// It arrives after the client has tried again.
    Late,
    /// It is lost, and the server learns at once.
    Lost,
    /// It is lost, and the server learns after the client has tried again.
    LostLate,
}

const LATE: Duration = Duration::from_millis(400);

/// A wire between the store and its server.
#[derive(Clone)]
struct Wire {
    next: Arc<Mutex<Option<Mischief>>>,
    done: Arc<AtomicU32>,
    server: String,
}

impl Wire {
    /// Gives the address to use instead of `url`.
    async fn before(url: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = url.find('@').unwrap() + 1;
        let end = at + url[at..].find('/').unwrap();
        let here = format!("{}{}{}", &url[..at], listener.local_addr().unwrap(), &url[end..]);
        let wire = Self { next: Arc::default(), done: Arc::default(), server: url[at..end].to_owned() };
        let accepting = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().carry(client));
            }
        });
        (wire, here)
    }

    async fn carry(self, mut client: TcpStream) {
        let mut server = TcpStream::connect(&self.server).await.unwrap();
        let (mut up, mut down) = ([0; 8192], [0; 8192]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => match read {
                    Ok(length @ 1..) => {
                        let message = &up[..length];
                        let mischief = is_commit(message).then(|| self.next.lock().unwrap().take()).flatten();
                        if let Some(mischief) = mischief {
                            self.done.fetch_add(1, Ordering::SeqCst);
                            return cut(mischief, message, client, server).await;
                        }
                        server.write_all(message).await.unwrap();
                    }
                    _ => return,
                },
                read = server.read(&mut down) => match read {
                    Ok(length @ 1..) => if client.write_all(&down[..length]).await.is_err() { return },
                    _ => return,
                },
            }
        }
    }
}

/// A simple query, as the driver sends it.
fn is_commit(message: &[u8]) -> bool {
    message == b"Q\0\0\0\x0bCOMMIT\0"
}

async fn cut(mischief: Mischief, commit: &[u8], client: TcpStream, mut server: TcpStream) {
    let mut answer = [0; 1024];
    match mischief {
        Mischief::AnswerLost => {
            server.write_all(commit).await.unwrap();
            assert!(server.read(&mut answer).await.unwrap() > 0);
            drop(client);
        }
        Mischief::Late => {
            drop(client);
            tokio::time::sleep(LATE).await;
            server.write_all(commit).await.unwrap();
            assert!(server.read(&mut answer).await.unwrap() > 0);
        }
        Mischief::Lost => drop((client, server)),
        Mischief::LostLate => {
            drop(client);
            tokio::time::sleep(LATE).await;
            drop(server);
        }
    }
}

async fn write_through(mischief: Mischief) {
    let world = World::new().await;
    if !world.database.is_postgres() {
        return; // nothing lies between SQLite and its answers
    }
    let (wire, url) = Wire::before(world.database.url()).await;
    let store = Store::open(&url).await.unwrap();
    let mut changes = store.changes();
    let feed = *changes.borrow_and_update();
    let runs = Arc::new(AtomicU32::new(0));
    let before = world.count_audit().await;
    *wire.next.lock().unwrap() = Some(mischief);
    let write = store.write(NOW, (runs.clone(), world.session(world.session_id())), |(runs, session), tx| {
        Box::pin(async move {
            let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
            tx.put_setting("run", &run.to_string()).await?;
            // A second row of the same id would be refused, and so would a second revocation make a second change.
            tx.insert_session(session).await?;
            tx.revoke_session(session.id, NOW).await?;
            tx.record(&event().with("run", run), run).await
        })
    });
    let answered = write.await.unwrap();
    assert_eq!(wire.done.load(Ordering::SeqCst), 1, "the COMMIT was met");
    let expected = match mischief {
        Mischief::AnswerLost | Mischief::Late => 1,
        Mischief::Lost | Mischief::LostLate => 2,
    };
    assert_eq!((answered, runs.load(Ordering::SeqCst)), (expected, expected), "{mischief:?}");
    let mut handle = world.read().await;
    assert_eq!(handle.reader().setting("run").await.unwrap(), Some(expected.to_string()));
    drop(handle);
    assert_eq!(world.count_audit().await, before + 1, "{mischief:?}");
    let news = world.read().await.reader().changes_after(feed).await.unwrap();
    assert_eq!(news.len(), 1, "{mischief:?}");
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    assert_eq!(*changes.borrow(), news[0].number, "followers are woken");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_is_looked_up() {
    write_through(Mischief::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_still_on_its_way_is_waited_for() {
    write_through(Mischief::Late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_is_done_again() {
    write_through(Mischief::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_the_server_still_holds_is_waited_for() {
    write_through(Mischief::LostLate).await;
}
