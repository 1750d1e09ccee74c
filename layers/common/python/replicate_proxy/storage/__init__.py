"""DynamoDB and S3 behind the storage ports."""
