//! A store with one user, one client, one agent, one server and one grant.

use portcullis_domain::audit::{Actor, Event, Kind, Outcome};
use portcullis_domain::grant::{IssuedCode, Session, SessionOwner};
use portcullis_domain::id::{FamilyId, GrantId, ServerId, SessionId, UserId};
use portcullis_domain::refresh::Family;
use portcullis_domain::registry::{Agent, Placement, Server};
use portcullis_domain::secret::{AuthorizationCode, Hashed};
use portcullis_oauth::client::{AuthMethod, ClientId, GrantType};
use portcullis_oauth::scope::ScopeSet;
use portcullis_oauth::time::Timestamp;
use portcullis_store::testing::TestDatabase;
use portcullis_store::{ClientKind, NewClient, NewGrant, NewUser, ReadHandle, Store};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// Clones are the same world.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) database: Arc<TestDatabase>,
    pub(crate) user: UserId,
    pub(crate) client: ClientId,
    pub(crate) agent: ClientId,
    pub(crate) server: ServerId,
    pub(crate) grant: GrantId,
    counter: Arc<AtomicU64>,
}

pub(crate) fn event() -> Event {
    Event::new(Kind::HousekeepingDone, Outcome::Allowed, Actor::System)
}

pub(crate) fn scopes(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

pub(crate) fn new_client(id: &str) -> NewClient {
    NewClient {
        client_id: id.parse().unwrap(),
        kind: ClientKind::SelfRegistered,
        name: Some("A \"client\"\n".into()),
        client_uri: Some("https://client.test/".into()),
        redirect_uris: vec!["http://127.0.0.1/callback".parse().unwrap()],
        auth_method: AuthMethod::None,
        grant_types: vec![GrantType::AuthorizationCode, GrantType::RefreshToken],
        created_at: NOW,
        fingerprint: Some(format!("fingerprint of {id}")),
    }
}

pub(crate) fn new_user(n: u64, username: &str) -> NewUser {
    NewUser {
        id: UserId::from_bytes(bytes(n)),
        username: username.into(),
        password_hash: "$argon2id$v=19$not-a-real-one".into(),
        must_change: true,
        password_ends_at: Some(NOW + HOUR),
        groups: vec!["eng".into()],
        admin: true,
    }
}

pub(crate) fn server(id: ServerId, name: &str) -> Server {
    Server {
        id,
        name: name.parse().unwrap(),
        title: "Team notes".into(),
        canonical_uri: format!("https://as.test/mcp/{name}").parse().unwrap(),
        placement: Placement::Direct,
        access_seconds: Some(300),
        labels: vec!["internal".into()],
        owners: vec![],
        observe: false,
        pinning: portcullis_domain::registry::Pinning::default(),
        other_transports: std::collections::BTreeSet::default(),
        limits: portcullis_domain::registry::ServerLimits::default(),
        issuers: portcullis_domain::registry::Issuers::default(),

        default_scopes: scopes("notes:read"),
        scopes: BTreeMap::new(),
        rules: vec![],
    }
}

pub(crate) fn agent(client_id: &ClientId, name: &str) -> Agent {
    Agent {
        client_id: client_id.clone(),
        name: name.parse().unwrap(),
        owner: "platform".into(),
        labels: vec![],
        disabled: false,
        expires_at: None,
        access: BTreeMap::from([("notes".parse().unwrap(), scopes("notes:read"))]),
        introspects: vec![],
        deliver: None,
    }
}

fn bytes(n: u64) -> [u8; 16] {
    u128::from(n).to_be_bytes()
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::create().await;
        Self::on(database).await
    }

    pub(crate) async fn on(database: TestDatabase) -> Self {
        let world = Self {
            store: database.open().await,
            database: Arc::new(database),
            user: UserId::from_bytes(bytes(1)),
            client: "cli_1".parse().unwrap(),
            agent: "cli_agent".parse().unwrap(),
            server: ServerId::from_bytes(bytes(2)),
            grant: GrantId::from_bytes(bytes(3)),
            counter: Arc::new(AtomicU64::new(1000)),
        };
        world.fill().await;
        world
    }

    async fn fill(&self) {
        let fill = self.store.write(NOW, self.clone(), |world, tx| {
            Box::pin(async move {
                tx.insert_user(&new_user(1, "alice")).await?;
                tx.insert_client(&new_client("cli_1")).await?;
                let of_agent = NewClient {
                    client_id: world.agent.clone(),
                    kind: ClientKind::Agent { name: "ci-bot".parse().unwrap() },
                    auth_method: AuthMethod::ClientSecretBasic,
                    fingerprint: None,
                    ..new_client("cli_agent")
                };
                tx.insert_client(&of_agent).await?;
                tx.put_agent(&agent(&world.agent, "ci-bot")).await?;
                tx.put_server(&server(world.server, "notes")).await?;
                let agreed = scopes("notes:read");
                tx.merge_grant(world.new_grant(world.grant), &agreed).await?;
                tx.record(&event(), ()).await
            })
        });
        fill.await.unwrap();
    }

    /// A number that was not used yet.
    pub(crate) fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn session_id(&self) -> SessionId {
        SessionId::from_bytes(bytes(self.next()))
    }

    /// Of the user to the client, on the server.
    pub(crate) fn new_grant(&self, id: GrantId) -> NewGrant<'_> {
        NewGrant { id, user: self.user, client: &self.client, server: self.server }
    }

    pub(crate) fn grant_id(&self) -> GrantId {
        GrantId::from_bytes(bytes(self.next()))
    }

    pub(crate) fn session(&self, id: SessionId) -> Session {
        Session {
            id,
            client_id: self.client.clone(),
            owner: SessionOwner::User { user: self.user, grant: self.grant },
            server: self.server,
            resource: "https://as.test/mcp/notes".parse().unwrap(),
            scopes: scopes("notes:read"),
            started_at: NOW,
            ends_at: NOW + HOUR,
            revoked: false,
        }
    }

    pub(crate) fn family(&self) -> Family {
        Family {
            id: FamilyId::from_bytes(bytes(self.next())),
            client_id: self.client.clone(),
            generation: 0,
            rotated_at: None,
            idle_end: NOW + HOUR,
            absolute_end: NOW + 2 * HOUR,
            key_version: 1,
            revoked: false,
        }
    }

    pub(crate) fn code(&self) -> IssuedCode {
        IssuedCode {
            client_id: self.client.clone(),
            user: self.user,
            grant: self.grant,
            server: self.server,
            resource: "https://as.test/mcp/notes".parse().unwrap(),
            scopes: scopes("notes:read"),
            redirect_uri: "http://127.0.0.1:1/callback".into(),
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".parse().unwrap(),
            roles: vec!["engineers".into()],
            expires_at: NOW + Duration::from_mins(1),
            redeemed_as: None,
        }
    }

    /// Begins a session with a family.
    pub(crate) async fn begin(&self) -> (Session, Family) {
        let input = (self.session(self.session_id()), self.family());
        let begin = self.store.write(NOW, input, |(session, family), tx| {
            Box::pin(async move {
                tx.insert_session(session).await?;
                tx.insert_family(session.id, family).await?;
                tx.record(&event(), (session.clone(), family.clone())).await
            })
        });
        begin.await.unwrap()
    }

    /// Issues a code.
    pub(crate) async fn issue(&self) -> Hashed<AuthorizationCode> {
        let n = self.next();
        let hash = Hashed::of(&format!("code {n}"));
        let input = (hash.clone(), format!("flow {n}"), self.code());
        let issue = self.store.write(NOW, input, |(hash, flow, code), tx| {
            Box::pin(async move {
                assert!(tx.insert_code(hash, flow, code).await?);
                tx.record(&event(), ()).await
            })
        });
        issue.await.unwrap();
        hash
    }

    pub(crate) async fn read(&self) -> ReadHandle {
        self.store.read().await.unwrap()
    }

    /// How many audit events there are.
    pub(crate) async fn count_audit(&self) -> usize {
        self.read().await.reader().audit_after(0, 100_000).await.unwrap().len()
    }

    /// SQL past the store.
    pub(crate) async fn raw(&self, sql: &str) -> Result<(), sqlx::Error> {
        raw(&self.database, sql).await
    }
}

pub(crate) async fn raw(database: &TestDatabase, sql: &str) -> Result<(), sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    if database.is_postgres() {
        let mut connection = PgConnection::connect(database.url()).await?;
        connection.execute(sql).await?;
        connection.close().await
    } else {
        let mut connection = SqliteConnection::connect(database.url()).await?;
        connection.execute(sql).await?;
        connection.close().await
    }
}

/// Starts `racers` tasks at once, and gives what each came to.
pub(crate) async fn race<T, F>(racers: usize, run: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(racers));
    let tasks = (0..racers).map(|racer| {
        let (start, run) = (start.clone(), run(racer));
        tokio::spawn(async move {
            start.wait().await;
            run.await
        })
    });
    let mut results = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        results.push(task.await.unwrap());
    }
    results
}
