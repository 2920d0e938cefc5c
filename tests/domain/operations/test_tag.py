"""Tags and user tags: where they go, and what falls off when a resource changes hands (TAG-01..05)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import Ground, run
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.operations.tag import Tag, TagType
from zcloud.domain.operations.user_tag import (
    ResourceTags,
    UserTag,
    drop_foreign,
    mark,
    marks,
    taggable,
    taggable_kinds,
    type_name,
    unmark,
)
from zcloud.kernel.errors import Code, Reason, Refused

ALICE, BOB = "a" * 32, "b" * 32


def tag_of(ground: Ground, account: str, **fields: str) -> Tag:
    made = run(ground.unit.new(Tag, account_uuid=account))
    made.create(name="web", **fields)
    return made


def test_a_tag_is_its_makers_and_its_value_stays() -> None:
    ground = Ground()
    tag = tag_of(ground, ALICE)
    assert (tag.type, tag.value, tag.color) == (TagType.TENANT, "web", "#1890ff")
    tag.update(name="www", color="#ABCDEF")
    assert (tag.name, tag.value, tag.color) == ("www", "web", "#abcdef")
    events = len(tag.pending)
    tag.update(name="www", color="#abcdef")
    assert len(tag.pending) == events
    assert tag_of(ground, ADMIN_UUID, value="tier=gold").type is TagType.ADMIN


@pytest.mark.parametrize("color", ["", "red", "#12345", "#1234567", "#12345g", "#12345\n"])
def test_no_colours(color: str) -> None:
    tag = tag_of(Ground(), ALICE)
    with pytest.raises(Refused) as refused:
        tag.update(color=color)
    assert (refused.value.code, refused.value.fields[0][0]) == (Code.INVALID_ARGUMENT, "color")
    assert len(tag.pending) == 1


def test_a_tenants_tag_goes_on_its_own_only() -> None:
    ground = Ground()
    ground.cluster.account_uuid = BOB
    tag_of(ground, ADMIN_UUID).must_go_on(ground.cluster)
    tag_of(ground, BOB).must_go_on(ground.cluster)
    with pytest.raises(Refused) as refused:
        tag_of(ground, ALICE).must_go_on(ground.cluster)
    assert refused.value.reason is Reason.NOT_ALLOWED


def test_a_text_is_on_a_resource_once_for_each_account() -> None:
    ground = Ground()
    one = run(mark(ground.unit, ALICE, "lab1", ground.cluster))
    assert run(mark(ground.unit, ALICE, "lab1", ground.cluster)) is one
    other = run(mark(ground.unit, BOB, "lab1", ground.cluster))
    assert run(marks(ground.unit, ground.cluster)) == [one, other]
    assert (one.resource_kind, one.resource_type, one.resource_uuid) == ("cluster", "ClusterVO", ground.cluster.uuid)
    run(unmark(ground.unit, one))
    assert not one.exists
    tags = run(ground.unit.companion(ResourceTags, ground.cluster))
    assert tags.user_tag_uuids == (other.uuid,)


def test_what_others_put_on_falls_off_but_the_admins() -> None:
    ground = Ground()
    made: dict[str, UserTag] = {
        who: run(mark(ground.unit, who, "x", ground.cluster)) for who in (ADMIN_UUID, ALICE, BOB)
    }
    ground.cluster.change_owner(BOB)
    run(drop_foreign(ground.unit, ground.cluster))
    assert [user_tag for user_tag in made.values() if user_tag.exists] == [made[ADMIN_UUID], made[BOB]]


def test_kinds_by_zstacks_names() -> None:
    for kind in taggable_kinds():
        assert taggable(type_name(kind)).kind == taggable(kind).kind == kind
    assert taggable("BackupStorageVO").kind == "backup_storage"
    assert taggable("L3NetworkVO").kind == "l3_network"
    for text in ("TagVO", "UserTagVO", "SessionVO", "BackupStorageVOVO", "VO", "backup storage"):
        with pytest.raises(Refused) as refused:
            taggable(text)
        assert refused.value.fields[0][0] == "resource_type"
