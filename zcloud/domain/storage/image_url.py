"""Where an image may come from: its URL's form, and the login that is taken out of it before anybody sees it."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from zcloud.kernel.errors import Refused, invalid

SCHEMES = ("http", "https", "ftp", "sftp", "file", "upload")
# A login in the URL is what these are used with everywhere; others are given theirs beside it.
WITH_LOGIN = ("ftp", "sftp")


@dataclass(frozen=True)
class Source:
    """url: without login, as everybody who sees the image sees it."""

    url: str
    username: str = ""
    password: str = ""


def scheme_of(url: str) -> str:
    """http, https, ftp, sftp, file or upload."""
    return url.partition("://")[0]


def source_of(url: str, username: str, password: str, *, has_key: bool) -> Source:
    """What a caller gave, in clear. Raises INVALID_ARGUMENT, without quoting what is secret."""
    parts = _parts(url)
    scheme = parts.scheme
    user, login, place = parts.netloc.rpartition("@")
    if login:
        if scheme not in WITH_LOGIN:
            raise invalid("url", "***", "must hold no user name or password; give them as username and password")
        if username or password:
            raise invalid("username", username, "must be absent when the URL holds a login")
        name, _, secret = user.partition(":")
        username, password = unquote(name), unquote(secret)
        url = urlunsplit(parts._replace(netloc=place))
    if any(ord(c) < 32 or ord(c) == 127 for c in username + password):
        raise invalid("username", "***", "must hold no control characters, nor may the password")
    if scheme in ("file", "upload") and (username or password or has_key):
        raise invalid("username", username, f"goes with a server, and {scheme}:// names none")
    if has_key and scheme != "sftp":
        raise invalid("private_key", "***", "goes with sftp:// only")
    if (password or has_key) and not username:
        raise invalid("username", "", "must be given with a password or a private_key")
    must_be_image_url(url)
    return Source(url, username, password)


def _parts(url: str) -> SplitResult:
    """The URL taken apart; what may be a password is not quoted."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        raise _bad(url, "must be a URL with a host and a port that exist") from None
    if parts.scheme not in SCHEMES:
        raise _bad(url, f"must begin with one of {', '.join(f'{s}://' for s in SCHEMES)}")
    return parts


def _bad(url: str, right: str) -> Refused:
    return invalid("url", "***" if "@" in url else url, right)


def must_be_image_url(url: str) -> None:
    """Whether it may lead where it leads is judged where it is fetched (IMG-05)."""
    parts = _parts(url)
    if any(ord(c) < 33 or ord(c) == 127 for c in url) or "\\" in url:
        raise _bad(url, "must hold no spaces, backslashes or control characters")
    if parts.username is not None or parts.password is not None:
        raise invalid("url", "***", "must hold no user name or password: it is shown to everybody who sees the image")
    if parts.scheme == "file":
        path = unquote(parts.path)
        if parts.netloc or not path.startswith("/") or posixpath.normpath(path) != path or path == "/":
            raise invalid("url", url, "must be file:// and an absolute path on the backup storage, without ..")
    elif parts.scheme == "upload":
        if parts.query or parts.fragment or "/" in (parts.netloc + parts.path).strip("/"):
            raise invalid("url", url, "must be upload:// and the name of the file")
    elif not parts.hostname:
        raise invalid("url", url, "must name a host")
    elif parts.scheme in WITH_LOGIN and (len(unquote(parts.path)) < 2 or parts.query):
        raise invalid("url", url, f"must have the form {parts.scheme}://host/path/of/file")
