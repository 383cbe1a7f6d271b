-- Ids TEXT, times INTEGER (seconds), structured values JSON as TEXT. The same tables stand in ../postgres.

CREATE TABLE client (
    id            TEXT    NOT NULL CONSTRAINT client_pkey PRIMARY KEY,
    kind          TEXT    NOT NULL CONSTRAINT client_kind CHECK (kind IN ('agent', 'registered', 'self_registered')),
    agent_name    TEXT,
    name          TEXT,
    client_uri    TEXT,
    redirect_uris TEXT    NOT NULL,
    auth_method   TEXT    NOT NULL,
    grant_types   TEXT    NOT NULL,
    fingerprint   TEXT    CONSTRAINT client_fingerprint UNIQUE,
    created_at    INTEGER NOT NULL,
    disabled      INTEGER NOT NULL,
    CONSTRAINT client_agent_has_name CHECK ((kind = 'agent') = (agent_name IS NOT NULL))
) STRICT;
-- The name of a removed agent may be given again, to another client.
CREATE UNIQUE INDEX client_agent_name ON client (agent_name) WHERE NOT disabled;

-- Apart from the client, so that noting a use does not wait for those who rely on the client being alive.
CREATE TABLE client_use (
    client_id TEXT    NOT NULL CONSTRAINT client_use_pkey PRIMARY KEY CONSTRAINT client_use_client REFERENCES client (id),
    used_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE client_secret (
    hash       BLOB    NOT NULL CONSTRAINT client_secret_pkey PRIMARY KEY,
    client_id  TEXT    NOT NULL CONSTRAINT client_secret_client REFERENCES client (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE INDEX client_secret_by_client ON client_secret (client_id);

CREATE TABLE account (
    id            TEXT    NOT NULL CONSTRAINT account_pkey PRIMARY KEY,
    username      TEXT    NOT NULL CONSTRAINT account_username UNIQUE,
    password_hash TEXT    NOT NULL,
    must_change   INTEGER NOT NULL,
    user_groups   TEXT    NOT NULL,
    admin         INTEGER NOT NULL,
    disabled      INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE browser_session (
    hash             BLOB    NOT NULL CONSTRAINT browser_session_pkey PRIMARY KEY,
    user_id          TEXT    NOT NULL CONSTRAINT browser_session_user REFERENCES account (id),
    authenticated_at INTEGER NOT NULL,
    ends_at          INTEGER NOT NULL
) STRICT;
CREATE INDEX browser_session_by_user ON browser_session (user_id);

CREATE TABLE user_grant (
    id         TEXT    NOT NULL CONSTRAINT user_grant_pkey PRIMARY KEY,
    user_id    TEXT    NOT NULL CONSTRAINT user_grant_user REFERENCES account (id),
    client_id  TEXT    NOT NULL CONSTRAINT user_grant_client REFERENCES client (id),
    server_id  TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revoked    INTEGER NOT NULL
) STRICT;
-- One live grant of each kind; a revoked one never comes back to life.
CREATE UNIQUE INDEX user_grant_live ON user_grant (user_id, client_id, server_id) WHERE NOT revoked;
CREATE INDEX user_grant_by_user ON user_grant (user_id, id);
CREATE INDEX user_grant_by_client ON user_grant (client_id, id);
CREATE INDEX user_grant_by_server ON user_grant (server_id, id);

CREATE TABLE code (
    hash         BLOB    NOT NULL CONSTRAINT code_pkey PRIMARY KEY,
    flow         TEXT    NOT NULL CONSTRAINT code_flow UNIQUE,
    client_id    TEXT    NOT NULL CONSTRAINT code_client REFERENCES client (id),
    user_id      TEXT    NOT NULL CONSTRAINT code_user REFERENCES account (id),
    grant_id     TEXT    NOT NULL CONSTRAINT code_grant REFERENCES user_grant (id),
    server_id    TEXT    NOT NULL,
    resource     TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    challenge    TEXT    NOT NULL,
    roles        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    redeemed_as  TEXT
) STRICT;
CREATE INDEX code_by_grant ON code (grant_id);
CREATE INDEX code_by_client ON code (client_id);
CREATE INDEX code_by_user ON code (user_id);

CREATE TABLE session (
    id         TEXT    NOT NULL CONSTRAINT session_pkey PRIMARY KEY,
    client_id  TEXT    NOT NULL CONSTRAINT session_client REFERENCES client (id),
    user_id    TEXT    CONSTRAINT session_user_ref REFERENCES account (id),
    grant_id   TEXT    CONSTRAINT session_grant REFERENCES user_grant (id),
    server_id  TEXT    NOT NULL,
    resource   TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    revoked    INTEGER NOT NULL,
    CONSTRAINT session_owner CHECK ((user_id IS NULL) = (grant_id IS NULL))
) STRICT;
CREATE INDEX session_by_client ON session (client_id, id);
CREATE INDEX session_by_user ON session (user_id, id);
CREATE INDEX session_by_grant ON session (grant_id);
CREATE INDEX session_by_server ON session (server_id, id);
CREATE INDEX session_by_end ON session (ends_at);

CREATE TABLE family (
    id           TEXT    NOT NULL CONSTRAINT family_pkey PRIMARY KEY,
    session_id   TEXT    NOT NULL CONSTRAINT family_session REFERENCES session (id),
    client_id    TEXT    NOT NULL CONSTRAINT family_client REFERENCES client (id),
    generation   INTEGER NOT NULL,
    rotated_at   INTEGER,
    idle_end     INTEGER NOT NULL,
    absolute_end INTEGER NOT NULL,
    key_version  INTEGER NOT NULL,
    repeats      INTEGER NOT NULL,
    revoked      INTEGER NOT NULL
) STRICT;
CREATE INDEX family_by_session ON family (session_id);
CREATE INDEX family_by_client ON family (client_id);

CREATE TABLE revocation (
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    revoked_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    CONSTRAINT revocation_pkey PRIMARY KEY (kind, id)
) STRICT;

-- The change feed. AUTOINCREMENT: a number is never given twice, even when the newest row is gone.
CREATE TABLE change (
    number INTEGER NOT NULL CONSTRAINT change_pkey PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    kind   TEXT    NOT NULL CONSTRAINT change_kind CHECK (kind IN ('keys', 'registry', 'revoked')),
    body   TEXT,
    until  INTEGER
) STRICT;

CREATE TABLE sealed_key (
    purpose    TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    kid        TEXT    NOT NULL CONSTRAINT sealed_key_kid UNIQUE,
    sealed     BLOB    NOT NULL,
    public     TEXT,
    created_at INTEGER NOT NULL,
    CONSTRAINT sealed_key_pkey PRIMARY KEY (purpose, version)
) STRICT;

CREATE TABLE server (
    id   TEXT NOT NULL CONSTRAINT server_pkey PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT server_name UNIQUE,
    body TEXT NOT NULL
) STRICT;

-- PC-33: definitions of tools as they were approved.
CREATE TABLE pin (
    server_id   TEXT    NOT NULL CONSTRAINT pin_server REFERENCES server (id) ON DELETE CASCADE,
    tool        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    definition  TEXT    NOT NULL,
    approval    INTEGER NOT NULL,
    approved_at INTEGER NOT NULL,
    approved_by TEXT    NOT NULL,
    CONSTRAINT pin_pkey PRIMARY KEY (server_id, tool)
) STRICT;

-- Definitions that were seen and are not the approved ones: the newest of each tool.
CREATE TABLE sighting (
    server_id  TEXT    NOT NULL CONSTRAINT sighting_server REFERENCES server (id) ON DELETE CASCADE,
    tool       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    definition TEXT    NOT NULL,
    seen_at    INTEGER NOT NULL,
    CONSTRAINT sighting_pkey PRIMARY KEY (server_id, tool)
) STRICT;

CREATE TABLE agent (
    client_id TEXT NOT NULL CONSTRAINT agent_pkey PRIMARY KEY CONSTRAINT agent_client REFERENCES client (id),
    name      TEXT NOT NULL CONSTRAINT agent_name UNIQUE,
    body      TEXT NOT NULL
) STRICT;

CREATE TABLE registered_client (
    client_id TEXT NOT NULL CONSTRAINT registered_client_pkey PRIMARY KEY CONSTRAINT registered_client_client REFERENCES client (id),
    name      TEXT NOT NULL CONSTRAINT registered_client_name UNIQUE,
    body      TEXT NOT NULL
) STRICT;

CREATE TABLE role (
    name TEXT NOT NULL CONSTRAINT role_pkey PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE setting (
    name  TEXT NOT NULL CONSTRAINT setting_pkey PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Answers to changes that were asked for under an Idempotency-Key, by the hash of key and operator; the request is a hash
-- too. Sealed: they may hold a secret. Committed with the change itself, never without an answer.
CREATE TABLE answered (
    key     BLOB    NOT NULL CONSTRAINT answered_pkey PRIMARY KEY,
    request BLOB    NOT NULL,
    sealed  BLOB    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX answered_by_time ON answered (at);

-- The columns after `at` repeat what the body says, to search by (PC-52).
CREATE TABLE audit (
    number     INTEGER NOT NULL CONSTRAINT audit_pkey PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    outcome    TEXT    NOT NULL CONSTRAINT audit_outcome CHECK (outcome IN ('allowed', 'refused')),
    actor      TEXT    NOT NULL,
    client_id  TEXT,
    user_id    TEXT,
    server_id  TEXT,
    session_id TEXT,
    body       TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_kind ON audit (kind, number);
CREATE INDEX audit_by_client ON audit (client_id, number) WHERE client_id IS NOT NULL;
CREATE INDEX audit_by_user ON audit (user_id, number) WHERE user_id IS NOT NULL;
CREATE INDEX audit_by_server ON audit (server_id, number) WHERE server_id IS NOT NULL;
CREATE INDEX audit_by_session ON audit (session_id, number) WHERE session_id IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at, number);
-- PC-50: what was recorded stays as it was recorded.
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append only'); END;
