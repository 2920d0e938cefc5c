"""What is told of a cached image: uses, and how many volumes stand on it (IMG-02)."""

from __future__ import annotations

from zcloud.domain.storage.image_cache import ImageCache, cache_uuids


def cached() -> ImageCache:
    made = ImageCache.blank(cache_uuids("p" * 32, "", "image-1").uuid)
    made.create(name="linux", where=("z" * 32, "p" * 32, ""), image_uuid="i" * 32, path="/ps/i", size=7)
    return made


def events(made: ImageCache) -> list[str]:
    return [event.topic for event in made.pending[1:]]


def test_volumes_come_and_go() -> None:
    made = cached()
    for volume in ("a" * 32, "b" * 32):
        made.use(volume)
    made.leave("a" * 32)
    assert made.volume_count == 1
    assert events(made) == ["image_cache.Used", "image_cache.Used", "image_cache.Left"]


def test_a_drive_uses_it_and_stands_on_nothing() -> None:
    made = cached()
    made.__dict__["now"] = 5
    made.use()
    assert (made.volume_count, made.last_used_date) == (0, 5)


def test_counting_is_an_event_where_it_finds_something_new() -> None:
    made = cached()
    made.count(0)
    made.leave("a" * 32)
    assert events(made) == []
    made.count(3)
    assert (made.volume_count, events(made)) == (3, ["image_cache.Counted"])


def test_the_uuid_follows_from_what_it_is() -> None:
    assert cache_uuids("p", "h", "i-1") == cache_uuids("p", "h", "i-1")
    assert len({cache_uuids("p", "h", "i-1"), cache_uuids("p", "", "i-1"), cache_uuids("p", "h", "i-2")}) == 3
