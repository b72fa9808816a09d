"""The assistant: questions to it, the functions that it may call, and appointments."""
