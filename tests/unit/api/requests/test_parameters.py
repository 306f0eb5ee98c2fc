"""Which spellings of a task id are accepted, and which are refused."""

from __future__ import annotations

from uuid import UUID

import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError

from placerank.api.requests import parameters

TASK = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def task_id(text: str) -> UUID:
    return parameters.task_id(Request({"type": "http", "path_params": {"task_id": text}}))


@pytest.mark.parametrize("text", [str(TASK), TASK.hex, str(TASK).upper(), TASK.hex.upper()])
def test_a_uuid_is_taken_with_or_without_hyphens(text: str) -> None:
    assert task_id(text) == TASK


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        f"{{{TASK}}}",
        f"urn:uuid:{TASK}",
        f"0x{TASK.hex[2:]}",
        f"+{TASK.hex[1:]}",
        f"{TASK.hex[0]}_{TASK.hex[2:]}",
        f"-{TASK.hex}",
        f"{TASK.hex[:4]}-{TASK.hex[4:]}",
        str(TASK).replace("-", "", 1),
        str(TASK).replace("a", "g"),
        str(TASK).replace("0", "\u0660"),
        f"{TASK}\n",
        f" {TASK}",
        f"{TASK}0",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(RequestValidationError) as refused:
        task_id(text)
    (error,) = refused.value.errors()
    assert error["loc"] == ("path", "task_id")
