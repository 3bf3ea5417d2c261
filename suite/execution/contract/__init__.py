"""What a defense must keep to before it is attacked: shape, range, independence of draws."""
