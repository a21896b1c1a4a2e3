"""From a diagnosis, a forecast and a budget to a decision: which rows to train on, and for how long."""
