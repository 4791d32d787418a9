"""The models and the trained run of the inspection tests."""

from tests.inspection.conftest import run, trained

__all__ = ["run", "trained"]
