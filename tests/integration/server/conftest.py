"""A site over mutual TLS for a whole file of tests; a file that needs another kind has its own `site`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.tls import TlsSite, tls_site


@pytest.fixture(scope="module")
def _site() -> Iterator[TlsSite]:
    with tls_site() as site:
        yield site


@pytest.fixture
def site(_site: TlsSite) -> Iterator[TlsSite]:
    yield _site
    _site.clear()
