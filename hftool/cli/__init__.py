"""The command line: the only package that prints and exits. Each verb is a small file: parse, call, print."""
