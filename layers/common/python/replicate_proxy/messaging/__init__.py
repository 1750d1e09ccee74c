"""SQS and EventBridge behind the messaging ports."""
