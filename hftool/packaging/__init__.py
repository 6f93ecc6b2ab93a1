"""Docker build contexts and Kubernetes manifests for a model served by `hftool serve`. They contain no API key."""
