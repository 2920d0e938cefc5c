-- The log and what must be atomic with it. Read models live in a file of their own.
CREATE TABLE IF NOT EXISTS events (
    position       INTEGER PRIMARY KEY,
    stream         TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    topic          TEXT    NOT NULL,
    state          BLOB    NOT NULL,
    time           INTEGER NOT NULL,
    schema         INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    resource_uuid  TEXT    NOT NULL,
    owner_uuid     TEXT    NOT NULL,
    zone_uuid      TEXT    NOT NULL,
    actor          BLOB    NOT NULL,
    origin         TEXT    NOT NULL,
    request_id     TEXT    NOT NULL,
    causation_id   TEXT    NOT NULL,
    correlation_id TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    job_uuid       TEXT    NOT NULL,
    UNIQUE (stream, version)
);
CREATE TRIGGER IF NOT EXISTS events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_are_never_removed BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TABLE IF NOT EXISTS requests (
    account_uuid TEXT    NOT NULL,
    request_id   TEXT    NOT NULL,
    rpc          TEXT    NOT NULL,
    -- Hex digits.
    body_hash    TEXT    NOT NULL,
    response     TEXT    NOT NULL,
    time         INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    PRIMARY KEY (account_uuid, request_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tracking (
    application_name TEXT PRIMARY KEY,
    notification_id  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- For people with a SQL prompt: the log as text.
CREATE VIEW IF NOT EXISTS log AS
SELECT position, strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000000.0, 'unixepoch') AS time, topic AS type,
       resource_uuid, version, json_extract(CAST(actor AS TEXT), '$.account_name') AS account, origin, reason,
       json(CAST(state AS TEXT)) AS data, job_uuid, request_id, causation_id, correlation_id
FROM events;
