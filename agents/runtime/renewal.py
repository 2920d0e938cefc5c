"""An agent's certificate renews itself: asked for over the open session when a third of its life is left."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from agents.runtime import identity as ids
from agents.runtime.identity import Identity
from zcloud.v1.agent_pb2 import CertificateRenewed, RenewCertificate

log = logging.getLogger(__name__)
# Some ask before the others, by up to so much of a certificate's life: those that enrolled in one hour need not ask in
# one second.
SPREAD = 0.1
# An answer may be lost, and a node may be too old to know what is asked of it.
AGAIN_SECONDS = 600.0


class Renewal:
    """The identity that agents of one directory have now. The key stays; the certificate is another.

    now: by the clock that certificates are checked by. told: is given each new identity.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        told: Callable[[Identity], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._directory = directory
        self.identity = identity
        self._told = told
        self._now = now
        self._chance = chance
        self._asked = float("-inf")
        self._due = self._moment()

    def request(self, name: str) -> RenewCertificate | None:
        """What the node is to be asked, if it is time; name is who asks."""
        time = asyncio.get_running_loop().time()
        if self._now() < self._due or time - self._asked < AGAIN_SECONDS:
            return None
        self._asked = time
        request = ids.certificate_request(self.identity.private_key, name)
        return RenewCertificate(certificate_request=request.decode())

    def ended(self) -> str:
        """That it is too late, in words; empty while the certificate counts. The node only hangs up on what ended."""
        end = ids.end(self.identity)
        return f"the certificate in {self._directory} has ended on {end}" if self._now() >= end else ""

    def take(self, answer: CertificateRenewed) -> None:
        """Keep it, on disk first. The session goes on; it is shown when the node is next dialled."""
        new = Identity(self.identity.private_key, answer.certificate.encode(), self.identity.ca_certificate)
        try:
            if not ids.belongs(new.private_key, new.certificate) or ids.end(new) <= ids.end(self.identity):
                raise ValueError("it is not for our key, or does not last longer")
            ids.store(self._directory, new)
        except (ValueError, OSError) as error:
            log.error("the certificate that ends on %s was not renewed: %s", ids.end(self.identity), error)
            return
        self.identity = new
        self._due = self._moment()
        self._asked = float("-inf")
        log.info("the certificate in %s is renewed until %s", self._directory, ids.end(new))
        self._told(new)

    def _moment(self) -> datetime:
        """A third of the life is left, or a little less."""
        begin, end = ids.begin(self.identity), ids.end(self.identity)
        return begin + (end - begin) * (2 / 3 + SPREAD * self._chance())
