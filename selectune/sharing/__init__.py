"""Selections and models that leave a run: exported, put on the hub, verified, and compared with each other."""
