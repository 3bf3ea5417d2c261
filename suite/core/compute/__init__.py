"""Devices, batches that fit them, and the memory allocator."""
