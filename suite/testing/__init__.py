"""The pytest plugin: robustness claims in tests."""
