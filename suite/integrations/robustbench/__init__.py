"""RobustBench: its model zoo and its benchmark protocol."""
