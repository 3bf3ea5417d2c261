"""The pytest plugin: assertions about robustness in tests."""
