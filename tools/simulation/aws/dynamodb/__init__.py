"""The in-memory DynamoDB: tables, expressions, indexes and streams."""
