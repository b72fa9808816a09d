"""Moving in from a single-process server: a copy of its traffic goes to a shadow, and answers are compared."""
