"""`make bench`: what the product costs, each figure a ratio against a peer measured in the same run."""
