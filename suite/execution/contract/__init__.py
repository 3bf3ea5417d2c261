"""Requirements on a defense before it is attacked: shape, range, independence of draws."""
