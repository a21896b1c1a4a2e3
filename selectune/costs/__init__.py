"""Costs of a run: records, the ledger, FLOPs, meters, and the saving computed from them."""
