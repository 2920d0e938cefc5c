"""Pages, orders, masks, counts, and who sees what."""

from collections.abc import Iterator

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import Connection

from projections.query.errors import PageTokenError, QueryError
from projections.query.query import Page, get, run
from projections.query.token import MAX_LENGTH
from projections.query.viewer import Viewer
from projections.schema.registry import ReadModels
from tests.projections.world import ADMIN, ALICE, BOB, fresh_models, memory
from zcloud.v1 import host_pb2, image_pb2, instance_offering_pb2, vm_instance_pb2

ROOT = Viewer(ADMIN, True)
Store = tuple[Connection, ReadModels]


def uuid(letter: str) -> str:
    return letter * 32


@pytest.fixture
def store() -> Iterator[Store]:
    models = fresh_models()
    with memory() as connection:
        for model in models:
            model.create(connection)
        yield connection, models


def ask(store: Store, kind: str, viewer: Viewer = ROOT, **asked: object) -> Page:
    connection, models = store
    return run(connection, models[kind], models, viewer=viewer, **asked)  # type: ignore[arg-type]


def put_images(store: Store, *texts: str) -> None:
    connection, models = store
    model = models["image"]
    images = [image_pb2.Image(uuid=f"{n:032x}", name=f"i{n}", description=t) for n, t in enumerate(texts)]
    model.write(connection, [model.rows(image, ADMIN) for image in images])


def test_a_token_goes_on_behind_rows_that_changed_meanwhile(store: Store) -> None:
    put_images(store, "a", "b", "c", "d")
    connection, models = store
    page = ask(store, "image", order_by="description", page_size=2)
    models["image"].write(connection, deletes=[f"{1:032x}"])
    following = ask(store, "image", order_by="description", page_size=2, page_token=page.next_page_token)
    assert [m.description for m in following.messages] == ["c", "d"]
    assert following.next_page_token == ""


@pytest.mark.parametrize(
    "changed", [{"filter": "name != x"}, {"order_by": "description desc"}, {"order_by": "description, name"}]
)
def test_a_token_of_another_query_is_refused(store: Store, changed: dict[str, str]) -> None:
    put_images(store, "a", "b", "c")
    asked = {"filter": "name != y", "order_by": "description"}
    page = ask(store, "image", page_size=1, **asked)
    with pytest.raises(PageTokenError, match="another filter or order"):
        ask(store, "image", page_token=page.next_page_token, **{**asked, **changed})
    with pytest.raises(PageTokenError, match="another filter or order"):
        ask(store, "volume", page_token=page.next_page_token, **asked)
    # How the order is written does not matter.
    same = ask(store, "image", page_token=page.next_page_token, filter="name != y", order_by=" description  asc ")
    assert [m.description for m in same.messages] == ["b", "c"]


@pytest.mark.parametrize("token", ["x", "=", "é", "bnVsbA", "W10", "WzEsMl0", "A" * 2000, "W1tbW1tb", "eyJhIjoxfQ"])
def test_what_is_no_token_is_refused(store: Store, token: str) -> None:
    with pytest.raises(PageTokenError, match="page token"):
        ask(store, "image", page_token=token)


def test_tokens_stay_short_whatever_the_rows_hold(store: Store) -> None:
    put_images(store, *(letter + "ü" * 2000 for letter in "abc"))
    connection, models = store
    page = ask(store, "image", order_by="description", page_size=1)
    assert len(page.next_page_token) <= MAX_LENGTH
    following = ask(store, "image", order_by="description", page_token=page.next_page_token)
    assert [m.description[0] for m in following.messages] == ["b", "c"]
    models["image"].write(connection, deletes=[page.messages[0].uuid])
    with pytest.raises(PageTokenError, match="is gone"):
        ask(store, "image", order_by="description", page_token=page.next_page_token)


