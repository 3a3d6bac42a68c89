"""What is remembered of a run: the journal (file), the history (rows), the report."""
