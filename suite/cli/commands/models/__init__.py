"""Commands about generative models: train, tune, inspect, convert."""
