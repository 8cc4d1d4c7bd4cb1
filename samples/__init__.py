"""Two small invented forums in the StackExchange dump format, and the script that builds them."""
