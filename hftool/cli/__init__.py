"""The command line: the only room that prints and exits. Each verb is a small file: parse, call, print."""
