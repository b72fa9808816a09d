"""Kind `ai`: answers what customers write, by a language model with a company's knowledge and tools.

A turn is a row that is claimed and fenced like a send (`turns.py`); what is done for it is a list (`steps.py`).
"""
