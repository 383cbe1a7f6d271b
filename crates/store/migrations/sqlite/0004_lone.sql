-- Gateways that run alone (PC-62). Before one has come for its identity, it has no keys; afterwards its enrolment is spent.
-- `servers` is a list of names, or nothing for all.
CREATE TABLE gateway (
    id          TEXT    NOT NULL CONSTRAINT gateway_pkey PRIMARY KEY,
    name        TEXT    NOT NULL CONSTRAINT gateway_name UNIQUE,
    servers     TEXT,
    enrol_hash  BLOB    NOT NULL CONSTRAINT gateway_enrol_hash UNIQUE,
    enrol_until INTEGER NOT NULL,
    identity    TEXT,
    assertion   TEXT,
    created_at  INTEGER NOT NULL,
    enrolled_at INTEGER,
    CONSTRAINT gateway_is_enrolled CHECK ((identity IS NULL) = (assertion IS NULL) AND (identity IS NULL) = (enrolled_at IS NULL))
) STRICT;
