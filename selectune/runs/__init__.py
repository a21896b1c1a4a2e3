"""A run: what was asked, its directory, the stages of a fit from top to bottom, the command line's verbs."""
