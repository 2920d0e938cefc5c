"""Requests from `field=value` words, by what the descriptors say."""

import io
from pathlib import Path
from typing import Any

import pytest

from zcloud.cli import arguments, catalog
from zcloud.cli.errors import UsageError


def request(rpc: str, *words: str) -> Any:
    return arguments.request_of(catalog.find(rpc), list(words))


def refused(rpc: str, *words: str) -> str:
    with pytest.raises(UsageError) as caught:
        request(rpc, *words)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4096", 4096),
        ("128M", 128 << 20),
        ("1GiB", 1 << 30),
        ("1.5gb", 3 << 29),
        ("2 KiB", 2048),
        ("7B", 7),
        ("9007199254740993", 9007199254740993),  # 2^53 + 1, which no float holds
    ],
)
def test_sizes_have_units(text: str, number: int) -> None:
    assert request("CreateVmInstance", f"memory_size={text}").memory_size == number


@pytest.mark.parametrize("text", ["much", "12X", "-1M", "M", "", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    assert "memory_size: a size is expected" in refused("CreateVmInstance", f"memory_size={text}")


def test_a_size_past_64_bits_is_refused() -> None:
    assert "out of its range" in refused("CreateVmInstance", "memory_size=99999E")


def test_units_are_for_sizes_only() -> None:
    assert "whole number" in refused("CreateVmInstance", "cpu_num=2K")
    assert "out of its range" in refused("CreateVmInstance", "cpu_num=-1")


@pytest.mark.parametrize("text", ["enable", "Enable", "ENABLE", "STATE_EVENT_ENABLE"])
def test_enum_values_are_read_in_every_form(text: str) -> None:
    assert request("ChangeZoneState", f"state_event={text}").state_event == 1


def test_enum_words_of_several_parts() -> None:
    made = [request("CreateVmInstance", f"strategy={text}").strategy for text in ("InstantStart", "just_create")]
    assert made == [1, 2]


def test_an_unknown_enum_value_names_the_nearest_and_all() -> None:
    said = refused("ChangeZoneState", "state_event=enabl")
    assert "Did you mean Enable?" in said
    assert "Enable, Disable" in said


def test_fields_are_known_in_camel_case() -> None:
    made = request("CreateVmInstance", "cpuNum=2", "l3NetworkUuids=a", "imageUuid=i")
    assert (made.cpu_num, list(made.l3_network_uuids), made.image_uuid) == (2, ["a"], "i")


def test_an_unknown_field_names_the_nearest() -> None:
    assert "Did you mean description?" in refused("CreateZone", "descripton=x")


def test_lists_by_repeating_by_comma_and_as_json() -> None:
    made = request("CreateVmInstance", "l3_network_uuids=a,b", "l3_network_uuids=c", 'l3_network_uuids=["d,e"]')
    assert list(made.l3_network_uuids) == ["a", "b", "c", "d,e"]


def test_a_single_field_given_twice_is_refused() -> None:
    assert "name is given twice" in refused("CreateZone", "name=a", "name=b")


def test_nested_messages_dotted_and_as_json() -> None:
    dotted = request(
        "CreateVmInstance",
        "static_ips.0.ip=10.0.0.1",
        "static_ips.0.l3_network_uuid=n1",
        "staticIps.1.ip=10.0.0.2",
    )
    assert [(one.l3_network_uuid, one.ip) for one in dotted.static_ips] == [("n1", "10.0.0.1"), ("", "10.0.0.2")]
    one = request("CreateVmInstance", 'static_ips={"l3NetworkUuid": "n1", "ip": "10.0.0.1"}')
    many = request("CreateVmInstance", 'static_ips=[{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]')
    assert (one.static_ips[0].l3_network_uuid, [item.ip for item in many.static_ips]) == (
        "n1",
        ["10.0.0.1", "10.0.0.2"],
    )


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("static_ips.1.ip=x", "static_ips.0 comes next"),
        ("static_ips.ip=x", "number its items: static_ips.0"),
        ("static_ips.0.port=x", "no field of StaticIp 'port'"),
        ("static_ips={", "JSON is expected"),
        ('static_ips={"ip": 5}', "text is expected, not 5"),
        ("name.first=x", "has no parts"),
        ("name", "not of the form field=value"),
    ],
)
def test_what_does_not_fit_is_refused_in_plain_words(word: str, said: str) -> None:
    assert said in refused("CreateVmInstance", word)


def test_presence_is_kept() -> None:
    assert request("UpdateZone", "uuid=u", "description=").HasField("description")
    assert not request("UpdateZone", "uuid=u").HasField("description")


def test_values_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN\nabc\n-----END\n")
    (tmp_path / "word").write_text("secret\n")
    made = request("AddKvmHost", f"private_key=@{tmp_path}/key", f"password=@{tmp_path}/word", "name=@@home")
    assert made.private_key == "-----BEGIN\nabc\n-----END\n"  # a key without its last newline is none
    assert made.password == "secret"
    assert made.name == "@home"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused("AddKvmHost", f"private_key=@{tmp_path}/none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused("AddKvmHost", f"private_key=@{tmp_path}/binary")


def test_stdin_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from stdin\n"))
    assert request("CreateZone", "name=-").name == "from stdin"
    assert "already read for name" in refused("CreateZone", "name=-", "description=-")


def test_no_refusal_repeats_a_secret() -> None:
    said = refused("AddKvmHost", "password=hunter2\udcff") + refused("AddKvmHost", "password=hunter2", "password=x")
    assert "password" in said
    assert "hunter2" not in said


def test_booleans_and_masks() -> None:
    made = request("QueryZone", "count=yes", "read_mask=name, state")
    assert made.count
    assert list(made.read_mask.paths) == ["name", "state"]
    assert "true or false" in refused("QueryZone", "count=maybe")


def test_conditions_become_a_filter() -> None:
    made = request("QueryZone", "state=Enabled", "name~=web%", "uuid?=a,b", "page_size=7", "description not null")
    wanted = 'state = "Enabled" AND name = "web*" AND (uuid = "a" OR uuid = "b") AND description != null'
    assert made.filter == wanted
    assert made.page_size == 7


def test_conditions_are_added_to_a_filter() -> None:
    made = request("QueryZone", "state=Enabled", 'filter=name = "a" OR name = "b"')
    assert made.filter == '(name = "a" OR name = "b") AND (state = "Enabled")'


def test_what_is_no_condition_is_refused() -> None:
    assert '"state" is no condition' in refused("QueryZone", "state")


def test_conditions_are_for_queries_only() -> None:
    assert "conditions are for queries" in refused("CreateZone", "name!=x")
