"""When a student may answer alone: temperature and threshold of its confidence, from texts that its teacher answers.

``fit`` is the mathematics, ``run`` takes a student and its teacher to it, ``record`` is the file that is written.
"""
