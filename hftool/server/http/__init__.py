"""The HTTP layer: routes, middleware, authentication, limits on slow clients."""
