"""How long tests wait for what another process or thread does."""

PATIENCE_S = 300.0
"""Long enough on a machine that is ten times slower or busier: who waits in vain has found a fault,
and a fault may take its time."""
