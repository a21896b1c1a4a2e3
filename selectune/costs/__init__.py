"""What a run costs: records, the ledger, FLOPs, meters, and the saving computed from them."""
