"""How the tiny models that ship with the package are made."""
