"""What measures this project against its peers: `python -m benchmarks.NAME [--quick]`."""
