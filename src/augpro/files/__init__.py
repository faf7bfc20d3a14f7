"""Files that outlive kills and power cuts, and tell when they were damaged.

``durable`` writes them whole or not at all, and ``checksums`` says whether what is read is what was written.
"""
