"""Downloads of exports: what there is none of is refused, and so is another company's."""

from __future__ import annotations

import pytest

from tests.api.api_env import ApiEnv, problem
from tests.tenants.making import new_key

PATH = "/api/v2/companies/{}/exports/{}"


@pytest.mark.parametrize("export_id", ["999999", "0", "-1", "x", "9" * 30])
def test_an_export_that_there_never_was_is_unknown(api_env: ApiEnv, export_id: str) -> None:
    answer = api_env.call("GET", PATH.format("alpha", export_id))
    assert answer.status_code == 404
    assert problem(answer)["type"] == "export_unknown"


def test_an_export_is_no_other_companys_and_is_unknown_once_it_expired_or_its_file_is_gone(api_env: ApiEnv) -> None:
    (row,) = api_env.sql(
        "INSERT INTO company_exports (company_id, task_id, sha256, size, expires_at) "
        "VALUES ('alpha', 999999, %s, 1, now() + interval '1 hour') RETURNING id",
        "0" * 64,
    )
    theirs = new_key(api_env, "beta", "read")["key"]
    assert problem(api_env.call("GET", PATH.format("beta", row["id"]), key=theirs))["type"] == "export_unknown"
    assert problem(api_env.call("GET", PATH.format("alpha", row["id"])))["type"] == "export_unknown", "no file"
    api_env.sql("UPDATE company_exports SET expires_at = now() WHERE id = %s", row["id"])
    assert problem(api_env.call("GET", PATH.format("alpha", row["id"])))["type"] == "export_unknown", "expired"
    api_env.sql("DELETE FROM company_exports WHERE id = %s", row["id"])
