"""Reading and writing text, YAML and JSON files, with validation."""
