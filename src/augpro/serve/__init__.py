"""An exported student behind HTTP, and its teacher behind it for the texts of which the student is not sure.

``requests`` reads what a client sends, ``batching`` answers what waits in one batch, ``answering`` asks student and
teacher, ``app`` has the routes, ``run`` starts the server. Without a teacher PyTorch is not imported.
"""
