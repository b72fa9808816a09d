"""What two or more process kinds use: the kinds registry, the settings, the shapes of data, and the rooms store,
queues, process and delivery.

May import: nothing above it (no kind, no supervision). Promises: importing a leaf file here costs only the standard
library.
"""
