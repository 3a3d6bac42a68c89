"""A throwaway server and a sample Lawsker database, for `make demo`, tests and benchmarks."""
