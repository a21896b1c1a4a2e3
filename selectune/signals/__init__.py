"""Signals of a pool, computed once and kept: definitions, forward passes, derived arrays, the store."""
