"""`kubectl ork`: the command line. Holds no logic that the API, the hub or the client should have."""
