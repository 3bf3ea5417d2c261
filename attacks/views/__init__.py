"""Views: a defense as the attacker sees and differentiates it."""
