"""Reports on answers, and what they mean for the user."""
