"""Selection as a preprocessing stage: from a selector and a pool to rows on disk with their manifest."""
