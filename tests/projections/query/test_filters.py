"""What filters mean: names, types, absent values, lists and relations, and what is said about wrong ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection

from projections.query.errors import FilterError
from projections.query.query import run
from projections.query.viewer import Viewer
from projections.query.zstack import translate
from projections.schema.registry import ReadModels
from tests.projections.world import ADMIN, fresh_models, memory
from zcloud.v1 import backup_storage_pb2, image_pb2, l3_network_pb2, vm_instance_pb2

VM = vm_instance_pb2.VmInstance
NOW = 1_700_000_000_000_000


@dataclass
class Cloud:
    """A small cloud in which every resource has a name of one letter."""

    connection: Connection
    models: ReadModels

    def names(self, kind: str, text: str) -> str:
        page = run(
            self.connection, self.models[kind], self.models, viewer=Viewer(ADMIN, True), filter=text, order_by="name",
            now=NOW,
        )  # fmt: skip
        return "".join(message.name for message in page.messages)

    def refused(self, kind: str, text: str) -> FilterError:
        with pytest.raises(FilterError) as caught:
            self.names(kind, text)
        return caught.value


def _vms() -> list[Any]:
    nic = vm_instance_pb2.VmNic
    a = VM(uuid="1" * 32, name="a", state=VM.STATE_RUNNING, cpu_num=4, image_uuid="e" * 32)
    a.vm_nics.extend([nic(ip="10.0.0.5"), nic(ip="192.168.0.1")])
    a.create_date.FromJsonString("2023-11-14T22:13:20Z")
    b = VM(uuid="2" * 32, name="b", state=VM.STATE_NO_STATE, cpu_num=1, description="10% off*", image_uuid="d" * 32)
    b.create_date.FromJsonString("2023-11-13T22:13:20.000001Z")
    return [a, b, VM(uuid="3" * 32, name="c", state=VM.STATE_STOPPED, cpu_num=2, description="Off")]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    images = [
        image_pb2.Image(uuid="e" * 32, name="e", platform=image_pb2.Image.PLATFORM_LINUX,
                        copies=[image_pb2.ImageCopy(backup_storage_uuid="9" * 32)]),
        image_pb2.Image(uuid="d" * 32, name="d", platform=image_pb2.Image.PLATFORM_WINDOWS_VIRTIO),
    ]  # fmt: skip
    kinds: dict[str, list[Any]] = {
        "vm_instance": _vms(),
        "image": images,
        "backup_storage": [backup_storage_pb2.BackupStorage(uuid="9" * 32, name="s"),
                           backup_storage_pb2.BackupStorage(uuid="8" * 32, name="t")],
        "l3_network": [l3_network_pb2.L3Network(uuid="7" * 32, name="n", dns=["8.8.8.8", "1.1.1.1"], system=True),
                       l3_network_pb2.L3Network(uuid="6" * 32, name="o")],
    }  # fmt: skip
    models = fresh_models()
    with memory() as connection:
        for model in models:
            model.create(connection)
            model.write(connection, [model.rows(m, ADMIN) for m in kinds.get(model.kind, [])])
        yield Cloud(connection, models)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "abc"),
        ("state = Running", "a"),
        ("state = STATE_NO_STATE", "b"),
        ('state = "NoState" OR state = Run*', "ab"),
        ("state != Running", "bc"),
        ("cpuNum >= 2 AND NOT state = Stopped", "a"),
        ("-cpu_num > 1", "b"),
        ("description = null", "a"),
        ('description = ""', "a"),
        ("description != null", "bc"),
        ("description : *", "bc"),
        ('description != "Off"', "ab"),
        ('NOT description < "B"', "ac"),
        ("description : off", "b"),
        ('description : "%"', "b"),
        ('description = "*off\\*"', "b"),
        ('description = "*ff"', "c"),
        ('name < "b"', "a"),
        ("create_date < 2023-11-14T23:13:20+01:00", "b"),
        ("create_date <= 2023-11-14T23:13:20+01:00", "ab"),
        ("create_date = 2023-11-13T22:13:20.000001999Z", "b"),
        ("create_date > -24h", "ab"),
        ("create_date > -23.5h", "a"),
        ("create_date = null", "c"),
        ('vm_nics.ip : "10.0."', "a"),
        ("vm_nics.ip != 10.0.0.5", "a"),
        ("NOT vm_nics.ip = 10.0.0.5", "bc"),
        ("vm_nics : *", "a"),
        ("vmNics = null", "bc"),
        ("image.platform = Linux", "a"),
        ("image.platform != Linux", "b"),
        ("NOT image.platform = Linux", "bc"),
        ("image = null", "c"),
        ("image.backupStorage.name = s", "a"),
        ("image.copies.backup_storage.images.vm_instances.name = a", "a"),
    ],
)
def test_filters_on_vms(cloud: Cloud, text: str, names: str) -> None:
    assert cloud.names("vm_instance", text) == names


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        ("backup_storage", "image.platform=Linux", "s"),
        ("backup_storage", "images = null", "t"),
        ("l3_network", "dns : 8.8.8.8", "n"),
        ("l3_network", 'dns : "8.8"', ""),
        ("l3_network", 'dns : "8.8*"', "n"),
        ("l3_network", "NOT dns : 8.8.8.8", "o"),
        ("l3_network", "dns = null", "o"),
        ("l3_network", "dns:*", "n"),
        ("l3_network", "system = false", "o"),
        ("l3_network", "NOT system : TRUE", "o"),
    ],
)
def test_lists_relations_and_booleans(cloud: Cloud, kind: str, text: str, names: str) -> None:
    assert cloud.names(kind, text) == names


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("name = x AND statee = Running", 13, 'no field or relation "statee"; did you mean state'),
        ("cpuNumb > 2", 0, "did you mean cpuNum"),
        ("image.plaform = Linux", 6, "image has no field or relation"),
        ("state = Runing", 8, "did you mean Running"),
        ("state = Enabled", 8, 'state has no value "Enabled"'),
        ("state < Running", 0, "has no order"),
        ("cpu_num = two", 10, "not a whole number"),
        ("cpu_num = 2.5", 10, "not a whole number"),
        ("cpu_num = 9223372036854775808", 10, "out of range"),
        ("cpu_num = 2*", 10, "no wildcards"),
        ("create_date > 2024-05-01", 14, "not a time with its zone"),
        ("create_date > 2024-02-30T00:00:00Z", 14, "not a time with its zone"),
        ("cpu_num < null", 10, "nothing is < null"),
        ('name > "a*"', 7, "no wildcards"),
        ('name : ""', 7, "empty text"),
        ("image = Linux", 0, "compare one of its fields"),
        ("vm_nics > 2", 0, "compare one of its fields"),
        ("name.length = 2", 0, "name is a text; it has no length"),
        ("image.vm_instances.image.vm_instances.image.vm_instances.name = x", 0, "at most 6"),
    ],
)
def test_wrong_filters_say_where_and_what_is_right(cloud: Cloud, text: str, position: int, said: str) -> None:
    error = cloud.refused("vm_instance", text)
    assert said in error.message
    assert error.position == position


def test_wrong_filters_carry_the_nearest_names(cloud: Cloud) -> None:
    assert cloud.refused("vm_instance", "statee = x").nearest[0] == "state"
    assert cloud.refused("vm_instance", "hostUuidd = x").nearest[0] == "hostUuid"
    assert "true or false" in cloud.refused("l3_network", "system = 1").message


def test_a_wrong_field_behind_an_invisible_relation_is_still_refused(cloud: Cloud) -> None:
    model = cloud.models["vm_instance"]
    with pytest.raises(FilterError, match="nonsense"):
        run(cloud.connection, model, cloud.models, viewer=Viewer("a" * 32), filter="host.nonsense = 1")


def test_values_are_bound_never_pasted(cloud: Cloud) -> None:
    assert cloud.names("vm_instance", "name = \"x' OR '1'='1\"") == ""
    assert cloud.names("vm_instance", 'name = "*\' OR 1=1 --*"') == ""


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["state=Running"], "a"),
        (["cpuNum>=2", "state!=Running"], "c"),
        (["name?=a,c,x"], "ac"),
        (["name!?=a,c"], "b"),
        (["description~=%off%"], "b"),
        (["description~=10\\%%"], "b"),
        (["description~=10%"], "b"),
        (["description!~=%ff"], "ab"),
        (["description~=10% off*"], "b"),
        (["description=10% off*"], "b"),
        (["description=null"], "a"),
        (["description!=null"], "bc"),
        (["description is not null"], "bc"),
        (["image.platform=WindowsVirtio"], "b"),
        (["vmNics.ip~=10.0.%"], "a"),
        (["state~=No%"], "b"),
        ([], "abc"),
    ],
)
def test_zstack_conditions(cloud: Cloud, conditions: list[str], names: str) -> None:
    assert cloud.names("vm_instance", translate(conditions)) == names


def test_zstack_values_are_values_whatever_they_hold() -> None:
    assert translate(['name=a" OR name != "b']) == 'name = "a\\" OR name != \\"b"'
    assert translate(["name?=a\\,b,c"]) == '(name = "a,b" OR name = "c")'
    with pytest.raises(FilterError, match="is no condition") as caught:
        translate(["name=x", "what"])
    assert caught.value.position == 7
