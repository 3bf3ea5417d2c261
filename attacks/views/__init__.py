"""Views: what the attacker sees of a defense and differentiates."""
