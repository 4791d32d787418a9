"""No command contacts a server unasked, and none leaves files in unexpected places.

Commands run in a process with a separate home, cache and temporary folder. An audit hook sees Python's network
requests; `strace`, if installed, also sees those of C++ libraries.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.tasks import write_task

PROGRAM = """
import json, os, sys, time
from pathlib import Path

asked = []
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto", "socket.gethostbyname"):
        asked.append(repr(arguments))
sys.addaudithook(watch)

from glassgpt.cli.main import main

def here():
    return {str(path) for name in ("HOME", "TMPDIR") for path in Path(os.environ[name]).rglob("*") if path.is_file()}

before, report = here(), []
for command in [*json.load(open("commands.json")), None]:
    status = 0
    if command is None:
        time.sleep(5)  # some libraries report after a while
    else:
        try:
            main(command)
        except SystemExit as end:
            status = end.code
    now = here()
    report.append({"command": command, "status": status, "new": sorted(now - before), "asked": asked[:]})
    before, asked[:] = now, []
json.dump(report, open("report.json", "w"))
"""
SMALL = [
    "--training.steps=2", "--training.batch-size=2", "--training.threads=1", "--model.context-length=64",
    "--model.n-layer=1", "--model.n-head=2", "--model.n-embd=16", "--tokenizer.vocab-size=280",
    "--samples.max-tokens=4",
]  # fmt: skip
FEW = ["--training.steps=2", "--training.batch-size=2", "--training.threads=1", "--samples.max-tokens=4"]
QUICK = [
    ["train", "text.txt", "--name", "small", *SMALL],
    ["generate", "small", "The", "--max-tokens", "4"],
    ["export", "small", "--to", "onnx"],
    ["import", "small.pth"],
]
REST = [
    *QUICK,
    ["export", "small", "--to", "hf"],
    ["export", "small", "--to", "gguf"],
    ["import", "small-hf", "--name", "back"],
    ["resume", "small"],
    ["eval", "small", "text.txt"],
    ["eval", "small", "--tasks", "grammar"],
    ["eval", "small", "--include", "tasks"],
    ["finetune", "sft", "small", "asked.json", "--name", "talks", *FEW],
    ["finetune", "sft", "small", "asked.json", "--name", "lora", "--lora.rank=2", *FEW],
    ["finetune", "dpo", "talks", "asked.json", *FEW],
    ["finetune", "distill", "small", *FEW],
    ["finetune", "classify", "small", "moods.jsonl", "--name", "moods", *FEW[:-1]],
    [
        "finetune",
        "grpo",
        "talks",
        "asked.json",
        *FEW[:-1],
        *["--reward", "length", "--length", "2", "--group", "2", "--prompts", "2", "--max-tokens", "4"],
    ],
    ["classify", "moods", "cat"],
    ["chat", "talks"],
    ["runs"],
    ["runs", "compare", "small", "talks"],
    ["model", "nano"],
    ["plan", "text.txt", "--minutes", "0.5"],
    ["data", "inspect", "text.txt"],
    ["tokenizer", "train", "text.txt", "--output", "own.json"],
    ["tokenizer", "encode", "small", "The cat"],
    ["tokenizer", "decode", "small", "1", "2"],
    ["tokenizer", "compare", "small", "--text", "text.txt"],
]
FAILS = {"import small.pth"}
# Documented caches in their documented places.
CACHES = re.compile(r"/home/\.cache/(glassgpt|matplotlib|huggingface/datasets)/")


def workplace(folder: Path) -> dict[str, str]:
    """Fill a folder with inputs; return the environment of a process that uses it."""
    sentence = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n"
    (folder / "text.txt").write_text(sentence * 60)
    (folder / "small.pth").write_bytes(b"PK\3\4 nothing")
    write_task(folder / "tasks", "animals", [{"question": "a?", "choices": ["x", "y"], "answer": "x"}] * 3)
    asked = [{"prompt": f"{a}?", "completion": "b", "chosen": "b", "rejected": "c"} for a in "abcdefgh"]
    (folder / "asked.json").write_text(json.dumps(asked))
    moods = [{"text": f"cat {n}", "label": "glad" if n % 2 else "sad"} for n in range(12)]
    (folder / "moods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moods))
    own = {name: str(folder / name.lower()) for name in ("HOME", "TMPDIR")}
    for path in own.values():
        Path(path).mkdir()
    ours = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        **own,
    }
    return ours | {"XDG_CACHE_HOME": f"{own['HOME']}/.cache"}


def watched(folder: Path, commands: list[list[str]]) -> tuple[list[dict], list[str]]:
    """Run commands in one process; return what each did, and the addresses that the process contacted."""
    environment = workplace(folder)
    (folder / "commands.json").write_text(json.dumps(commands))
    program = [sys.executable, "-c", PROGRAM]
    tracer = ["strace", "-f", "-qq", "-o", "calls", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
    can_trace = (
        shutil.which("strace")
        and subprocess.run([*tracer[:-1], "trace=connect", "true"], cwd=folder).returncode == 0
    )
    done = subprocess.run(
        [*tracer, *program] if can_trace else program, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    calls = (folder / "calls").read_text().splitlines() if can_trace else []
    return json.loads((folder / "report.json").read_text()), [line for line in calls if "AF_INET" in line]


def check(folder: Path, commands: list[list[str]]) -> None:
    report, calls = watched(folder, commands)
    for step in report:
        name = " ".join(step["command"] or ["waiting"])
        assert bool(step["status"]) == (name in FAILS), name
        assert not [path for path in step["new"] if not CACHES.search(path)], name
        assert not [what for what in step["asked"] if "127.0.0.1" not in what], name
    assert not [call for call in calls if "127.0.0.1" not in call and "::1" not in call]


@pytest.mark.slow
def test_an_export_to_onnx_leaves_no_device_id_and_calls_nobody(tmp_path: Path) -> None:
    """Merely importing onnxruntime wrote `~/.cache/Microsoft/.../deviceid` and a database of events, and looked up
    a host some seconds later; its own `disable_telemetry_events()` came too late for both."""
    check(tmp_path, QUICK)


@pytest.mark.slow
def test_no_command_calls_home(tmp_path: Path) -> None:
    check(tmp_path, REST)


def test_what_the_user_has_set_stays() -> None:
    program = "import os, glassgpt; print(os.environ['DO_NOT_TRACK'], os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = os.environ | {"DO_NOT_TRACK": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1"]
