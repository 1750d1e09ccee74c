"""The CloudFormation templates: transformed, evaluated, and with their nested stacks."""
