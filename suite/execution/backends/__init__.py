"""Runs jobs: in this process, in several processes, or on a Ray cluster; results do not depend on which."""
