"""The verdict of a run: what selecting cost and what it gave, beside all rows and rows that were drawn at random."""
