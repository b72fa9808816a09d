"""Pure decisions: state and event in, new state and actions out; no processes, files or clock."""
