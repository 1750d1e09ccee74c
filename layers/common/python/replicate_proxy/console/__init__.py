"""The console: pages for operators and tenants over the services of the APIs, rendered on the server."""
