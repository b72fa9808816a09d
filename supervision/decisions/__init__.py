"""Pure decisions: what the supervisor does about what it is told, without processes, files or a clock."""