@pytest.mark.parametrize(
    ("asked", "argument", "said"),
    [
        ({"order_by": "nam"}, "order_by", "did you mean name"),
        ({"order_by": "name up"}, "order_by", "asc or desc"),
        ({"order_by": "name,,uuid"}, "order_by", "no order"),
        ({"order_by": "name, name desc"}, "order_by", "twice"),
        ({"order_by": "copies"}, "order_by", "is a list"),
        ({"order_by": "name.x"}, "order_by", "has no fields"),
        ({"page_size": -1}, "page_size", "between 0 and 1000"),
        ({"page_size": 1001}, "page_size", "between 0 and 1000"),
        ({"read_mask": FieldMask(paths=["nam"])}, "read_mask", "did you mean name"),
        ({"read_mask": FieldMask(paths=["copies.status"])}, "read_mask", "copies is a list"),
        ({"read_mask": FieldMask(paths=["name.x"])}, "read_mask", "has no fields"),
    ],
)
def test_wrong_arguments(store: Store, asked: dict[str, object], argument: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        ask(store, "image", **asked)
    assert caught.value.argument == argument


def test_read_mask_keeps_what_it_names(store: Store) -> None:
    put_images(store, "a")
    page = ask(store, "image", read_mask=FieldMask(paths=["name", "lastOpDate", "copies"]))
    assert page.messages == [image_pb2.Image(name="i0")]
    assert ask(store, "image", read_mask=FieldMask(paths=["*"])).messages[0].description == "a"


def test_count_is_of_all_pages_and_only_when_asked(store: Store) -> None:
    put_images(store, "a", "b", "c")
    page = ask(store, "image", page_size=1, count=True, filter='description != "b"')
    assert (page.total, len(page.messages)) == (2, 1)
    assert ask(store, "image", page_token=page.next_page_token, filter='description != "b"').total is None


def test_an_account_sees_its_own_and_what_is_shared(store: Store) -> None:
    connection, models = store
    model = models["image"]
    rows = [
        model.rows(image_pb2.Image(uuid=uuid("1"), name="own"), ALICE),
        model.rows(image_pb2.Image(uuid=uuid("2"), name="public"), BOB, shared_to_public=True),
        model.rows(image_pb2.Image(uuid=uuid("3"), name="shared"), BOB, shared_with=[ALICE]),
        model.rows(image_pb2.Image(uuid=uuid("4"), name="hidden"), BOB, shared_with=[ADMIN]),
        model.rows(image_pb2.Image(uuid=uuid("5"), name="nobody's"), ""),
    ]
    model.write(connection, rows)
    alice = Viewer(ALICE)
    page = ask(store, "image", alice, filter="name != x OR name = x", count=True)
    assert ([m.name for m in page.messages], page.total) == (["own", "public", "shared"], 3)
    assert get(connection, model, models, uuid("3"), alice) is not None
    assert get(connection, model, models, uuid("4"), alice) is None
    assert get(connection, model, models, uuid("4"), ROOT) == image_pb2.Image(uuid=uuid("4"), name="hidden")
    assert len(ask(store, "image").messages) == 5
    assert ask(store, "image", Viewer("")).messages == []
    # Sharing that was revoked is gone.
    model.write(connection, [model.rows(image_pb2.Image(uuid=uuid("3"), name="shared"), BOB)])
    assert get(connection, model, models, uuid("3"), alice) is None


def test_nothing_hidden_is_seen_through_a_relation(store: Store) -> None:
    connection, models = store
    image = image_pb2.Image(uuid=uuid("1"), name="secret")
    host = host_pb2.Host(uuid=uuid("2"), name="rack")
    vm = vm_instance_pb2.VmInstance(uuid=uuid("3"), name="vm", image_uuid=image.uuid, host_uuid=host.uuid)
    models["image"].write(connection, [models["image"].rows(image, BOB)])
    # Even a host that a careless administrator shared: hosts are the administrator's.
    models["host"].write(connection, [models["host"].rows(host, ALICE, True, [ALICE])])
    models["vm_instance"].write(connection, [models["vm_instance"].rows(vm, ALICE)])
    for text in ("image.name = secret", "image:*", "host.name = rack", "host:*", "image.vm_instances.name = vm"):
        assert len(ask(store, "vm_instance", filter=text).messages) == 1, text
        assert ask(store, "vm_instance", Viewer(ALICE), filter=text).messages == [], text
    assert ask(store, "host", Viewer(ALICE)).messages == []
    assert get(connection, models["host"], models, host.uuid, Viewer(ALICE)) is None
    assert [m.admin_only for m in models if m.kind in ("zone", "kvm_host")] == [True, True]


def test_a_field_may_be_named_like_a_bookkeeping_column(store: Store) -> None:
    connection, models = store
    model = models["instance_offering"]
    offering = instance_offering_pb2.InstanceOffering(uuid=uuid("1"), shared_to_public=True)
    model.write(connection, [model.rows(offering, BOB, shared_to_public=False)])
    assert ask(store, "instance_offering", filter="shared_to_public = true").messages == [offering]
    assert ask(store, "instance_offering", Viewer(ALICE)).messages == []
