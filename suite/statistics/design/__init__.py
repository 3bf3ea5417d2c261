"""How many images and draws an evaluation needs."""
