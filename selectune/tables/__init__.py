"""Tables by one command: a grid of tasks, methods, budgets and seeds, each cell a run of its own.

`grid` says which cells there are, `running` runs them in worker processes, `results` reads what they left, `verdicts`
judges each method, and `markdown` and `plot` say what it means. `command` is the verb ``table``.
"""
