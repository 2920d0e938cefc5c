"""Read models: tables from descriptors, rows from messages, and writing them set-wise."""

from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, inspect, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from projections.model import ReadModel
from projections.query.errors import QueryError
from projections.query.query import run
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.projections.widget import widget_type
from tests.projections.world import ADMIN, ALICE, BOB, fresh_models, make_world, memory
from zcloud.v1 import backup_storage_pb2, sftp_backup_storage_pb2, vm_instance_pb2, zone_pb2

U1, U2, U3 = ("1" * 32, "2" * 32, "3" * 32)


def contents(connection: Connection, models: ReadModels) -> dict[str, list[tuple[Any, ...]]]:
    tables = {t.name: t for model in models for t in (*model.tables, model.shares)}
    return {name: sorted(map(tuple, connection.execute(select(t)))) for name, t in tables.items()}


def test_columns_are_the_fields_in_short_forms() -> None:
    model = fresh_models()["vm_instance"]
    vm = vm_instance_pb2.VmInstance(uuid=U1, state=vm_instance_pb2.VmInstance.STATE_NO_STATE, cpu_num=2)
    vm.create_date.FromJsonString("2023-11-14T22:13:20.123456789Z")
    vm.vm_nics.add(ip="10.0.0.1", device_id=0)
    vm.vm_nics.add(ip="", device_id=1)
    rows = model.rows(vm, ALICE, shared_to_public=True, shared_with=[BOB, BOB], position=7)
    wanted = {
        "state": "NoState",
        "cpu_num": 2,
        "create_date": 1_700_000_000_123_456,
        "name": None,
        "last_op_date": None,
    }
    assert {name: rows.row[name] for name in wanted} == wanted
    assert [(row["idx"], row["ip"]) for row in rows.sides["vm_nics"]] == [(0, "10.0.0.1"), (1, None)]
    assert (rows.row["_owner_uuid"], rows.row["_shared_to_public"], rows.row["_position"]) == (ALICE, 1, 7)
    assert rows.shares == (BOB,)
    assert vm_instance_pb2.VmInstance.FromString(rows.row["_doc"]) == vm


def test_an_enum_value_of_a_later_version_is_kept_as_its_number() -> None:
    model = fresh_models()["zone"]
    later = zone_pb2.Zone.FromString(zone_pb2.Zone(uuid=U1).SerializeToString() + b"\x50\x63")
    assert model.rows(later, ADMIN).row["state"] == "99"


def test_every_kind_of_the_api_has_a_model_and_its_tables_compile_for_postgresql() -> None:
    models = fresh_models()
    assert {"zone", "vm_instance", "job", "session", "sftp_backup_storage"} <= {model.kind for model in models}
    for model in models:
        for table in model.tables:
            ddl = str(CreateTable(table).compile(dialect=postgresql.dialect()))
            assert 'COLLATE "C"' in ddl
            assert all(len(index.name or "") <= 63 for index in table.indexes)


def test_writing_twice_leaves_what_writing_once_leaves() -> None:
    models, world = fresh_models(), make_world(3)
    with memory() as connection:
        world.store(connection, models)
        once = contents(connection, models)
        assert sum(map(len, once.values())) > 100
        world.store(connection, models)
        assert contents(connection, models) == once


def test_the_last_of_several_rows_stays_with_all_its_lists() -> None:
    models = fresh_models()
    model = models["backup_storage"]
    first = backup_storage_pb2.BackupStorage(uuid=U1, name="old", attached_zone_uuids=[U2, U3])
    last = backup_storage_pb2.BackupStorage(uuid=U1, name="new", attached_zone_uuids=[U3])
    with memory() as connection:
        model.create(connection)
        model.write(connection, [model.rows(first, ADMIN, False, [ALICE, BOB]), model.rows(last, ADMIN, False, [BOB])])
        assert connection.execute(select(model.table.c.name)).all() == [("new",)]
        side = model.sides["attached_zone_uuids"]
        assert connection.execute(select(side.c.idx, side.c.value)).all() == [(0, U3)]
        assert connection.execute(select(model.shares.c.account_uuid)).all() == [(BOB,)]
        # Removed and created again in one batch, then removed for good.
        model.write(connection, [model.rows(first, ADMIN)], deletes=[U1, U2])
        assert connection.execute(select(model.table.c.name)).all() == [("old",)]
        model.write(connection, deletes=[U1])
        empty = {table.name: [] for table in (*model.tables, model.shares)}
        assert contents(connection, ReadModels([model])) == empty


