"""The operator's commands, one file each; `entry` lists them.

May import: the rest of `supervision` and `shared`. Promises: the module of each command has `command`, which returns an
exit code; `entry`, `context`, `command_exits` and `supervise` load no library, since the process that supervises runs
them.
"""
