"""StyleGAN2 generators and the encoders that invert them (e4e, Style-Transformer, and a small one)."""
