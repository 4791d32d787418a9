"""Options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

TextField = Annotated[str | None, Parameter(name=["--text-field", "--corpus.text-field"])]
