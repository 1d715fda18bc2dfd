"""How a field of the configuration is written: what values it takes, how it is declared, how others ask it."""
