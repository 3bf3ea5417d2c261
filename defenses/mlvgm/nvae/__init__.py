"""NVAE in the layout of NVAE-from-scratch, the hierarchical VAE of Serez et al. 2025 (arXiv:2412.03453)."""
