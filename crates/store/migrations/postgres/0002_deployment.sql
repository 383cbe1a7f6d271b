-- Whose tokens this database is for: one row, written at the first start and held against public_url at each.
CREATE TABLE deployment (
    number BIGINT NOT NULL CONSTRAINT deployment_pkey PRIMARY KEY CONSTRAINT deployment_is_one CHECK (number = 1),
    issuer TEXT   NOT NULL
);

-- UI-18: a password that somebody else made ends, if its owner has not chosen another until then.
ALTER TABLE account ADD COLUMN password_ends_at BIGINT;
