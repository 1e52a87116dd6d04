"""Container images: what a reference names, which ones the operator allows, and the digest behind a tag."""
