"""The eventsourcing library's own conformance suite, on both stores."""

from __future__ import annotations

from uuid import UUID

import pytest
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)

from zcloud.kernel.store.postgres import PostgresRecorder
from zcloud.kernel.store.sqlite import SqliteRecorder


class OnSqlite:
    """Gives each test a database of its own on disk."""

    originator_id_type = None

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path
        self.made = []
        yield
        for recorder in self.made:
            recorder.close()

    def create_recorder(self):
        recorder = SqliteRecorder(self.directory / "log.db", UUID)
        self.made.append(recorder)
        return recorder


class OnPostgres:
    """Gives each test a database of its own on one server."""

    originator_id_type = None

    @pytest.fixture(autouse=True)
    def _database(self, postgres):
        self.address = postgres.database()
        self.made = []
        yield
        for recorder in self.made:
            recorder.close()

    def create_recorder(self):
        recorder = PostgresRecorder(self.address, UUID)
        self.made.append(recorder)
        return recorder


class ApplicationRecorder(ApplicationRecorderTestCase):
    def test_concurrent_throughput(self):
        pass  # prints rates, asserts none; bench/ measures those


class NonInterleaving(NonInterleavingNotificationIDsBaseCase):
    insert_num = 1000


class TestApplicationRecorderOnSqlite(OnSqlite, ApplicationRecorder):
    pass


class TestApplicationRecorderOnPostgres(OnPostgres, ApplicationRecorder):
    pass


class TestTrackingRecorderOnSqlite(OnSqlite, TrackingRecorderTestCase):
    pass


class TestTrackingRecorderOnPostgres(OnPostgres, TrackingRecorderTestCase):
    pass


class TestProcessRecorderOnSqlite(OnSqlite, ProcessRecorderTestCase):
    pass


class TestProcessRecorderOnPostgres(OnPostgres, ProcessRecorderTestCase):
    pass


class TestNonInterleavingOnSqlite(OnSqlite, NonInterleaving):
    pass


class TestNonInterleavingOnPostgres(OnPostgres, NonInterleaving):
    pass


# Pytest would collect the library's cases, and what only names ours.
del (
    ApplicationRecorder,
    NonInterleaving,
    ApplicationRecorderTestCase,
    TrackingRecorderTestCase,
    ProcessRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
