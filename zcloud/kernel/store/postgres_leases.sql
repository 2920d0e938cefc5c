-- Who of the nodes is alive, which partitions of the work are whose, and with whom an agent speaks. No part of the log.
CREATE TABLE members (
    name     text COLLATE "C" PRIMARY KEY,
    -- One process: a node that is started again is another.
    instance text COLLATE "C" NOT NULL UNIQUE,
    expires  timestamptz NOT NULL,
    started  timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen     timestamptz NOT NULL DEFAULT clock_timestamp(),
    facts    text NOT NULL DEFAULT '{}',
    -- How far the log was when it was seen.
    position bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- owner: an instance, or nobody. A lease holds as long as its owner lives; its epoch grows when it changes hands.
CREATE TABLE leases (
    part  integer PRIMARY KEY,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO leases (part) SELECT generate_series(0, 63);

CREATE TABLE agent_sessions (
    host_uuid text COLLATE "C" PRIMARY KEY,
    instance  text COLLATE "C" NOT NULL
);

-- Gives the epochs of the partitions that are owned now.
CREATE FUNCTION take_leases(mine text, wanted integer[])
RETURNS TABLE (owned integer, its_epoch bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE leases l SET owner = '' WHERE l.owner = mine AND l.part <> ALL (wanted);
    IF EXISTS (
        SELECT FROM leases l WHERE l.part = ANY (wanted) AND l.owner <> mine
        AND NOT EXISTS (SELECT FROM members m WHERE m.instance = l.owner AND m.expires > clock_timestamp())
    ) THEN
        -- Epochs grow under the lock of the log's head: what is appended later sees them.
        PERFORM FROM head FOR UPDATE;
        UPDATE leases l SET owner = mine, epoch = l.epoch + 1
        WHERE l.part = ANY (wanted) AND l.owner <> mine
        AND NOT EXISTS (SELECT FROM members m WHERE m.instance = l.owner AND m.expires > clock_timestamp());
    END IF;
    RETURN QUERY SELECT l.part, l.epoch FROM leases l WHERE l.owner = mine;
END $$;

-- append_batch, where a decision that bears the fence of a partition is a conflict when the partition has changed hands.
CREATE FUNCTION append_fenced(
    fence_of integer[], fence_part integer[], fence_epoch bigint[],
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
) LANGUAGE plpgsql AS $$
DECLARE
    stale integer[];
BEGIN
    PERFORM FROM head FOR UPDATE;
    SELECT coalesce(array_agg(f.n), '{}') INTO stale
    FROM unnest(fence_of, fence_part, fence_epoch) AS f (n, part, epoch)
    WHERE f.epoch IS DISTINCT FROM (SELECT l.epoch FROM leases l WHERE l.part = f.part AND l.owner <> '');
    -- No stream is at version -1: the check fails, and so does what rests on the decision.
    SELECT a.firsts, a.stamps, a.fates INTO firsts, stamps, fates FROM append_batch(
        by_writer, by_serial, follower, followed, given, counts,
        check_of || stale,
        check_stream || array_fill(''::text, ARRAY[cardinality(stale)]),
        check_version || array_fill(-1::bigint, ARRAY[cardinality(stale)]),
        rest_of, rest_on, asked_of, asked_account, asked_id, asked_rpc, asked_hash, asked_response, asked_time,
        event_of, e_stream, e_version, e_topic, e_state, e_schema, e_kind, e_resource, e_owner, e_zone, e_actor,
        e_origin, e_request, e_causation, e_correlation, e_reason, e_job
    ) AS a;
END $$;
