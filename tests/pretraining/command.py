"""The `glassgpt` command as a program for `runpy.run_path`, which gives it arguments, environment and output."""

from __future__ import annotations

import os
import sys

from glassgpt.cli.main import main

os.environ.clear()
os.environ.update(environment)  # noqa: F821
printed = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # noqa: F821
for number in (sys.stdout.fileno(), sys.stderr.fileno()):
    os.dup2(printed, number)
sys.argv = ["glassgpt", *arguments]  # noqa: F821
main()
