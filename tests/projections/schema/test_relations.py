"""Relations that the descriptors tell of, and what a kind says of itself."""

import pytest
from sqlalchemy import MetaData

from projections.model import ReadModel
from projections.query.describe import describe
from projections.schema.registry import ReadModels
from projections.schema.relations import Relation, plural
from tests.projections.world import fresh_models
from zcloud.v1 import host_pb2, vm_instance_pb2

MODELS = fresh_models()


@pytest.mark.parametrize(
    ("kind", "name", "target", "path", "reverse"),
    [
        ("vm_instance", "host", "host", "host_uuid", False),
        ("vm_instance", "last_host", "host", "last_host_uuid", False),
        ("vm_instance", "root_volume", "volume", "root_volume_uuid", False),
        ("vm_instance", "volumes", "volume", "vm_instance_uuid", True),
        ("vm_instance", "l3_networks", "l3_network", "vm_nics.l3_network_uuid", False),
        ("volume", "vm_instance", "vm_instance", "vm_instance_uuid", False),
        ("volume", "vm_instances", "vm_instance", "root_volume_uuid", True),
        ("host", "vm_instances", "vm_instance", "host_uuid", True),
        ("host", "vm_instance", "vm_instance", "host_uuid", True),
        ("host", "vm_instances_by_last_host", "vm_instance", "last_host_uuid", True),
        ("host", "kvm_host", "kvm_host", "uuid", False),
        ("kvm_host", "host", "host", "uuid", False),
        ("kvm_host", "vm_instances", "vm_instance", "host_uuid", True),
        ("zone", "clusters", "cluster", "zone_uuid", True),
        ("zone", "cluster", "cluster", "zone_uuid", True),
        ("zone", "sftp_backup_storages", "sftp_backup_storage", "attached_zone_uuids", True),
        ("backup_storage", "zone", "zone", "attached_zone_uuids", False),
        ("backup_storage", "attached_zones", "zone", "attached_zone_uuids", False),
        ("backup_storage", "image", "image", "copies.backup_storage_uuid", True),
        ("sftp_backup_storage", "images", "image", "copies.backup_storage_uuid", True),
        ("cluster", "primary_storages", "primary_storage", "primary_storage_uuids", False),
        ("cluster", "l2_network", "l2_network", "l2_network_uuids", False),
        ("account", "vm_instances", "vm_instance", "account_uuid", True),
    ],
)
def test_derived(kind: str, name: str, target: str, path: str, reverse: bool) -> None:
    relation = MODELS.relations(kind)[name]
    assert (relation.target, relation.path, relation.reverse) == (target, path, reverse)


def test_a_uuid_of_no_known_kind_is_no_relation() -> None:
    assert "resource" not in MODELS.relations("job")
    of_any_kind = {"user_tags", "user_tag", "tag"}
    assert set(MODELS.relations("ip_range")) == {"account", "l3_network", "vm_instances", "vm_instance", *of_any_kind}


def test_declared_relations_come_before_derived_ones() -> None:
    last = Relation("host", "host", "last_host_uuid")
    metadata = MetaData()
    models = ReadModels(
        [
            ReadModel(vm_instance_pb2.VmInstance, relations={"host": last}, metadata=metadata),
            ReadModel(host_pb2.Host, metadata=metadata),
        ]
    )
    assert models.relations("vm_instance")["host"] is last


@pytest.mark.parametrize(
    ("noun", "many"), [("host", "hosts"), ("policy", "policies"), ("key", "keys"), ("address", "addresses")]
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many


def test_description_names_fields_types_operators_and_relations() -> None:
    described = describe(MODELS["vm_instance"], MODELS)
    fields = {field.name: field for field in described.fields}
    assert (fields["cpu_num"].type, fields["cpu_num"].operators[:3]) == ("integer", ("=", "!=", "<"))
    assert fields["state"].operators == ("=", "!=", ":")
    assert {"Running", "NoState"} <= set(fields["state"].values)
    assert "Unspecified" not in fields["state"].values
    assert "ip" in {field.name for field in fields["vm_nics"].fields}
    assert [r.kind for r in fields["vm_nics"].relations] == ["l3_network", "ip_range"]
    relations = {relation.name: relation for relation in described.relations}
    assert (relations["volumes"].kind, relations["volumes"].many, relations["volumes"].aliases) == (
        "volume",
        True,
        ("volume",),
    )
    assert not relations["host"].many
    assert not described.admin_only
    assert describe(MODELS["kvm_host"], MODELS).extends == "host"


def test_every_kind_describes_itself() -> None:
    for model in MODELS:
        described = describe(model, MODELS)
        assert described.fields[0].name == "uuid"
        assert all(relation.kind in MODELS for relation in described.relations)
