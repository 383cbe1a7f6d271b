-- People's sign-ins at third-party MCP servers, whose OAuth client we are. The same tables stand in ../sqlite.

-- What `sealed` holds opens only for this server and this person. One that ends stays until its issuer was told.
CREATE TABLE upstream_connection (
    id           TEXT    NOT NULL CONSTRAINT upstream_connection_pkey PRIMARY KEY,
    server_id    TEXT    NOT NULL,
    user_id      TEXT    NOT NULL CONSTRAINT upstream_connection_user REFERENCES account (id),
    state        TEXT    NOT NULL CONSTRAINT upstream_connection_state CHECK (state IN ('connected', 'ending', 'expired')),
    issuer       TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,
    sealed       BYTEA   NOT NULL,
    version      BIGINT  NOT NULL,
    connected_at BIGINT  NOT NULL,
    refreshed_at BIGINT  NOT NULL,
    lease        TEXT,
    lease_until  BIGINT ,
    attempts     BIGINT  NOT NULL,
    due_at       BIGINT ,
    CONSTRAINT upstream_connection_lease CHECK ((lease IS NULL) = (lease_until IS NULL)),
    CONSTRAINT upstream_connection_due CHECK ((state = 'ending') = (due_at IS NOT NULL))
);
CREATE UNIQUE INDEX upstream_connection_live ON upstream_connection (server_id, user_id) WHERE state <> 'ending';
CREATE INDEX upstream_connection_by_user ON upstream_connection (user_id, id);
CREATE INDEX upstream_connection_due_at ON upstream_connection (due_at) WHERE state = 'ending';

-- Sign-ins that are under way, by the hash of their `state`: one per browser and server.
CREATE TABLE upstream_connecting (
    hash       BYTEA   NOT NULL CONSTRAINT upstream_connecting_pkey PRIMARY KEY,
    server_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL CONSTRAINT upstream_connecting_user REFERENCES account (id),
    session    BYTEA   NOT NULL,
    sealed     BYTEA   NOT NULL,
    expires_at BIGINT  NOT NULL,
    CONSTRAINT upstream_connecting_one UNIQUE (session, server_id)
);
CREATE INDEX upstream_connecting_by_end ON upstream_connecting (expires_at);

-- As what we are registered with the issuer of a server.
CREATE TABLE upstream_client (
    server_id  TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    sealed     BYTEA   NOT NULL,
    created_at BIGINT  NOT NULL,
    CONSTRAINT upstream_client_pkey PRIMARY KEY (server_id, issuer)
);
