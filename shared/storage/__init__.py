"""Everything that speaks S3: where things lie in the bucket, and the store itself."""
