"""The runtime of a cluster: an attempt is one bare pod."""
