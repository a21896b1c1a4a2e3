"""Diagnosis of a pool: copies, wrong labels, texts of another kind; found by one pass of a small encoder."""
