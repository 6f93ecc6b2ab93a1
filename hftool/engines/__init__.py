"""What computes: features of a batch in, outputs out, behind one `forward`."""
