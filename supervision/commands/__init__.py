"""The operator's commands, one file each; `entry` lists them.

May import: the rest of `supervision` and `shared`. Promises: each module has `HELP`, `arguments(parser)` and
`run(context, given) -> int`.
"""
