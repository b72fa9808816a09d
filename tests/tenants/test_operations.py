"""An operation says who may use it, or the API does not start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from api.http.operations import Operation


async def _handler(_: Request) -> Response:
    return Response()


def _operation(**said: Any) -> Operation:
    given = {"path": "/api/v2/things/{companyId}"} | said
    return Operation(
        operation_id="listThings", method="GET", group="Things", summary="Things", handler=_handler, answers={}, **given
    )


def test_an_operation_names_its_scope() -> None:
    with pytest.raises(TypeError, match="scope"):
        _operation()
    with pytest.raises(ValueError, match="is no scope"):
        _operation(scope="everything")
    assert _operation(scope="read").needs_key
    assert not _operation(scope="public").needs_key


def test_an_operation_without_a_company_in_its_path_says_whose_its_data_are() -> None:
    with pytest.raises(ValueError, match="does not fit the path"):
        _operation(scope="read", path="/api/v2/things")
    for owner in ("principal", "installation"):
        assert _operation(scope="read", path="/api/v2/things", owner=owner).owner == owner
    with pytest.raises(ValueError, match="does not fit the path"):
        _operation(scope="read", owner="principal")


@pytest.mark.parametrize("name", ["", "list_things", "ListThings", "list things", "listHTTPThings!"])
def test_an_operation_has_a_name_for_functions_of_clients(name: str) -> None:
    with pytest.raises(ValueError, match="is no operation id"):
        replace(_operation(scope="read"), operation_id=name)
