"""Stand-in for a language model behind OpenAI's API: chat completions, embeddings, models."""

from sandbox.model.calls import model_routes
from sandbox.model.script import ModelScript

__all__ = ["ModelScript", "model_routes"]
