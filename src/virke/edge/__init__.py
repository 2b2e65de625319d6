"""The edge: the engine inside a Fastly Compute service; what builds, runs and deploys it. Imports nothing by itself."""
