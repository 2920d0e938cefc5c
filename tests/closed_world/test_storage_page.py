"""The operators' page on storage says what the code does: its pictures and tables are up to date."""

from __future__ import annotations

import re

from tools.storage_page import PAGE, PARTS, written


def test_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text()
    assert sorted(re.findall(r"<!-- code: ([a-z_]+) -->", text)) == sorted(PARTS)
    assert text == written(text), "run python -m tools.storage_page"


def test_a_page_that_is_behind_is_seen() -> None:
    text = PAGE.read_text()
    assert written(text.replace("Enabled --> Maintenance: maintain\n", "")) == text
    assert written(text.replace("| SharedBlock | no | yes | no |", "| SharedBlock | no | yes | yes |")) == text
    assert "Enabled --> Maintenance: maintain\n" in text
    assert "| SharedBlock | no | yes | no |" in text
