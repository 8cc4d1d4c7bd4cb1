"""Small invented forums in the formats of real ones, and the scripts that build them."""
