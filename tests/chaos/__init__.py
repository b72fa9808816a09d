"""The system under faults: the named crash points, the result, and real copies that are killed, frozen and cut while
messages flow.
"""
