"""Data sets as they are read: sources, splits, pools, tokens, windows, batches; the embedded corpus and model."""
