-- The log and what must be atomic with it. Read models live in a schema of their own.
CREATE TABLE events (
    position       bigint PRIMARY KEY,
    stream         text   COLLATE "C" NOT NULL,
    version        bigint NOT NULL,
    topic          text   COLLATE "C" NOT NULL,
    state          bytea  NOT NULL,
    time           bigint NOT NULL,
    schema         integer NOT NULL,
    kind           text   COLLATE "C" NOT NULL,
    resource_uuid  text   COLLATE "C" NOT NULL,
    owner_uuid     text   COLLATE "C" NOT NULL,
    zone_uuid      text   COLLATE "C" NOT NULL,
    actor          bytea  NOT NULL,
    origin         text   COLLATE "C" NOT NULL,
    request_id     text   COLLATE "C" NOT NULL,
    causation_id   text   COLLATE "C" NOT NULL,
    correlation_id text   COLLATE "C" NOT NULL,
    reason         text   COLLATE "C" NOT NULL,
    job_uuid       text   COLLATE "C" NOT NULL,
    UNIQUE (stream, version)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only';
END $$;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE requests (
    account_uuid text   COLLATE "C" NOT NULL,
    request_id   text   COLLATE "C" NOT NULL,
    rpc          text   NOT NULL,
    body_hash    bytea  NOT NULL,
    response     bytea  NOT NULL,
    time         bigint NOT NULL,
    position     bigint NOT NULL,
    PRIMARY KEY (account_uuid, request_id)
);
CREATE TABLE tracking (
    application_name text   COLLATE "C" PRIMARY KEY,
    notification_id  bigint NOT NULL
);
CREATE TABLE store (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);

-- The newest position and time. Its one row is locked from a batch's statement to its commit: that is the order.
-- Room on the page keeps its updates there.
CREATE TABLE head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint NOT NULL,
    time     bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (position, time) VALUES (0, 0);

-- By writer, its newest batch and what came of it, so that a writer whose answer was lost can ask. serial is the
-- newest batch that may be written, done the newest that was: who asks raises serial and so shuts out a late one.
CREATE TABLE writers (
    writer text   COLLATE "C" PRIMARY KEY,
    serial bigint NOT NULL,
    done   bigint NOT NULL DEFAULT 0,
    firsts bigint[],
    stamps bigint[],
    fates  integer[],
    seen   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Writes a batch of decisions. By each: position of its first event, the time its events got, and its fate
-- (0 written, 1 conflict, 2 its request id is taken). Those of a batch that rest on one that fell fall with it.
CREATE FUNCTION append_batch(
    by_writer text, by_serial bigint, follower text, followed bigint,
    given bigint[], counts integer[],
    check_of integer[], check_stream text[], check_version bigint[],
    rest_of integer[], rest_on integer[],
    asked_of integer[], asked_account text[], asked_id text[], asked_rpc text[], asked_hash bytea[],
    asked_response bytea[], asked_time bigint[],
    event_of integer[], e_stream text[], e_version bigint[], e_topic text[], e_state bytea[], e_schema integer[],
    e_kind text[], e_resource text[], e_owner text[], e_zone text[], e_actor bytea[], e_origin text[],
    e_request text[], e_causation text[], e_correlation text[], e_reason text[], e_job text[],
    OUT firsts bigint[], OUT stamps bigint[], OUT fates integer[]
) LANGUAGE plpgsql
-- A plan made while the table was small must not outlive that. What the planner then believes to cost a lot must not
-- be compiled for it.
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    head_position bigint;
    head_time bigint;
BEGIN
    SELECT h.position, h.time INTO STRICT head_position, head_time FROM head h FOR UPDATE;
    -- From here on each statement sees all that was ever committed, and nobody else commits.

    WITH RECURSIVE taken AS (
        SELECT a.n FROM unnest(asked_of, asked_account, asked_id) AS a (n, account, id)
        WHERE (SELECT true FROM requests r WHERE r.account_uuid = a.account AND r.request_id = a.id)
    ), first_to_fall AS (
        SELECT n FROM taken
        UNION
        SELECT c.n FROM unnest(check_of, check_stream, check_version) AS c (n, stream, version)
        WHERE c.version <> coalesce((SELECT max(e.version) FROM events e WHERE e.stream = c.stream), 0)
    ), fallen AS (
        SELECT n FROM first_to_fall
        UNION
        SELECT r.n FROM fallen JOIN unnest(rest_of, rest_on) AS r (n, base) ON r.base = fallen.n
    )
    SELECT array_agg(
        CASE WHEN n IN (SELECT t.n FROM taken t) THEN 2 WHEN n IN (SELECT f.n FROM fallen f) THEN 1 ELSE 0 END
        ORDER BY n
    ) INTO fates FROM generate_series(1, cardinality(given)) AS n;

    -- Time grows with position: each decision's is its own, or the one before it and a microsecond.
    SELECT array_agg(first ORDER BY n), array_agg(stamp ORDER BY n) INTO firsts, stamps FROM (
        SELECT n,
            CASE WHEN fate = 0 THEN head_position + 1 + (sum(kept) OVER w)::bigint - kept END AS first,
            CASE WHEN fate = 0 THEN i + greatest(head_time, max(at - i) FILTER (WHERE fate = 0) OVER w) END AS stamp
        FROM (
            SELECT n, at, fate, CASE WHEN fate = 0 THEN count ELSE 0 END AS kept,
                count(*) FILTER (WHERE fate = 0) OVER (ORDER BY n) AS i
            FROM unnest(given, counts, fates) WITH ORDINALITY AS a (at, count, fate, n)
        ) AS counted
        WINDOW w AS (ORDER BY n)
    ) AS placed;

    INSERT INTO events (
        position, stream, version, topic, state, time, schema, kind, resource_uuid, owner_uuid, zone_uuid, actor,
        origin, request_id, causation_id, correlation_id, reason, job_uuid
    )
    SELECT head_position + row_number() OVER (ORDER BY e.line), e.stream, e.version, e.topic, e.state, a.stamp,
        e.schema, e.kind, e.resource, e.owner, e.zone, e.actor, e.origin, e.request, e.causation, e.correlation,
        e.reason, e.job
    FROM unnest(
        event_of, e_stream, e_version, e_topic, e_state, e_schema, e_kind, e_resource, e_owner, e_zone, e_actor,
        e_origin, e_request, e_causation, e_correlation, e_reason, e_job
    ) WITH ORDINALITY AS e (
        n, stream, version, topic, state, schema, kind, resource, owner, zone, actor, origin, request, causation,
        correlation, reason, job, line
    )
    JOIN unnest(stamps, fates) WITH ORDINALITY AS a (stamp, fate, n) ON a.n = e.n
    WHERE a.fate = 0;

    INSERT INTO requests (account_uuid, request_id, rpc, body_hash, response, time, position)
    SELECT q.account, q.id, q.rpc, q.hash, q.response, q.time, a.first + a.count - 1
    FROM unnest(asked_of, asked_account, asked_id, asked_rpc, asked_hash, asked_response, asked_time)
        AS q (n, account, id, rpc, hash, response, time)
    JOIN unnest(firsts, counts, fates) WITH ORDINALITY AS a (first, count, fate, n) ON a.n = q.n
    WHERE a.fate = 0;

    UPDATE head h SET
        position = head_position + coalesce((SELECT sum(c) FROM unnest(counts, fates) AS a (c, f) WHERE f = 0), 0),
        time = greatest(head_time, (SELECT max(s) FROM unnest(stamps) AS s));

    IF follower IS NOT NULL THEN
        INSERT INTO tracking AS t (application_name, notification_id) VALUES (follower, followed)
        ON CONFLICT (application_name) DO UPDATE SET notification_id = excluded.notification_id
        WHERE t.notification_id < excluded.notification_id;
        IF NOT FOUND THEN
            RAISE unique_violation USING MESSAGE = format('%s is past %s already', follower, followed);
        END IF;
    END IF;

    IF by_writer IS NOT NULL THEN
        UPDATE writers w SET serial = by_serial, done = by_serial, firsts = append_batch.firsts,
            stamps = append_batch.stamps, fates = append_batch.fates, seen = now()
        WHERE w.writer = by_writer AND w.serial = by_serial - 1;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'batch % of writer % was given up', by_serial, by_writer USING ERRCODE = 'ZC001';
        END IF;
    END IF;
END $$;

-- For people with a SQL prompt: the log as text.
CREATE VIEW log AS
SELECT position, to_timestamp(time / 1000000.0) AS time, topic AS type, resource_uuid, version,
       convert_from(actor, 'UTF8')::json ->> 'account_name' AS account, origin, reason,
       convert_from(state, 'UTF8')::json AS data, job_uuid, request_id, causation_id, correlation_id
FROM events;
