"""Records of jobs and the SQLite store that holds them."""
