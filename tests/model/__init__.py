"""The life of a row as a model: hypothesis plays every order of events against the real SQL in a real database."""
