"""Random input: readers and selectors give a valid result or one sentence, and never anything else."""
