"""The types of fields: what a value may be, for bodies and files alike."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

#: The greatest values of PostgreSQL's integer and bigint.
INT4_MAX: Final = 2**31 - 1
INT8_MAX: Final = 2**63 - 1

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _only_iso_date(value: Any) -> Any:
    if not (isinstance(value, str) and _DATE.fullmatch(value)):
        raise ValueError("must be a date written YYYY-MM-DD")
    return value


#: PostgreSQL cannot store U+0000 in text.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Age = Annotated[int, Field(ge=0, le=120)]
Int4 = Annotated[int, Field(ge=0, le=INT4_MAX)]
Count = Annotated[int, Field(ge=1, le=INT4_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
IsoDate = Annotated[date, BeforeValidator(_only_iso_date), Field(json_schema_extra={"format": "date"})]
