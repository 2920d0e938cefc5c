-- The signed checkpoints of all nodes, each as the line that its node keeps in a file. They prove themselves.
CREATE TABLE checkpoints (
    digest   text   COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    node     text   COLLATE "C" NOT NULL,
    line     bytea  NOT NULL
);
CREATE TRIGGER checkpoints_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
