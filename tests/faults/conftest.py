"""What the suites of crash points share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crash_ground import Site, own_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all of them: a ground is laid once."""
    with own_site(tmp_path_factory.mktemp("grounds")) as site:
        yield site
