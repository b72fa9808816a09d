"""Language models behind APIs of OpenAI's form: one call within a deadline, own retries, an order of models to fall
back on, and money that is checked before it is spent.

Only the kinds of the extras that bring the package `openai` load `provider.py` and `transport.py`.
"""
