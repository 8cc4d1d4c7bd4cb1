"""What every layer shares: rows and their Arrow schemas, the manifest, names and exit codes.

The bottom layer: it imports no other. A change here changes what is written or what two layers
agree on, so columns and keys have versions.
"""
