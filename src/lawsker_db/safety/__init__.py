"""The procedures, each readable from top to bottom."""
