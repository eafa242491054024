"""What a run leaves behind: run.json and predictions.jsonl, torch-free."""
