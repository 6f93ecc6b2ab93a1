"""The files from which others build and run a service: an image, and the objects of a cluster. They hold no key."""
