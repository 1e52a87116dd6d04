"""Container images: what a reference names, which ones the operator allows, the digest behind a tag, and what it
runs."""
