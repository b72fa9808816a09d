"""The sandbox, tried from outside over real HTTP."""
