"""The server's log: requests that its end cuts off are no news, everything else is."""

from __future__ import annotations

import asyncio
import logging

from vos_zoo.demo.serve import server_of


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, message, (), info)


def test_requests_that_the_end_cuts_off_are_not_logged_and_faults_are():
    server_of(None)
    filtered = logging.getLogger("uvicorn.error").filter
    assert not filtered(record("Exception in ASGI application\n", asyncio.CancelledError()))
    assert not filtered(record("Cancel 6 running task(s), timeout graceful shutdown exceeded"))
    assert filtered(record("Exception in ASGI application\n", ValueError("a fault")))
    assert filtered(record("a warning"))
