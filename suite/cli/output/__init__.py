"""Tables, files and texts that the commands write."""
