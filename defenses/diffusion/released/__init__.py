"""Published diffusion purifiers as their code was released."""
