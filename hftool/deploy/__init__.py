"""A model made ready to run elsewhere: exported with its parity measured, served, or packed for a cluster."""
