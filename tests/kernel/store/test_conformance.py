"""The eventsourcing library's own conformance suite, on our recorder."""

from __future__ import annotations

from uuid import UUID

import pytest
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)

from zcloud.kernel.store.sqlite import SqliteRecorder


class OnFile:
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
        kind = UUID
        recorder = SqliteRecorder(self.directory / "log.db", kind)
        self.made.append(recorder)
        return recorder


class TestApplicationRecorder(OnFile, ApplicationRecorderTestCase):
    def test_concurrent_throughput(self):
        pass  # prints rates, asserts none; bench/ measures those


class TestTrackingRecorder(OnFile, TrackingRecorderTestCase):
    pass


class TestProcessRecorder(OnFile, ProcessRecorderTestCase):
    pass


class TestNonInterleaving(OnFile, NonInterleavingNotificationIDsBaseCase):
    insert_num = 1000


del (
    ApplicationRecorderTestCase,
    TrackingRecorderTestCase,
    ProcessRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
