"""From features and a model to a better model, losing nothing on the way."""
