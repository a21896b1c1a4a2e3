"""Scoring: the signals of a pool, computed once and kept. `compute` is the main path; `settings` is what users say."""