def test_more_deletes_than_a_statement_takes() -> None:
    model = fresh_models()["zone"]
    zones = [zone_pb2.Zone(uuid=f"{n:032x}") for n in range(1203)]
    with memory() as connection:
        model.create(connection)
        model.write(connection, [model.rows(zone, ADMIN, False, [ALICE]) for zone in zones])
        model.write(connection, deletes=[zone.uuid for zone in zones[1:]])
        assert connection.execute(select(model.table.c.uuid)).all() == [("0" * 32,)]
        assert len(connection.execute(select(model.shares)).all()) == 1


def test_dropping_one_table_of_a_resource_leaves_the_other_and_its_shares() -> None:
    models = fresh_models()
    parent, child = models["backup_storage"], models["sftp_backup_storage"]
    with memory() as connection:
        for model in (parent, child):
            model.create(connection)
        parent.write(connection, [parent.rows(backup_storage_pb2.BackupStorage(uuid=U1), ADMIN, False, [ALICE])])
        child.write(connection, [child.rows(sftp_backup_storage_pb2.SftpBackupStorage(uuid=U1), ADMIN, False, [ALICE])])
        parent.drop(connection)
        assert not inspect(connection).has_table("backup_storage")
        assert connection.execute(select(child.shares.c.kind)).all() == [("sftp_backup_storage",)]
        parent.drop(connection)
        parent.create(connection)
        assert connection.execute(select(parent.table)).all() == []


def test_fingerprint_is_of_the_shape() -> None:
    models = fresh_models()
    assert len({model.fingerprint for model in models}) == len(models)
    assert models["zone"].fingerprint == fresh_models()["zone"].fingerprint
    indexed = ReadModel(zone_pb2.Zone, indexes=["state"], metadata=MetaData())
    assert indexed.fingerprint != models["zone"].fingerprint


def test_what_is_no_resource_has_no_model() -> None:
    with pytest.raises(ValueError, match="is no resource"):
        ReadModel(vm_instance_pb2.VmNic, metadata=MetaData())
    with pytest.raises(ValueError, match="without uuid"):
        fresh_models()["zone"].rows(zone_pb2.Zone(name="x"), ADMIN)
    models = fresh_models()
    with pytest.raises(ValueError, match="already"):
        models.add(ReadModel(zone_pb2.Zone, metadata=MetaData()))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ratio > 0.4", "1"),
        ("ratio = 0.5", "1"),
        ("signed < -5", "1"),
        ("unsigned > 9223372036854775806", "1"),
        ("grace >= 90s", "1"),
        ("grace < 1.5m", "2"),
        ("grace = 500ms", "2"),
        ("grace = null", "3"),
        ("spot.rack = r1", "1"),
        ("spot.unit = 0", "2"),
        ("spot.unit = null", "3"),
        ("spot.unit != 4", "23"),
        ("spot.labels : x", "1"),
        ("spots.unit > 1", "2"),
        ("sizes > 10", "2"),
        ("sizes : 5", "12"),
        ("NOT sizes : 5", "3"),
        ("times < 2001-01-01T00:00:00Z", "1"),
        ("maybe = 0", "2"),
        ("maybe = null", "13"),
        ("maybe != 0", "13"),
    ],
)
def test_every_type_of_field(text: str, found: str) -> None:
    widget = widget_type()
    one = widget(uuid=U1, ratio=0.5, signed=-6, unsigned=2**64 - 1, blob=b"\0", sizes=[5], password="p4ss")
    one.grace.FromJsonString("90s")
    one.spot.rack, one.spot.unit, one.spot.pin = "r1", 4, "1234"
    one.spot.labels.extend(["x", "y"])
    one.times.add(seconds=5)
    two = widget(uuid=U2, sizes=[5, 11], maybe=0)
    two.grace.FromJsonString("0.5s")
    two.spot.rack = "r2"
    two.spots.add(unit=2, pin="1234")
    models = ReadModels([ReadModel(widget, metadata=MetaData())])
    model = models["widget"]
    with memory() as connection:
        model.create(connection)
        model.write(connection, [model.rows(m, ADMIN) for m in (one, two, widget(uuid=U3))])
        page = run(connection, model, models, viewer=Viewer(ADMIN, True), filter=text, order_by="spot.rack, uuid")
        assert "".join(sorted(m.uuid[0] for m in page.messages)) == found
        assert not any(b"1234" in document or b"p4ss" in document for document in page.documents)
        for secret in ("password = p4ss", "spot.pin = 1234", "spots.pin = 1234"):
            with pytest.raises(QueryError, match="no field or relation"):
                run(connection, model, models, viewer=Viewer(ADMIN, True), filter=secret)
    assert one.password == "p4ss", "the caller's message stays as it was"
