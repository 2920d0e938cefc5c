"""Secrets at rest: sealed before they reach an event, with a key that lies outside the log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.files import make_once

PREFIX = "sealed:v1:"
KEY_BYTES = 32


class WrongKey(OSError):
    """This node does not have the key with which the cloud's secrets are sealed."""


class SealedOtherwise(Refused, ValueError):
    """A refusal, so that a job that needs the secret ends, and says what would be right."""

    def __init__(self, other: str, own: str) -> None:
        text = (
            f"a password or key that this needs was sealed with key {other}, and vault.key is {own} now:"
            " bring that vault.key back, or give the password or key anew"
        )
        super().__init__(Code.FAILED_PRECONDITION, Reason.WRONG_STATE, text)


class Vault:
    """Envelope encryption with AES-256-GCM: each secret has a key of its own, wrapped by the master key.

    The master key is a file of 32 bytes, mode 0600, made at the first start; without it the log's secrets are gone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.key_id = hashlib.sha256(key).hexdigest()[:8]

    @classmethod
    def at(cls, path: Path) -> Vault:
        """The vault whose master key lies at the path; made when there is none. Raises WrongKey."""
        key = make_once(path, os.urandom(KEY_BYTES))
        if len(key) != KEY_BYTES:
            raise WrongKey(
                f"{path} is no key: it has {len(key)} bytes, and a key {KEY_BYTES}; bring the right one there"
            )
        return cls(key)

    def seal(self, secret: str) -> str:
        """The secret, unreadable; "" stays ""."""
        if not secret:
            return ""
        own, nonce, wrap = os.urandom(32), os.urandom(12), os.urandom(12)
        wrapped = AESGCM(self._key).encrypt(wrap, own, self.key_id.encode())
        body = AESGCM(own).encrypt(nonce, secret.encode(), None)
        return PREFIX + self.key_id + ":" + base64.b64encode(wrap + wrapped + nonce + body).decode()

    def open(self, sealed: str) -> str:
        """The secret again. Raises SealedOtherwise for another key, or when it was changed; else ValueError."""
        if not sealed:
            return ""
        if not sealed.startswith(PREFIX):
            raise ValueError("not a sealed secret")
        key_id, _, text = sealed[len(PREFIX) :].partition(":")
        raw = base64.b64decode(text)
        try:
            own = AESGCM(self._key).decrypt(raw[:12], raw[12:60], key_id.encode())
            return AESGCM(own).decrypt(raw[60:72], raw[72:], None).decode()
        except InvalidTag as error:
            raise SealedOtherwise(key_id, self.key_id) from error

    def digest(self, text: bytes) -> bytes:
        """A keyed hash, for what must be recognised again and not be read."""
        return hmac.new(self._key, text, hashlib.sha256).digest()
