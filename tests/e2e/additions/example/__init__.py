"""A kind that a test adds: it composes a message itself, and delivers the messages of connections of type `example`
into a table of its own."""
