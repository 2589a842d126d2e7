"""What light jobs compute of a whole comparison: JSON of network ids, as registry/analyses.py describes it."""
