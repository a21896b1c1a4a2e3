"""Shared by everything: errors, files, communication between ranks, seeds, memory, progress."""
