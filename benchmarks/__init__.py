"""Comparisons of GlassGPT with its peers, side by side in one run; see docs/benchmarks.md.

    python -m benchmarks                 every benchmark, at its full size
    python -m benchmarks tokenize        one of them
    python -m benchmarks tokenize --quick   the same in seconds, to see that it works

Each module of the table in `__main__` has `run(quick)`, which returns `Figure`s. `measure` times them alternately,
`peers` holds what GlassGPT is compared with, `report` writes the tables to `results/`.
"""
