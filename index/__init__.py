"""Documents: reads uploaded files in a process with limits, cuts them into passages, embeds them, and answers searches.

Whatever a file holds, it harms this kind at most, and a death repeats one document's work.
"""
